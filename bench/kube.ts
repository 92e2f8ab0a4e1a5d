/**
 * `scripts/bench kube`: what an agent costs beside a real-sized Kubernetes cluster, and how fast pods start there. The API server is the one of
 * the tests, in a process of its own that is filled beforehand; the agent is the bundle, on a node of a lab.
 */
import { KubeNode } from "./kube-node.ts";
import { podStarts } from "./kube-pods.ts";
import { clusterSize } from "./kube-size.ts";
import { printTable, type Row } from "./support.ts";

export interface KubeOptions {
  readonly rounds: number;
  readonly idleSeconds: number;
  /** Pods that are started one by one, and again at once. */
  readonly starts: number;
  /** Pods whose service is waited for. */
  readonly changes: number;
}

/** Of the issue: 100 nodes, 10,000 pods. */
const size = { pods: 10_000, policies: 1_000 } as const;

export async function benchKube(options: KubeOptions): Promise<readonly Row[]> {
  const all: Row[] = [];
  const add = (title: string, rows: readonly Row[]) => {
    printTable(title, rows);
    all.push(...rows);
  };
  await KubeNode.with(async (node) => {
    add("An agent beside a large cluster", await clusterSize(node, { ...size, ...options }));
    add("Pods that start in it", await podStarts(node, options.starts, options.changes));
  });
  return all;
}
