/**
 * The `masquerade` source: ip-masq-agent's configuration file, followed, into the table `nonMasquerade`. Without such a file in the settings
 * there are no rows.
 *
 * The folder is watched, since a mounted ConfigMap replaces files by moving a link, and the file is looked at anyway every few seconds.
 * What cannot be used is told, and what was in force stays, also over a restart.
 */
import { readFile, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import { parsePrefix, type Prefix } from "../../model/ip.ts";
import type { LastGood } from "../../model/last-good.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import { FolderWatch } from "../files/folder-watch.ts";
import { readMasqueradeConfig } from "./read-config.ts";

/** ms without an event after which a file that is written in place is whole. */
const settleMs = 50;
/** ms between two looks that nothing asked for. */
const lookMs = 5_000;
const retry = { firstMs: 100, maxMs: 5_000 } as const;

/** What is kept for the next start: texts of prefixes. */
export interface MasqueradeVersion {
  readonly prefixes: readonly string[];
}

export interface MasqueradeSourceOptions {
  /** null: there is nothing to follow. */
  readonly path: string | null;
  readonly store: Pick<TableStore, "replaceAll">;
  readonly conditions: ConditionSink;
  readonly clock: Clock;
  /** By path of the file. */
  readonly lastGood: LastGood<MasqueradeVersion>;
}

export class MasqueradeSource {
  readonly #options: MasqueradeSourceOptions;
  readonly #runner: BoundedFrequencyRunner;
  #watch: FolderWatch | null = null;
  #timer: Timer | null = null;
  /** Text that was read last; null: no file; undefined: nothing was read. */
  #text: string | null | undefined;
  #inForce: readonly Prefix[] | null = null;
  #problems: readonly Problem[] = [];
  #stopped = false;
  #settle: () => void = () => undefined;

  constructor(options: MasqueradeSourceOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: settleMs,
      maxIntervalMs: lookMs,
      retry,
      action: () => this.#look(),
    });
  }

  /**
   * Follows the file until the signal. Resolves when it was looked at once, or with the signal.
   * @throws TandemError STATE_DIR
   */
  async start(signal: AbortSignal): Promise<void> {
    const { path, lastGood } = this.#options;
    if (path === null || signal.aborted) return;
    const kept = (await lastGood.read()).get(path);
    this.#inForce = kept?.prefixes.flatMap((text) => parsePrefix(text) ?? []) ?? null;
    if (signal.aborted) return;
    const name = basename(path);
    this.#watch = new FolderWatch((_kind, changed) => {
      // Kubernetes moves a link beside the file, whose name begins with two dots.
      const at = changed === null ? name : basename(changed);
      if (at === name || at.startsWith("..")) this.#lookSoon();
    });
    const seen = new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    this.#runner.trigger();
    await seen;
  }

  #stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#watch?.close();
    this.#settle();
    // A look that is under way ends by itself, and writes nothing any more.
    void this.#runner.stop();
  }

  #lookSoon(): void {
    if (this.#stopped) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.setTimer(settleMs, () => {
      this.#timer = null;
      this.#runner.trigger();
    });
  }

  async #look(): Promise<void> {
    const { path, conditions } = this.#options;
    if (path === null) return;
    await this.#watchFolder(dirname(path));
    try {
      const text = await textOf(path);
      if (this.#stopped) return;
      if (text !== this.#text) this.#take(path, text);
      conditions.report("masquerade", this.#problems);
    } catch (error) {
      if (this.#stopped) return;
      conditions.report("masquerade", [unreadable(path, error)]);
      if (this.#text === undefined) this.#write(this.#inForce ?? reservedOnly());
      throw error;
    } finally {
      this.#settle();
    }
  }

  #take(path: string, text: string | null): void {
    const { prefixes, problems } = readMasqueradeConfig(path, text);
    this.#text = text;
    this.#problems = problems;
    this.#write(prefixes ?? this.#inForce ?? reservedOnly());
    if (prefixes === null) return;
    this.#options.lastGood.keep(new Map([[path, { prefixes: prefixes.map((prefix) => prefix.text) }]]));
  }

  #write(prefixes: readonly Prefix[]): void {
    this.#inForce = prefixes;
    this.#options.store.replaceAll("nonMasquerade", new Map(prefixes.map((prefix) => [prefix.text, { prefix }])));
  }

  /** What cannot be watched is found by looking. */
  async #watchFolder(folder: string): Promise<void> {
    const inode = await stat(folder, { bigint: true }).then(
      ({ ino }) => ino,
      () => null,
    );
    if (this.#stopped || inode === null) return;
    this.#watch?.add(folder, inode);
  }
}

/** null: there is no such file. */
async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

/** What holds where nobody says anything. */
function reservedOnly(): readonly Prefix[] {
  return readMasqueradeConfig("", null).prefixes ?? [];
}

function unreadable(path: string, error: unknown): Problem {
  return {
    code: "MASQUERADE_CONFIG",
    severity: "error",
    object: path,
    field: "",
    message: `${messageOf(error)}; what was known of it stays in force`,
    remedy: "let the agent read the file that masqueradeConfig names",
  };
}
