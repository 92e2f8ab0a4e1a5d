/** Clients that ask anew again and again while something is done to the network between. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";

export interface StreamCount {
  readonly made: number;
  readonly answered: number;
  /** "namespace/pod" of who answered. */
  readonly from: readonly string[];
  /** How many went wrong, by what test/support/short-connections.js calls it; {}: none. */
  readonly errors: Readonly<Record<string, number>>;
}

/** Short TCP connections to a pod's server, two at a time, until it is told to end. Resolves when the first were answered. */
export async function beginStream(
  lab: Lab,
  from: string,
  address: string,
  port: number,
  lifeMs = 240_000,
): Promise<{ end(): Promise<StreamCount> }> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-stream-"));
  const file = join(folder, "stream");
  const script = new URL("short-connections.js", import.meta.url).pathname;
  let ended = false;
  const running = lab.exec(from, [process.execPath, script, address, String(port), file], { timeoutMs: lifeMs });
  const done = running.then(async (result) => {
    ended = true;
    await rm(folder, { recursive: true, force: true });
    return result;
  });
  const end = async () => {
    await writeFile(`${file}.end`, "").catch(() => undefined); // it ended by itself, and its folder is gone
    const { stdout, stderr } = await done;
    if (stdout === "") throw new Error(`no connections from ${from} to ${address}: ${stderr}`);
    return JSON.parse(stdout) as StreamCount;
  };
  try {
    await lab.until(`${from} asks ${address}`, async () => ended || existsSync(`${file}.begun`));
  } catch (error) {
    await writeFile(`${file}.end`, "");
    throw error;
  }
  return { end };
}
