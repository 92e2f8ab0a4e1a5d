/**
 * Puts Tandem's plugin and network configuration where the container runtime looks, and takes them away again.
 *
 * What is ours is told by a record in stateDir (path and digest of each file as it was written): a file that differs from it was
 * changed by somebody else and is left alone. Whatever stood in the way, a file of our name or a configuration that runtimes
 * would take before ours (they take the first by name), is put aside and gets its name back at `uninstall`.
 */
import { dirname, join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { TandemError } from "../../lib/errors.ts";
import type { Problem } from "../../model/status.ts";
import { backupsIn, putAside, putBackAll } from "./backups.ts";
import { conflistText } from "./conflist.ts";
import { exclusively } from "./exclusive.ts";
import { digestOf, exists, namesIn, readIfThere, removeFile, setMode, temporaryOf, writeWhole } from "./files.ts";
import { chainedMissing, changedByOthers, takenBefore, withdrawnByHand } from "./problems.ts";
import { type InstallRecord, RecordFile } from "./record.ts";

export interface InstallationOptions {
  /** The built tandem-cni. */
  readonly plugin: string;
  readonly config: {
    readonly socket: string;
    readonly stateDir: string;
    readonly cniBinDir: string;
    readonly cniConfDir: string;
    readonly cniConfName: string;
    readonly cniVersion: string;
    readonly cniChained: readonly string[];
  };
  readonly clock: Pick<Clock, "monotonicMs" | "sleep">;
}

export interface InstalledFile {
  readonly path: string;
  /** ours: as we wrote it; changed: somebody else wrote it or changed its mode since, or it was there before us. */
  readonly state: "ours" | "changed" | "missing";
}

export interface InstallationState {
  readonly installed: boolean;
  readonly files: readonly InstalledFile[];
  /** Configurations that runtimes take before ours. */
  readonly before: readonly string[];
  readonly backups: readonly string[];
  /** Taken away by hand: the agent does not put it back. */
  readonly withdrawn: boolean;
}

export interface Uninstalled {
  readonly removed: readonly string[];
  readonly restored: readonly string[];
  /** What others changed, and what was put aside while another file has its name. */
  readonly left: readonly string[];
}

const pluginName = "tandem-cni";
const pluginMode = 0o755;
/** Nobody but root has to read it: CIS Kubernetes Benchmark, 1.1.9. */
const confMode = 0o600;

/** Where the build leaves the plugin, below the folder of package.json. */
export function pluginOf(packageRoot: string): string {
  return join(packageRoot, "build/addon/Release", pluginName);
}

export class Installation {
  readonly #options: InstallationOptions;
  readonly #pluginPath: string;
  readonly #confPath: string;
  readonly #record: RecordFile;

  constructor(options: InstallationOptions) {
    this.#options = options;
    const { cniBinDir, cniConfDir, cniConfName, stateDir } = options.config;
    this.#pluginPath = join(cniBinDir, pluginName);
    this.#confPath = join(cniConfDir, cniConfName);
    this.#record = new RecordFile(stateDir);
  }

  /**
   * Brings both files up to date, the plugin first. Doing it again changes nothing.
   * @param byHand also what others wrote since our last time is put aside, and a withdrawal ends; without, both stay and are problems. Until an
   * installation came to its end once, what stands in the way is put aside in any case.
   * @returns what keeps the installation from being as it should
   * @throws TandemError CNI_INSTALL, CNI_INSTALL_BUSY, CNI_INSTALL_RECORD, CNI_PLUGIN_MISSING
   */
  async install(byHand: boolean): Promise<readonly Problem[]> {
    return this.#alone(() => this.#install(byHand));
  }

  /**
   * Removes what is ours and still as we wrote it, then gives back what was put aside.
   * @param withdraw what was installed is not put back by an agent; without, nothing remembers that it was there
   */
  async uninstall(withdraw: boolean): Promise<Uninstalled> {
    return this.#alone(() => this.#uninstall(withdraw));
  }

  async state(): Promise<InstallationState> {
    const { cniBinDir, cniConfDir } = this.#options.config;
    const { files: written, withdrawn } = await this.#read();
    const files: InstalledFile[] = [];
    for (const [path, mode] of [
      [this.#pluginPath, pluginMode],
      [this.#confPath, confMode],
    ] as const) {
      const found = await readIfThere(path);
      const isOurs = found !== null && found.mode === mode && digestOf(found.content) === written.get(path);
      files.push({ path, state: found === null ? "missing" : isOurs ? "ours" : "changed" });
    }
    return {
      installed: files.every(({ state }) => state === "ours"),
      files,
      before: (await this.#before()).map((name) => join(cniConfDir, name)),
      backups: [...(await backupsIn(cniConfDir)), ...(await backupsIn(cniBinDir))],
      withdrawn,
    };
  }

  async #install(byHand: boolean): Promise<readonly Problem[]> {
    const { config, plugin } = this.#options;
    const { taken, withdrawn } = await this.#read();
    if (withdrawn && !byHand) return [withdrawnByHand(this.#confPath)];
    const takeOver = byHand || taken !== this.#confPath;
    const binary = await readIfThere(plugin);
    if (binary === null) {
      throw new TandemError({
        code: "CNI_PLUGIN_MISSING",
        object: plugin,
        message: "the plugin to install is not there",
        remedy: "build it (npm run build:addon) or install the package again",
      });
    }
    const present = await Promise.all(config.cniChained.map((type) => exists(join(config.cniBinDir, type))));
    const chained = config.cniChained.filter((_, at) => present[at]);
    const lacking = config.cniChained.filter((_, at) => !present[at]);
    const problems = lacking.map((type) => chainedMissing(type, config.cniBinDir));

    const put = async (path: string, content: Buffer, mode: number) => {
      if (!(await this.#put(path, content, mode, takeOver))) problems.push(changedByOthers(path));
    };
    await put(this.#pluginPath, binary.content, pluginMode);
    await put(this.#confPath, Buffer.from(conflistText({ ...config, chained })), confMode);
    await this.#dropFormer();
    // Last: until ours is there, the node keeps the one that it has.
    for (const name of await this.#before()) {
      const path = join(config.cniConfDir, name);
      if (takeOver) await putAside(path);
      else problems.push(takenBefore(path, this.#confPath));
    }
    await this.#change({ taken: this.#confPath, withdrawn: false });
    return problems;
  }

  async #uninstall(withdraw: boolean): Promise<Uninstalled> {
    const { cniBinDir, cniConfDir } = this.#options.config;
    const { files, taken, withdrawn } = await this.#read();
    const withdraws = withdraw && (withdrawn || taken !== null || files.size > 0);
    // First: an agent that looks after a crash in between must not put back what is half gone.
    if (withdraws) await this.#change({ withdrawn: true });
    const removed: string[] = [];
    const left: string[] = [];
    // The configuration before the plugin: without it no runtime looks for that.
    for (const [path, digest] of [...files].reverse()) {
      await removeFile(temporaryOf(path));
      const found = await readIfThere(path);
      if (found === null) continue;
      if (digestOf(found.content) !== digest) left.push(path);
      else {
        await removeFile(path);
        removed.push(path);
      }
    }
    const restored: string[] = [];
    for (const folder of new Set([cniConfDir, cniBinDir, ...[...files.keys()].map(dirname)])) {
      const done = await putBackAll(folder);
      restored.push(...done.restored);
      left.push(...done.left);
    }
    if (withdraws) await this.#record.write({ files: new Map(), taken: null, withdrawn: true });
    else await this.#record.remove();
    return { removed, restored, left };
  }

  /** False: somebody else's file is there and stays. */
  async #put(path: string, content: Buffer, mode: number, takeOver: boolean): Promise<boolean> {
    const there = await readIfThere(path);
    const wanted = digestOf(content);
    const known = (await this.#read()).files.get(path);
    const digest = there === null ? null : digestOf(there.content);
    if (digest !== null && digest !== wanted && digest !== known) {
      if (!takeOver) return false;
      await putAside(path);
    }
    // Told before it is done: a crash in between leaves a file that is known as ours, or as somebody else's.
    if (known !== wanted) await this.#remember(path, wanted);
    if (digest !== wanted) await writeWhole(path, content, mode);
    else if (there?.mode !== mode) await setMode(path, mode);
    return true;
  }

  /** Files that had other places by earlier settings; a folder that has none of ours any more gets back what it had. */
  async #dropFormer(): Promise<void> {
    const present = [this.#pluginPath, this.#confPath];
    const folders = new Set(present.map(dirname));
    for (const [path, digest] of (await this.#read()).files) {
      if (present.includes(path)) continue;
      const found = await readIfThere(path);
      if (found !== null && digestOf(found.content) === digest) await removeFile(path);
      if (!folders.has(dirname(path))) await putBackAll(dirname(path));
      await this.#remember(path, null);
    }
  }

  /** Names of configurations that come before ours. Hidden files are no exception: to runtimes they are files as others. */
  async #before(): Promise<readonly string[]> {
    const { cniConfDir, cniConfName } = this.#options.config;
    const names = await namesIn(cniConfDir);
    return names.filter((name) => /\.(conf|conflist|json)$/.test(name) && name < cniConfName);
  }

  async #read(): Promise<InstallRecord> {
    return this.#record.read(this.#confPath);
  }

  /** Nothing is written where nothing changes. */
  async #change(part: Partial<InstallRecord>): Promise<void> {
    const before = await this.#read();
    const after = { ...before, ...part };
    const isSame = after.taken === before.taken && after.withdrawn === before.withdrawn && after.files === before.files;
    if (!isSame) await this.#record.write(after);
  }

  /** @param digest null: nothing of ours is there any more */
  async #remember(path: string, digest: string | null): Promise<void> {
    const files = new Map((await this.#read()).files);
    if (digest === null) files.delete(path);
    else files.set(path, digest);
    await this.#change({ files });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    return exclusively(this.#options.config.stateDir, this.#options.clock, work);
  }
}
