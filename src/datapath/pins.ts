/**
 * The node's folder on bpffs: maps below `maps`, links below `links`, programs below `programs`. What is pinned there is ours by its
 * place and name; nothing else lives in the folder. While the agent is away everything pinned goes on working.
 */
import { access, mkdir, readdir, readFile, rename, rmdir, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, TandemError } from "../lib/errors.ts";
import type { NativeBinding } from "../native/contract.ts";
import { staysInContainer } from "./mounts.ts";
import { errorCode } from "./problems.ts";

/** Where distributions mount bpffs. */
const systemBpffs = "/sys/fs/bpf";
/** Of statfs(2): linux/magic.h. */
const bpffsMagic = 0xcafe4a11;

export interface PinsOptions {
  /** Text of /proc/self/mountinfo. */
  readonly mounts?: () => Promise<string>;
}

export class Pins {
  readonly root: string;
  readonly maps: string;
  readonly links: string;
  readonly programs: string;
  /** false: there is no mark, for sure. An agent before may have left one. */
  #mayBeUnsettled = true;

  readonly #mounts: () => Promise<string>;

  constructor(root: string, { mounts = () => readFile("/proc/self/mountinfo", "utf8") }: PinsOptions = {}) {
    this.root = root;
    this.#mounts = mounts;
    this.maps = join(root, "maps");
    this.links = join(root, "links");
    this.programs = join(root, "programs");
  }

  mapPath(name: string): string {
    return join(this.maps, name);
  }

  linkPath(name: string): string {
    return join(this.links, name);
  }

  /**
   * Makes the folders, and mounts bpffs where the place is none; but not where that mount would end with this container, and every program with it.
   * @throws TandemError BPFFS_UNAVAILABLE
   */
  async prepare(native: Pick<NativeBinding, "mountBpffs">): Promise<void> {
    try {
      await this.#makeRoot(native);
      await this.#mount(this.root, native);
      for (const folder of [this.maps, this.links, this.programs]) await makeFolder(folder);
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      throw new TandemError({
        code: "BPFFS_UNAVAILABLE",
        object: this.root,
        message: `the folder for pinned maps and links cannot be used: ${messageOf(cause)}`,
        remedy: `run as root with ${systemBpffs} mounted (mount -t bpf bpf ${systemBpffs}), or set bpffs to another folder`,
        cause,
      });
    }
  }

  async #makeRoot(native: Pick<NativeBinding, "mountBpffs">): Promise<void> {
    try {
      await makeFolder(this.root);
    } catch (error) {
      // sysfs takes no folders: bpffs is not mounted yet
      if (!this.root.startsWith(`${systemBpffs}/`) || !["EPERM", "ENOENT"].includes(errorCode(error))) throw error;
      await this.#mount(systemBpffs, native);
      await makeFolder(this.root);
    }
  }

  async #mount(path: string, native: Pick<NativeBinding, "mountBpffs">): Promise<void> {
    if ((await statfs(path)).type !== bpffsMagic && staysInContainer(await this.#mounts(), path)) {
      throw new TandemError({
        code: "BPFFS_UNAVAILABLE",
        object: path,
        message:
          "the node has no bpffs there, and one that is mounted in this container would end with it, and all programs of the node's pods",
        remedy: `mount it on the node, at each boot (systemd does): mount -t bpf bpf ${systemBpffs}`,
      });
    }
    await native.mountBpffs(path);
  }

  /**
   * A mark that outlives a crash: addresses are changing hands, and conntrack may keep verdicts of before. An agent that finds it lets
   * every flow be judged again.
   */
  async markUnsettled(): Promise<void> {
    this.#mayBeUnsettled = true;
    await mkdir(this.#unsettled, { mode: 0o700 }).catch(unless("EEXIST"));
  }

  async clearUnsettled(): Promise<void> {
    // Most changes move no address: they ask the file system nothing.
    if (!this.#mayBeUnsettled) return;
    await rmdir(this.#unsettled).catch(unless("ENOENT"));
    this.#mayBeUnsettled = false;
  }

  async isUnsettled(): Promise<boolean> {
    return exists(this.#unsettled);
  }

  get #unsettled(): string {
    return join(this.root, "unsettled");
  }

  programPath(name: string): string {
    return join(this.programs, name);
  }

  /** Names of pinned programs. */
  async programNames(): Promise<ReadonlySet<string>> {
    return new Set(await readdir(this.programs));
  }

  /** Names of pinned links. */
  async linkNames(): Promise<ReadonlySet<string>> {
    return new Set(await readdir(this.links));
  }

  async hasMap(name: string): Promise<boolean> {
    return exists(this.mapPath(name));
  }

  async renameMap(from: string, to: string): Promise<void> {
    await rename(this.mapPath(from), this.mapPath(to));
  }
}

/** With all above it. Not Node's recursive mkdir: that one never ends where a file system answers ENOENT to a mkdir (procfs). */
async function makeFolder(path: string): Promise<void> {
  if (await exists(path)) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
  }
}

/** Each change of addresses marks and clears: one call each. */
function unless(code: string): (error: unknown) => void {
  return (error) => {
    if (errorCode(error) !== code) throw error;
  };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
