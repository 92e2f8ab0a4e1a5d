/** A reflector under test: on a scripted client and a manual clock, with a sink that keeps what it was told. */
import { setMaxListeners } from "node:events";
import type { ExecutionContext } from "ava";
import { kinds, type KubeKind } from "../../../src/kube/kinds.ts";
import type { Batch } from "../../../src/kube/ledger.ts";
import type { KubeObject } from "../../../src/kube/objects.ts";
import { Reflector } from "../../../src/kube/reflector.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { ScriptedClient } from "./scripted-client.ts";

export interface Following {
  readonly clock: ManualClock;
  readonly client: ScriptedClient;
  readonly reflector: Reflector<string>;
  /** What the sink was told, as "+shop/a=1 ~shop/b=2 -shop/c", "" for an empty batch. */
  readonly told: string[];
  /** What the sink believes: key to version. */
  readonly rows: Map<string, string>;
  /** "synced stale fresh": what `status` said when it called. */
  readonly heard: string[];
  readonly stop: AbortController;
  /** Thrown by the sink while it is set, after it took the first row. */
  sinkFails: Error | null;
  /** Lets what is under way go on. */
  go(ms?: number): Promise<void>;
  /** Answers the first list, and lets the watch be asked for. */
  start(objects: readonly KubeObject[], resourceVersion: string): Promise<void>;
}

export interface FollowOptions {
  readonly kind?: KubeKind;
  readonly random?: () => number;
  readonly project?: (object: KubeObject) => string | null;
  readonly clock?: ManualClock;
}

export function follow(t: ExecutionContext, options: FollowOptions = {}): Following {
  const clock = options.clock ?? new ManualClock();
  const client = new ScriptedClient(clock);
  const told: string[] = [];
  const rows = new Map<string, string>();
  const heard: string[] = [];
  const stop = new AbortController();
  // What the test gave up on still waits for it.
  setMaxListeners(0, stop.signal);
  const reflector: Reflector<string> = new Reflector<string>({
    client,
    clock,
    log: silentLogger,
    kind: options.kind ?? kinds.pods,
    random: options.random ?? (() => 0.5),
    project: options.project ?? ((object) => object.metadata.resourceVersion ?? ""),
    sink: (batch) => {
      if (following.sinkFails !== null) {
        const [first] = batch.added;
        if (first !== undefined) rows.set(...first);
        throw following.sinkFails;
      }
      told.push(textOf(batch));
      for (const [key, row] of [...batch.added, ...batch.updated]) rows.set(key, row);
      for (const key of batch.deleted) rows.delete(key);
    },
    onStatus: () => {
      const { synced, stale } = reflector.status();
      heard.push(stale !== null ? `stale ${stale.code}` : synced ? "fresh" : "unsynced");
    },
  });
  const following: Following = {
    clock,
    client,
    reflector,
    told,
    rows,
    heard,
    stop,
    sinkFails: null,
    go: (ms = 0) => clock.advance(ms),
    start: async (objects, resourceVersion) => {
      await clock.advance(0);
      client.takeList().answer(objects, resourceVersion);
      await clock.advance(0);
    },
  };
  const running = reflector.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  return following;
}

function textOf({ added, updated, deleted }: Batch<string>): string {
  return [
    ...added.map(([key, row]) => `+${key}=${row}`),
    ...updated.map(([key, row]) => `~${key}=${row}`),
    ...deleted.map((key) => `-${key}`),
  ].join(" ");
}
