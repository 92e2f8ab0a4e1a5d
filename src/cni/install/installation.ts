/**
 * Puts Tandem's plugin and network configuration where the container runtime looks, and takes them away again.
 *
 * What is ours is told by a record in stateDir (path and digest of each file as it was written): a file that differs from it was
 * changed by somebody else and is left alone. Whatever stood in the way, a file of our name or a configuration that runtimes
 * would take before ours (they take the first by name), is renamed to *.tandem-backup and gets its name back at `uninstall`.
 */
import { join } from "node:path";
import { z } from "zod";
import { TandemError } from "../../lib/errors.ts";
import type { Problem } from "../../model/status.ts";
import { conflistText } from "./conflist.ts";
import {
  backupSuffix,
  digestOf,
  exists,
  namesIn,
  putAside,
  putBack,
  readIfThere,
  removeFile,
  writeWhole,
} from "./files.ts";

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
}

export interface InstalledFile {
  readonly path: string;
  /** ours: as we wrote it; changed: somebody else wrote it since, or before us. */
  readonly state: "ours" | "changed" | "missing";
}

export interface InstallationState {
  readonly installed: boolean;
  readonly files: readonly InstalledFile[];
  /** Configurations that runtimes take before ours. */
  readonly before: readonly string[];
  readonly backups: readonly string[];
}

const recordSchema = z.object({ version: z.literal(1), files: z.record(z.string(), z.string()) });
/** Path -> digest of what was written there. */
type Written = ReadonlyMap<string, string>;

const pluginName = "tandem-cni";

/** Where the build leaves the plugin, below the folder of package.json. */
export function pluginOf(packageRoot: string): string {
  return join(packageRoot, "build/addon/Release", pluginName);
}

export class Installation {
  readonly #options: InstallationOptions;
  readonly #pluginPath: string;
  readonly #confPath: string;
  readonly #recordPath: string;

  constructor(options: InstallationOptions) {
    this.#options = options;
    const { cniBinDir, cniConfDir, cniConfName, stateDir } = options.config;
    this.#pluginPath = join(cniBinDir, pluginName);
    this.#confPath = join(cniConfDir, cniConfName);
    this.#recordPath = join(stateDir, "cni-install.json");
  }

