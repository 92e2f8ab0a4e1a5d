/** Agents as a leader knows them: Leases that a test renews. */
import {
  agentLabels,
  type AgentReport,
  encodeReport,
  PolicyDigest,
  reportAnnotation,
} from "../../../src/kube-objects/index.ts";
import { kinds, type KubeObject } from "../../../src/kube/index.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import type { MemoryCluster } from "../../support/memory-cluster.ts";

const none = {
  count: 0,
  digest: new PolicyDigest().text,
  failing: { count: 0, digest: new PolicyDigest().text, keys: [] },
};

/** CiliumNetworkPolicies as the kernel of a node has them. */
export function holding(policies: readonly KubeObject[], failing: readonly KubeObject[] = []): AgentReport["policies"] {
  const [all, failed] = [policies, failing].map((objects) => {
    const digest = new PolicyDigest();
    for (const { metadata } of objects) {
      digest.add({ uid: metadata.uid ?? "", generation: metadata.generation ?? 0 });
    }
    return { count: digest.count, digest: digest.text };
  });
  const keys = failing.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  const report = { count: 0, digest: "", ...all, failing: { count: 0, digest: "", ...failed, keys } };
  return { NetworkPolicy: none, CiliumNetworkPolicy: report, CiliumClusterwideNetworkPolicy: none };
}

/** Renews the lease of a node's agent. */
export function renew(
  cluster: MemoryCluster,
  clock: Clock,
  node: string,
  said: Partial<Pick<AgentReport, "ready" | "network" | "policies">> = {},
): void {
  const report = { node, host: node, boot: "b", version: "0", ready: true, network: "", policies: null, ...said };
  cluster.put(kinds.leases, {
    metadata: {
      namespace: "kube-system",
      name: `tandem-agent-${node}`,
      labels: agentLabels,
      annotations: { [reportAnnotation]: encodeReport(report) },
    },
    spec: {
      holderIdentity: `${node}_1`,
      leaseDurationSeconds: 40,
      renewTime: new Date(clock.now()).toISOString().replace("Z", "000Z"),
    },
  });
}
