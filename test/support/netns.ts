/** Network namespaces and veth pairs of one test, made with `ip` (another implementation than ours) and removed with the test. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";

const run = promisify(execFile);
let count = 0;

/** A name that no other test process of this machine has. */
export function uniqueName(): string {
  return `tandem-kt-${process.pid.toString(36)}x${count++}`;
}

export class Netns {
  readonly name: string;
  readonly path: string;

  constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** Runs a program inside and returns what it prints. */
  async exec(program: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await run("nsenter", [`--net=${this.path}`, program, ...args], { maxBuffer: 64 << 20 });
    return stdout;
  }

  /** `ip` with words, e.g. "link set lo up". */
  ip(command: string): Promise<string> {
    return this.exec("ip", ...command.split(" "));
  }

  /** `ip -j -d`, read. */
  async ipJson(command: string): Promise<readonly Record<string, unknown>[]> {
    return JSON.parse((await this.exec("ip", "-j", "-d", "-N", ...command.split(" "))) || "[]");
  }

  async index(device: string): Promise<number> {
    const [link] = await this.ipJson(`link show dev ${device}`);
    if (typeof link?.ifindex !== "number") throw new Error(`${device} in ${this.name} has no ifindex`);
    return link.ifindex;
  }
}

/** A test process that was killed could not clean up: what carries the number of a dead one is removed. */
async function removeStale(): Promise<void> {
  for (const name of await readdir("/run/netns").catch(() => [])) {
    const pid = /^tandem-kt-([0-9a-z]+)x\d+$/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${Number.parseInt(pid, 36)}`)) continue;
    await run("ip", ["netns", "del", name]).catch(() => undefined); // another test was faster
  }
}

let cleaned: Promise<void> | null = null;

/** A new namespace whose loopback device is up. */
export async function netns(t: ExecutionContext): Promise<Netns> {
  cleaned ??= removeStale();
  await cleaned;
  const made = new Netns(uniqueName());
  await run("ip", ["netns", "add", made.name]);
  t.teardown(() => run("ip", ["netns", "del", made.name]));
  await made.ip("link set lo up");
  return made;
}

/** Two namespaces joined by veths va and vb: 192.0.2.1 and .2, 2001:db8::1 and ::2, up. */
export async function pairOfNetns(t: ExecutionContext): Promise<{ readonly left: Netns; readonly right: Netns }> {
  const [left, right] = [await netns(t), await netns(t)];
  await left.ip(`link add va type veth peer name vb netns ${right.name}`);
  for (const [side, device, host] of [
    [left, "va", 1],
    [right, "vb", 2],
  ] as const) {
    await side.ip(`addr add 192.0.2.${host}/24 dev ${device}`);
    await side.ip(`addr add 2001:db8::${host}/64 dev ${device} nodad`);
    await side.ip(`link set ${device} up`);
  }
  return { left, right };
}