  /**
   * Brings both files up to date, the plugin first. Doing it again changes nothing.
   * @param takeOver also what others wrote since our last time is put aside; without, it stays and is a problem. The first time always takes over.
   * @returns what keeps the installation from being as it should
   * @throws TandemError CNI_INSTALL, CNI_BACKUP_EXISTS, CNI_PLUGIN_MISSING
   */
  async install(takeOver: boolean): Promise<readonly Problem[]> {
    const { config, plugin } = this.#options;
    const record = await this.#record();
    const force = takeOver || !record.has(this.#confPath);
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
      if (!(await this.#put(path, content, mode, record, force))) problems.push(changedByOthers(path));
    };
    await put(this.#pluginPath, binary, 0o755);
    await put(this.#confPath, Buffer.from(conflistText({ ...config, chained })), 0o644);
    await this.#dropFormer(record);
    // Last: until ours is there, the node keeps the one that it has.
    for (const name of await this.#before()) {
      const path = join(config.cniConfDir, name);
      if (force) await putAside(path);
      else problems.push(takenBefore(path, this.#confPath));
    }
    return problems;
  }

  /** Removes what is ours and still as we wrote it, then gives back what was put aside. Returns what stayed because others changed it. */
  async uninstall(): Promise<{
    readonly removed: readonly string[];
    readonly restored: readonly string[];
    readonly left: readonly string[];
  }> {
    const { cniBinDir, cniConfDir } = this.#options.config;
    const record = await this.#record();
    const removed: string[] = [];
    const left: string[] = [];
    // The configuration first: without it no runtime looks for the plugin.
    for (const [path, digest] of [...record].reverse()) {
      const content = await readIfThere(path);
      if (content === null) continue;
      if (digestOf(content) !== digest) left.push(path);
      else {
        await removeFile(path);
        removed.push(path);
      }
    }
    const restored: string[] = [];
    for (const folder of [cniConfDir, cniBinDir]) {
      for (const backup of await backupsIn(folder)) {
        const path = backup.slice(0, -backupSuffix.length);
        if (await putBack(path)) restored.push(path);
        else left.push(backup);
      }
    }
    await removeFile(this.#recordPath);
    return { removed, restored, left };
  }

  async state(): Promise<InstallationState> {
    const { cniBinDir, cniConfDir } = this.#options.config;
    const record = await this.#record();
    const files: InstalledFile[] = [];
    for (const path of [this.#pluginPath, this.#confPath]) {
      const content = await readIfThere(path);
      const state =
        content === null
          ? "missing"
          : digestOf(content) === record.get(path)
            ? ("ours" as const)
            : ("changed" as const);
      files.push({ path, state });
    }
    return {
      installed: files.every(({ state }) => state === "ours"),
      files,
      before: (await this.#before()).map((name) => join(cniConfDir, name)),
      backups: [...(await backupsIn(cniConfDir)), ...(await backupsIn(cniBinDir))],
    };
  }

  /** False: somebody else's file is there and stays. */
  async #put(path: string, content: Buffer, mode: number, record: Written, force: boolean): Promise<boolean> {
    const there = await readIfThere(path);
    const wanted = digestOf(content);
    const known = record.get(path);
    const digest = there === null ? null : digestOf(there);
    if (digest === wanted && known === wanted) return true;
    if (digest !== null && digest !== wanted && digest !== known) {
      if (!force) return false;
      await putAside(path);
    }
    // Told before it is done: a crash in between leaves a file that is known as ours, or as somebody else's.
    if (known !== wanted) await this.#remember(path, wanted);
    if (digest !== wanted) await writeWhole(path, content, mode);
    return true;
  }

  /** Files that had other names by earlier settings. */
  async #dropFormer(record: Written): Promise<void> {
    for (const [path, digest] of record) {
      if (path === this.#pluginPath || path === this.#confPath) continue;
      const content = await readIfThere(path);
      if (content !== null && digestOf(content) === digest) await removeFile(path);
      await this.#remember(path, null);
    }
  }

  /** Names of configurations that come before ours. */
  async #before(): Promise<readonly string[]> {
    const { cniConfDir, cniConfName } = this.#options.config;
    const names = await namesIn(cniConfDir);
    return names.filter((name) => /\.(conf|conflist|json)$/.test(name) && !name.startsWith(".") && name < cniConfName);
  }

  async #record(): Promise<Written> {
    const content = await readIfThere(this.#recordPath);
    if (content === null) return new Map();
    try {
      return new Map(Object.entries(recordSchema.parse(JSON.parse(content.toString())).files));
    } catch (cause) {
      throw new TandemError({
        code: "CNI_INSTALL_RECORD",
        object: this.#recordPath,
        message: "is not a record of what was installed",
        remedy: "compare the runtime's folders with what is wanted, then remove this file",
        cause,
      });
    }
  }

  /** @param digest null: nothing of ours is there any more */
  async #remember(path: string, digest: string | null): Promise<void> {
    const written = new Map(await this.#record());
    if (digest === null) written.delete(path);
    else written.set(path, digest);
    const files = Object.fromEntries(written);
    await writeWhole(this.#recordPath, Buffer.from(`${JSON.stringify({ version: 1, files })}\n`), 0o600);
  }
}

async function backupsIn(folder: string): Promise<readonly string[]> {
  return (await namesIn(folder)).filter((name) => name.endsWith(backupSuffix)).map((name) => join(folder, name));
}

const takeOverRemedy = "tandem cni install puts it aside and writes Tandem's; or set cniInstall to false";

function changedByOthers(path: string): Problem {
  const message = "was changed by somebody else since Tandem wrote it; it is left as it is";
  return { code: "CNI_FILE_CHANGED", severity: "warning", object: path, field: "", message, remedy: takeOverRemedy };
}

function takenBefore(path: string, ours: string): Problem {
  const message = `the runtime takes this configuration and not ${ours}: new pods are not Tandem's`;
  return { code: "CNI_CONFIG_BEFORE", severity: "error", object: path, field: "", message, remedy: takeOverRemedy };
}

function chainedMissing(type: string, folder: string): Problem {
  const what = type === "portmap" ? "hostPort of containers does nothing" : "it is not called";
  return {
    code: "CNI_CHAINED_MISSING",
    severity: "warning",
    object: `plugin ${type}`,
    field: "cniChained",
    message: `is not in ${folder}: it is left out of the configuration, ${what}`,
    remedy: `install ${type} of containernetworking-plugins into ${folder}, or take it out of cniChained`,
  };
}
