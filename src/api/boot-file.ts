/**
 * What holds on this node for as long as the machine runs, whichever agent is there: a file beside the agent's socket. Who has to
 * wait for the node when it boots, as kube-router does, reads it and need not wait again when only the agent is replaced.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** An id that this boot of the machine has, and no other; in containers too (random(4)). */
const bootIdPath = "/proc/sys/kernel/random/boot_id";

export interface BootMarks {
  /** The datapath is in place: programs on their hooks, services and policies in the maps. */
  readonly datapath: boolean;
  /** Pods are let in: with the routes that were expected, or without as the time for them was over. */
  readonly network: "waiting" | "ready" | "degraded";
}

export const noMarks: BootMarks = { datapath: false, network: "waiting" };

export function bootId(): string {
  return readFileSync(bootIdPath, "utf8").trim();
}

export function bootFile(socket: string): string {
  return join(dirname(socket), "boot.json");
}

export function encodeMarks(boot: string, marks: BootMarks): string {
  return `${JSON.stringify({ boot, ...marks })}\n`;
}

/** @returns `noMarks` for a file that is not there, of another boot, or not readable as one */
export async function readMarks(socket: string, boot: string): Promise<BootMarks> {
  try {
    const {
      boot: of,
      datapath,
      network,
    } = JSON.parse(await readFile(bootFile(socket), "utf8")) as Partial<BootMarks & { readonly boot: string }>;
    if (of !== boot || boot === "") return noMarks;
    return {
      datapath: datapath === true,
      network: network === "ready" || network === "degraded" ? network : "waiting",
    };
  } catch {
    return noMarks;
  }
}
