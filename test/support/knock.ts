/** New TCP connections from a pod, one after the other, and who let them in: test/support/knock.js. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";

export interface Knocked {
  readonly tried: number;
  /** Were taken or refused: the packet came to the pod. */
  readonly passed: number;
  /** ms since the epoch when the last one of these was begun; 0: none passed. */
  readonly lastPassedAt: number;
  /** "namespace/pod" of who answered. */
  readonly from: readonly string[];
}

/** By address. */
export type KnockCounts = Readonly<Record<string, Knocked>>;

const script = new URL("knock.js", import.meta.url).pathname;
/** ms that it lives at most, when a test forgets it. */
const lifeMs = 900_000;

/** Resolves when each address was tried once. */
export async function beginKnocking(
  lab: Lab,
  from: string,
  {
    addresses,
    port,
    everyMs,
  }: { readonly addresses: readonly string[]; readonly port: number; readonly everyMs: number },
): Promise<{ end(): Promise<KnockCounts> }> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-knock-"));
  const file = join(folder, "knock");
  let ended = false;
  const running = knock(lab, from, [file, String(port), String(everyMs), ...addresses]).finally(() => {
    ended = true;
  });
  running.catch(() => undefined); // whoever ends it is told
  const end = async () => {
    await writeFile(`${file}.end`, "");
    try {
      return await running;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  try {
    await lab.until(`${from} knocks`, async () => ended || existsSync(`${file}.begun`));
  } catch (error) {
    await end().catch(() => undefined); // what failed before is the one to tell
    throw error;
  }
  return { end };
}

/** Each address until it lets somebody in, for some time. */
export function knockOnce(lab: Lab, from: string, port: number, addresses: readonly string[]): Promise<KnockCounts> {
  return knock(lab, from, ["none", String(port), "once", ...addresses]);
}

async function knock(lab: Lab, from: string, words: readonly string[]): Promise<KnockCounts> {
  const { stdout, stderr } = await lab.exec(from, [process.execPath, script, ...words], { timeoutMs: lifeMs });
  if (stdout === "") throw new Error(`${from} did not knock: ${stderr}`);
  return JSON.parse(stdout) as KnockCounts;
}
