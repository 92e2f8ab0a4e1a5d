/**
 * Binds pods to nodes, one node after the other among those that a pod may go to. It knows nothing of resources: nodes of a lab are
 * processes of one machine. Pods of other schedulers are theirs.
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import {
  type Batch,
  isStatus,
  type KubeClient,
  type KubeObject,
  kinds,
  type ObjectName,
  Reflector,
} from "../../kube/index.ts";
import type { Logger } from "../../model/logging.ts";
import { conditionsOf, mergeConditions } from "../kubelet/pod-status.ts";
import { writeStatus } from "../kubelet/write-status.ts";
import { nodeSchema, schedulablePodSchema, type SchedulableNode, type SchedulablePod, whyNot } from "./placement.ts";

export interface SchedulerOptions {
  readonly client: Pick<KubeClient, "get" | "list" | "watch" | "history" | "act" | "patch">;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Waiting {
  readonly name: ObjectName;
  readonly uid: string;
  readonly spec: SchedulablePod;
}

const ourName = "default-scheduler";

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #nodes = new Map<string, SchedulableNode>();
  readonly #pods = new Map<string, Waiting>();
  /** The node that was chosen last. */
  #last = "";

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#options;
    const runner = new BoundedFrequencyRunner({
      clock,
      minIntervalMs: 10,
      // A binding that failed for reasons of the moment is tried again.
      maxIntervalMs: 5_000,
      action: () => this.#scheduleAll(signal),
    });
    const shared = { client, clock, log };
    const nodes = new Reflector<SchedulableNode>({
      ...shared,
      kind: kinds.nodes,
      project: (object) => nodeSchema.parse(object),
      sink: (batch) => {
        takeInto(this.#nodes, batch);
        runner.trigger();
      },
    });
    const pods = new Reflector<Waiting>({
      ...shared,
      kind: kinds.pods,
      fieldSelector: "spec.nodeName=",
      project: readWaiting,
      sink: (batch) => {
        takeInto(this.#pods, batch);
        runner.trigger();
      },
    });
    await Promise.all([nodes.run(signal), pods.run(signal)]);
    await runner.stop();
  }

  async #scheduleAll(signal: AbortSignal): Promise<void> {
    for (const [key, pod] of this.#pods) {
      if (signal.aborted) return;
      try {
        const node = this.#choose(pod);
        if (node === null) await this.#explain(pod, signal);
        else if (await this.#bind(pod, node, signal)) this.#pods.delete(key);
      } catch (error) {
        if (!signal.aborted) this.#options.log.warn({ pod: key, error: messageOf(error) }, "a pod cannot be bound");
      }
    }
  }

  /** The first one after the last one that it may go to. */
  #choose({ spec }: Waiting): string | null {
    const names = [...this.#nodes.keys()].sort();
    const after = names.filter((name) => name > this.#last);
    const chosen = [...after, ...names].find((name) => {
      const node = this.#nodes.get(name);
      return node !== undefined && whyNot(spec, node) === null;
    });
    this.#last = chosen ?? this.#last;
    return chosen ?? null;
  }

  /** @returns true: it needs no node any more */
  async #bind({ name, uid }: Waiting, node: string, signal: AbortSignal): Promise<boolean> {
    const { client, log } = this.#options;
    const binding = {
      kind: "Binding",
      apiVersion: "v1",
      metadata: { ...name, uid },
      target: { apiVersion: "v1", kind: "Node", name: node },
    };
    try {
      await client.act(kinds.pods, name, "binding", binding, { signal });
      log.info({ pod: `${name.namespace}/${name.name}`, node }, "bound");
    } catch (error) {
      // Gone, another one, or bound by someone else.
      if (!isStatus(error, 404) && !isStatus(error, 409)) throw error;
    }
    return true;
  }

  async #explain({ name, uid, spec }: Waiting, signal: AbortSignal): Promise<void> {
    const reasons = [...this.#nodes.values()].map((node) => `${node.metadata.name} ${whyNot(spec, node) ?? ""}`);
    const condition = {
      type: "PodScheduled",
      status: "False",
      reason: "Unschedulable",
      message: `0/${this.#nodes.size} nodes are available: ${reasons.sort().join(", ")}`,
    } as const;
    const change = (status: Readonly<Record<string, unknown>>) => ({
      conditions: mergeConditions(conditionsOf(status), [condition], this.#options.clock.now()),
    });
    await writeStatus(this.#options.client, kinds.pods, name, uid, change, signal);
  }
}

function readWaiting(object: KubeObject): Waiting | null {
  const { namespace = "default", name, uid = "", deletionTimestamp } = object.metadata;
  const spec = schedulablePodSchema.parse(object.spec);
  if (spec.schedulerName !== ourName || spec.nodeName !== undefined || deletionTimestamp !== undefined) return null;
  return { name: { namespace, name }, uid, spec };
}

function takeInto<R>(map: Map<string, R>, { added, updated, deleted }: Batch<R>): void {
  for (const [key, row] of [...added, ...updated]) map.set(key, row);
  for (const key of deleted) map.delete(key);
}
