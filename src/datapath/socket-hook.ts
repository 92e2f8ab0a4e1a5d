/**
 * Services at the socket: sock_* on the node's cgroup. Links are pinned as `<program>-c<inode of the cgroup>`: a restarted agent knows its own
 * by that name, and a link of another cgroup (the setting changed, or the folder was made anew) is removed. While the agent is away
 * the programs go on. Without the cgroup, services are translated per packet: slower, but the same for pods.
 */
import { stat } from "node:fs/promises";
import { messageOf } from "../lib/errors.ts";
import type { Problem } from "../model/status.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { LoadedProgram } from "./load.ts";
import { Counters } from "./map-table.ts";
import type { Pins } from "./pins.ts";

/** enum bpf_attach_type of each program. */
const attachTypes = {
  sock_connect4: 10,
  sock_connect6: 11,
  sock_sendmsg4: 14,
  sock_sendmsg6: 15,
  sock_recvmsg4: 19,
  sock_recvmsg6: 20,
  sock_getpeername4: 29,
  sock_getpeername6: 30,
  sock_bind4: 12,
  sock_bind6: 13,
} as const;

export interface SocketHookOptions {
  readonly native: Pick<NativeBinding, "attachCgroup" | "unpin">;
  readonly pins: Pins;
  readonly cgroup: string | null;
  readonly program: (name: string) => LoadedProgram;
  /** false: the kernel has no getpeername hooks. */
  readonly peerNames: boolean;
}

export class SocketHook {
  readonly counters = new Counters();
  readonly #options: SocketHookOptions;
  #attached: string | null = null;

  constructor(options: SocketHookOptions) {
    this.#options = options;
  }

  /** The cgroup with the programs on it, null while there is none. */
  get cgroup(): string | null {
    return this.#attached;
  }

  /** Attaches, or gives what is attached the programs of this version. */
  async attach(): Promise<readonly Problem[]> {
    const { native, pins, cgroup, program, peerNames } = this.#options;
    this.#attached = null;
    const inode = cgroup === null ? null : await inodeOf(cgroup);
    const problems: Problem[] = cgroup !== null && inode === null ? [cgroupMissing(cgroup)] : [];
    const names = new Set<string>();
    if (cgroup !== null && inode !== null) {
      for (const [name, type] of Object.entries(attachTypes)) {
        if (name.startsWith("sock_getpeername") && !peerNames) continue;
        const link = `${name}-c${inode}`;
        names.add(link);
        try {
          const done = await native.attachCgroup(program(name).handle, cgroup, type, pins.linkPath(link));
          if (done === "attached") this.counters.writes++;
        } catch (error) {
          this.counters.failed(error);
          problems.push(attachFailed(name, cgroup, error));
        }
      }
      if (problems.length === 0) this.#attached = cgroup;
    }
    for (const pinned of await pins.linkNames()) {
      if (!pinned.startsWith("sock_") || names.has(pinned)) continue;
      await native.unpin(pins.linkPath(pinned));
      this.counters.writes++;
    }
    return problems;
  }

  /** Puts back links that somebody removed. */
  async verify(): Promise<number> {
    if (this.#attached === null) return 0;
    const before = this.counters.writes;
    await this.attach();
    return this.counters.writes - before;
  }
}

async function inodeOf(path: string): Promise<number | null> {
  try {
    const found = await stat(path);
    return found.isDirectory() ? found.ino : null;
  } catch {
    return null; // missing or not to be seen: both are told as missing
  }
}

function cgroupMissing(cgroup: string): Problem {
  return {
    code: "CGROUP_MISSING",
    severity: "warning",
    object: cgroup,
    field: "cgroup",
    message: "there is no such cgroup folder: services are translated per packet, and not for processes of the host",
    remedy: "set cgroup to the cgroup2 folder above the pods (/sys/fs/cgroup) and restart the agent",
  };
}

function attachFailed(name: string, cgroup: string, error: unknown): Problem {
  return {
    code: "CGROUP_ATTACH_FAILED",
    severity: "error",
    object: cgroup,
    field: name,
    message: messageOf(error),
    remedy: "the folder must be a cgroup2; other programs there must allow more than one (BPF_F_ALLOW_MULTI)",
  };
}
