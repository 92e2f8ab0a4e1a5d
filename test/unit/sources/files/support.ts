/** A source on a folder of its own, and what it tells. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { type Clock, systemClock } from "../../../../src/lib/clock.ts";
import type { LastGood } from "../../../../src/model/last-good.ts";
import type { Logger } from "../../../../src/model/logging.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { FilesSource, type ManifestVersion } from "../../../../src/sources/files/index.ts";

export interface Followed {
  readonly folder: string;
  readonly store: TableStore;
  readonly source: FilesSource;
  readonly warnings: readonly object[];
  readonly started: Promise<void>;
  problems(): readonly Problem[];
  /** "error Pod default/web spec.nodeName", a line per problem. */
  brief(): readonly string[];
  path(name: string): string;
  stop(): void;
}

export async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-files-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What an agent leaves to the next one, in memory. */
export class Memory implements LastGood<ManifestVersion> {
  versions: ReadonlyMap<string, ManifestVersion> = new Map();

  async read(): Promise<ReadonlyMap<string, ManifestVersion>> {
    return this.versions;
  }

  keep(versions: ReadonlyMap<string, ManifestVersion>): void {
    this.versions = versions;
  }
}

/** Starts to follow; the source is stopped when the test ends. */
export async function follow(
  t: ExecutionContext,
  folder: string,
  lastGood: LastGood<ManifestVersion> = new Memory(),
  clock: Clock = systemClock,
): Promise<Followed> {
  const store = new TableStore();
  const topics = new Map<string, readonly Problem[]>();
  const warnings: object[] = [];
  const quiet = () => undefined;
  const log: Logger = { debug: quiet, info: quiet, error: quiet, warn: (f) => warnings.push(f), child: () => log };
  const source = new FilesSource({
    store,
    conditions: { report: (topic, problems) => void topics.set(topic, problems) },
    log,
    clock,
    folder,
    lastGood,
  });
  const stopping = new AbortController();
  // The source's own timers keep no process alive: an agent lives by its socket.
  const alive = setInterval(() => undefined, 1_000);
  t.teardown(() => {
    clearInterval(alive);
    stopping.abort();
  });
  const problems = () => [...topics.values()].flat();
  return {
    folder,
    store,
    source,
    warnings,
    started: source.start(stopping.signal),
    problems,
    brief: () => problems().map(({ severity, object, field }) => `${severity} ${object} ${field}`.trim()),
    path: (name) => join(folder, name),
    stop: () => stopping.abort(),
  };
}

/** As the lab writes: readers see the old text or the new one. */
export async function put(path: string, text: string): Promise<void> {
  const temporary = `${path.slice(0, path.lastIndexOf("/"))}/.new`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}

/** ms until it holds; throws after a minute. */
export async function until(what: string, holds: () => boolean): Promise<number> {
  const started = performance.now();
  while (!holds()) {
    if (performance.now() - started > 60_000) throw new Error(`not within a minute: ${what}`);
    await systemClock.sleep(2);
  }
  return performance.now() - started;
}

/** A clock on which 20 ms of this machine are 1 ms: what a busy one does to a test's own pauses is short then. */
export const slowClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now() / 20,
  sleep: (ms, signal) => systemClock.sleep(ms * 20, signal),
  setTimer: (ms, callback) => systemClock.setTimer(ms * 20, callback),
};

/** A clock on which the slow look never comes: whatever is seen, an event told of. */
export const eventsOnly: Clock = {
  ...systemClock,
  setTimer: (ms, callback) => (ms < 4_000 ? systemClock.setTimer(ms, callback) : { cancel: () => undefined }),
};

export const pod = (name: string, node = "node-1") =>
  JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name }, spec: { nodeName: node } });
