/** Several kinds that a duty follows together: what of them is not followed at the moment, and a problem for each, so that people hear why. */
import type { Clock } from "../lib/clock.ts";
import {
  type Batch,
  type KubeClient,
  type KubeKind,
  type Projection,
  Reflector,
  type ReflectorOptions,
  type ReflectorStatus,
} from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";

export interface FollowingOptions {
  readonly client: Pick<KubeClient, "list" | "watch" | "history" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionSink;
  /** Of the conditions. */
  readonly topic: string;
  /** A kind is followed for the first time, again, or not any more. */
  readonly onStatus: () => void;
}

type Followed = Pick<Reflector<unknown>, "run" | "whenSynced" | "status">;
type Selection = Pick<ReflectorOptions<unknown>, "namespace" | "labelSelector" | "silenceMs">;

export class Following {
  readonly #options: FollowingOptions;
  readonly #reflectors: Followed[] = [];
  #ended = false;

  constructor(options: FollowingOptions) {
    this.#options = options;
  }

  /** To be called before `run`. */
  add<R>(kind: KubeKind, project: Projection<R>, sink: (batch: Batch<R>) => void, selection: Selection = {}): void {
    const { client, clock, log } = this.#options;
    const onStatus = () => this.#report();
    this.#reflectors.push(new Reflector<R>({ ...selection, client, clock, log, kind, project, sink, onStatus }));
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.run(signal)));
    this.#ended = true;
    this.#options.conditions.report(this.#options.topic, []);
  }

  async whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.whenSynced(signal)));
  }

  /** What is not followed at the moment: whoever decides by what is missing must wait. */
  stale(): readonly string[] {
    return this.#reflectors
      .map((reflector) => reflector.status())
      .filter(({ synced, stale }) => !synced || stale !== null)
      .map(({ resource }) => resource);
  }

  #report(): void {
    if (this.#ended) return;
    const { conditions, topic, onStatus } = this.#options;
    const problems = this.#reflectors.flatMap((reflector) => staleProblem(reflector.status()) ?? []);
    conditions.report(topic, problems);
    onStatus();
  }
}

function staleProblem({ resource, stale, staleSince, synced }: ReflectorStatus): Problem | null {
  if (stale === null) return null;
  const since = staleSince === null ? "" : ` since ${new Date(staleSince).toISOString()}`;
  const consequence = synced ? "nothing is decided by what is known of it" : "what depends on it is not done";
  return {
    code: stale.code,
    severity: "warning",
    object: resource,
    field: "",
    message: `not followed${since}, ${consequence}: ${stale.message}`,
    remedy: stale.remedy,
  };
}
