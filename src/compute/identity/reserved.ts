/** Identities that have no labels of pods. The numbers are Cilium's, and those of `enum identity_number` in the eBPF headers. */

export const identityNumbers = {
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  remoteNode: 6,
  kubeApiserver: 7,
  ingress: 8,
  worldIpv4: 9,
  worldIpv6: 10,
} as const;

export const reservedIdentities: readonly { readonly id: number; readonly labels: readonly string[] }[] = [
  { id: identityNumbers.host, labels: ["reserved:host"] },
  { id: identityNumbers.world, labels: ["reserved:world"] },
  { id: identityNumbers.unmanaged, labels: ["reserved:unmanaged"] },
  { id: identityNumbers.health, labels: ["reserved:health"] },
  { id: identityNumbers.init, labels: ["reserved:init"] },
  { id: identityNumbers.remoteNode, labels: ["reserved:remote-node"] },
  { id: identityNumbers.kubeApiserver, labels: ["reserved:kube-apiserver"] },
  { id: identityNumbers.ingress, labels: ["reserved:ingress"] },
  { id: identityNumbers.worldIpv4, labels: ["reserved:world", "reserved:world-ipv4"] },
  { id: identityNumbers.worldIpv6, labels: ["reserved:world", "reserved:world-ipv6"] },
];

/** Not of the cluster: rules about CIDRs of a CiliumNetworkPolicy count for these only. */
export function isOutside(identity: number): boolean {
  return (
    identity === identityNumbers.world ||
    identity === identityNumbers.worldIpv4 ||
    identity === identityNumbers.worldIpv6
  );
}
