/** A leader at work on a cluster in memory. */
import type { ExecutionContext } from "ava";
import { clusterNumbers } from "../../../src/identities/index.ts";
import { type KubeObject, kinds } from "../../../src/kube/index.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { Duties } from "../../../src/operator/duties.ts";
import { Counters } from "../../../src/operator/metrics.ts";
import { moment, Term } from "../../../src/operator/term.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryCluster } from "../../support/memory-cluster.ts";

export const gcIntervalMs = 60_000;
export const identityGraceMs = 600_000;

export interface Leading {
  readonly clock: ManualClock;
  readonly cluster: MemoryCluster;
  readonly counters: Counters;
  readonly problems: Map<string, readonly Problem[]>;
  /** Begins a term; a second call ends it and begins the next. */
  lead(): Promise<Term>;
  stop(): Promise<void>;
}

export function leading(t: ExecutionContext): Leading {
  const clock = new ManualClock();
  const cluster = new MemoryCluster(clock);
  const counters = new Counters();
  const problems = new Map<string, readonly Problem[]>();
  let term: Term | null = null;
  let working = Promise.resolve();
  const stop = async () => {
    term?.end();
    for (let turn = 0; turn < 10; turn++) await clock.advance(0);
    await working;
  };
  t.teardown(stop);
  return {
    clock,
    cluster,
    counters,
    problems,
    stop,
    async lead() {
      await stop();
      term = new Term(clock, Number.MAX_SAFE_INTEGER / 2, moment(clock));
      const duties = new Duties({
        client: cluster.client("operator"),
        range: clusterNumbers(0),
        gcIntervalMs,
        identityGraceMs,
        agentNamespace: "kube-system",
        nodeTaint: "tandem.io/agent-not-ready",
        nodeCondition: true,
        conditions: { report: (topic, said) => void problems.set(topic, said) },
        counters,
        clock,
        log: silentLogger,
      });
      working = duties.run(term);
      for (let turn = 0; turn < 10; turn++) await clock.advance(0);
      return term;
    },
  };
}

export function pod(
  name: string,
  labels: Readonly<Record<string, string>>,
  fields: Readonly<Record<string, unknown>> = {},
): KubeObject {
  return {
    metadata: { namespace: "shop", name, labels },
    spec: { serviceAccountName: "default" },
    status: { phase: "Running" },
    ...fields,
  };
}

/** With the labels that agents derive for pods of the namespace shop. */
export function identity(number: number, labels: Readonly<Record<string, string>>): KubeObject {
  const all = {
    ...labels,
    "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": "shop",
    "io.cilium.k8s.policy.cluster": "default",
    "io.cilium.k8s.policy.serviceaccount": "default",
    "io.kubernetes.pod.namespace": "shop",
  };
  const texts = Object.entries(all).map(([name, value]) => [`k8s:${name}`, value]);
  return { metadata: { name: String(number) }, "security-labels": Object.fromEntries(texts) };
}

export function shop(cluster: MemoryCluster): void {
  cluster.put(kinds.namespaces, { metadata: { name: "shop", labels: { "kubernetes.io/metadata.name": "shop" } } });
}

export function names(cluster: MemoryCluster, kind: Parameters<MemoryCluster["all"]>[0]): readonly string[] {
  return cluster.all(kind).map(({ metadata }) => metadata.name);
}
