/**
 * Numbers for sets of labels, behind the interface that compute declares: of one node alone, or of a whole cluster by CiliumIdentity
 * objects. What an allocator gave stays as it is while anybody uses it, over restarts and without anybody to ask.
 */
export { type ClusterIdentity, readIdentity, securityLabels, unusedSince } from "./cilium-identity.ts";
export { ClusterIdentityAllocator, type ClusterIdentityAllocatorOptions } from "./cluster-allocator.ts";
export { IdentityDirectory } from "./directory.ts";
export { LocalIdentityAllocator } from "./local-allocator.ts";
export {
  clusterNumbers,
  type IdentityRecord,
  isWithin,
  localNumbers,
  type NumberRange,
  type NumbersInUse,
  parseIdentityRecord,
  type RecordedAllocator,
} from "./record.ts";
