/**
 * The kinds of cilium.io that Tandem brings, and the objects of them that it writes. `kube` knows where objects are kept; what is in
 * them is said here, once: types for who writes them, and definitions for the API server.
 */
import { endpointKind } from "./cilium-endpoint.ts";
import { identityKind } from "./cilium-identity.ts";
import { nodeKind } from "./cilium-node.ts";
import type { CustomKind } from "./definition.ts";
import { cidrGroupKind, clusterwideNetworkPolicyKind, networkPolicyKind } from "./policies.ts";

export {
  agentLabels,
  agentNamespace,
  type AgentReport,
  decodeReport,
  encodeReport,
  type KindReport,
  mostNamed,
  type PolicyKind,
  policyKinds,
  reportAnnotation,
} from "./agent-report.ts";
export type { EndpointStatus } from "./cilium-endpoint.ts";
export type { SecurityLabels } from "./cilium-identity.ts";
export type { NodeSpec, NodeStatus } from "./cilium-node.ts";
export { customResourceDefinition, type CustomKind, definitionName } from "./definition.ts";
export type { PolicyCondition, PolicyStatus } from "./policies.ts";
export { PolicyDigest, type PolicyVersion } from "./policy-digest.ts";

export const customKinds: readonly CustomKind[] = [
  cidrGroupKind,
  clusterwideNetworkPolicyKind,
  endpointKind,
  identityKind,
  networkPolicyKind,
  nodeKind,
];
