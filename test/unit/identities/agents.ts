/** Allocators of several nodes at one cluster in memory, and what their computations would do with them. */
import type { ExecutionContext } from "ava";
import {
  ClusterIdentityAllocator,
  clusterNumbers,
  type IdentityRecord,
  type NumberRange,
} from "../../../src/identities/index.ts";
import { TandemError } from "../../../src/lib/errors.ts";
import { type KubeObject, kinds } from "../../../src/kube/index.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryCluster } from "../../support/memory-cluster.ts";

export interface Agent {
  readonly allocator: ClusterIdentityAllocator;
  readonly problems: Map<string, readonly Problem[]>;
  /** Computations that it asked for. */
  news: number;
  /** Number of the label set, or the code of why there is none. */
  ask(app: string, node?: string): number | string;
  /** A computation: asks for these sets and keeps what it got. */
  compute(...apps: readonly string[]): readonly (number | string)[];
  stop(): Promise<void>;
}

export interface Bench {
  readonly clock: ManualClock;
  readonly cluster: MemoryCluster;
  agent(name: string, options?: { readonly record?: IdentityRecord; readonly range?: NumberRange }): Agent;
  /** Lets everything happen that needs no time to pass. */
  settle(): Promise<void>;
  identities(): Readonly<Record<string, string>>;
}

export const keyOf = (app: string) => `k8s:app=${app}\nk8s:io.kubernetes.pod.namespace=shop`;

export function identity(number: number, app: string, annotations: Readonly<Record<string, string>> = {}): KubeObject {
  const labels = { "k8s:app": app, "k8s:io.kubernetes.pod.namespace": "shop" };
  return { metadata: { name: String(number), annotations }, "security-labels": labels };
}

export function bench(t: ExecutionContext): Bench {
  const clock = new ManualClock();
  const cluster = new MemoryCluster(clock);
  const agents: Agent[] = [];
  t.teardown(async () => {
    for (const agent of agents) await agent.stop();
  });
  return {
    clock,
    cluster,
    agent(name, { record, range } = {}) {
      const stopping = new AbortController();
      const problems = new Map<string, readonly Problem[]>();
      const allocator = new ClusterIdentityAllocator({
        client: cluster.client(name),
        nodeName: name,
        range: range ?? clusterNumbers(0),
        record: record ?? null,
        onNews: () => void agent.news++,
        conditions: { report: (topic, said) => void problems.set(topic, said) },
        log: silentLogger,
        clock,
        random: () => 0,
      });
      const running = allocator.run(stopping.signal);
      const agent: Agent = {
        allocator,
        problems,
        news: 0,
        ask(app, node = name) {
          try {
            return allocator.numberFor(keyOf(app), node);
          } catch (error) {
            if (error instanceof TandemError) return error.code;
            throw error;
          }
        },
        compute(...apps) {
          const answers = apps.map((app) => this.ask(app));
          const used = answers.flatMap((number, at) =>
            typeof number === "number" ? [[number, { key: keyOf(apps[at] ?? "") }] as const] : [],
          );
          allocator.retain(new Map(used));
          return answers;
        },
        async stop() {
          stopping.abort();
          await running;
        },
      };
      agents.push(agent);
      return agent;
    },
    settle: () => settled(clock),
    identities: () =>
      Object.fromEntries(
        cluster.all(kinds.ciliumIdentities).map(({ metadata, ...fields }) => {
          const labels = fields["security-labels"] as Readonly<Record<string, string>>;
          return [metadata.name, labels["k8s:app"] ?? ""];
        }),
      ),
  };
}

async function settled(clock: ManualClock): Promise<void> {
  for (let round = 0; round < 10; round++) await clock.advance(0);
}
