/** Whether kube-proxy or kube-router's firewall and service proxy are at work on this node, by the processes that /proc shows. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { basename } from "node:path";
import type { Owner } from "./chains.ts";

export interface RunningProcess {
  readonly pid: number;
  readonly words: readonly string[];
}

/** Of this name, in the caller's network namespace: what is in another one writes its rules there. In a container only what its pid namespace has. */
export async function processesOf(owner: Owner, proc = "/proc"): Promise<readonly RunningProcess[]> {
  const found: RunningProcess[] = [];
  const namespace = (pid: string) => readlink(`${proc}/${pid}/ns/net`).catch(() => null);
  const own = await namespace("self");
  for (const entry of await readdir(proc)) {
    if (!/^\d+$/.test(entry)) continue;
    // It may end while it is looked at.
    const text = await readFile(`${proc}/${entry}/cmdline`, "utf8").catch(() => "");
    const words = text.split("\0").filter((word) => word !== "");
    if (basename(words[0] ?? "") === owner && (await namespace(entry)) === own)
      found.push({ pid: Number(entry), words });
  }
  return found;
}

/** kube-router stays for routes: then it has been told to leave the rest alone (both flags are true unless said). */
export function holdsRules(owner: Owner, { words }: RunningProcess): boolean {
  if (owner === "kube-proxy") return !words.includes("--cleanup");
  return !["--run-service-proxy=false", "--run-firewall=false"].every((flag) => words.includes(flag));
}
