/**
 * A case once more over IPv6. The truth tables are IPv4 but for a few; where labels, entities and ports alone decide, the same must
 * hold for IPv6. So pods and nodes get IPv6 addresses beside their own, and each probe between them has a twin.
 */
import type { KubeObject, Pod } from "../objects.ts";
import { type CaseProbe, type ConformanceCase, isIcmp } from "./case.ts";
import { addressesOf, familyOf, nodeAddresses } from "./who.ts";

/** What names addresses, or names servers by address: these policies may decide otherwise for another family. */
const addressed = /ipBlock|CIDR|toServices|toFQDNs|icmps|kube-apiserver|world-ipv4|world-ipv6/;

/** The case itself where addresses decide. */
export function overBothFamilies(one: ConformanceCase): ConformanceCase {
  if (addressed.test(JSON.stringify(one.policies))) return one;
  const twins = one.probes.filter(hasTwin).map((probe): CaseProbe => ({ ...probe, family: 6 }));
  return { ...one, cluster: one.cluster.map(withIpv6), probes: [...one.probes, ...twins] };
}

function hasTwin({ family, from, to, protocol, resolved }: CaseProbe): boolean {
  if (family !== null || isIcmp(protocol) || resolved.length > 0) return false;
  return [from, to].every((end) => end.includes("/") && !end.startsWith("svc/"));
}

function withIpv6(object: KubeObject): KubeObject {
  if (object.kind === "Node") {
    const status = object.status as { readonly addresses?: readonly object[] } | undefined;
    const added = missing(nodeAddresses(object)).map((address) => ({ type: "InternalIP", address }));
    return { ...object, status: { ...status, addresses: [...(status?.addresses ?? []), ...added] } };
  }
  if (object.kind !== "Pod") return object;
  const pod = object as Pod;
  const ips = [...addressesOf(pod), ...missing(addressesOf(pod))];
  return { ...pod, status: { ...pod.status, podIPs: ips.map((ip) => ({ ip })) } };
}

/** 10.244.1.20 has fd00:244:1::20 beside it and 192.168.10.11 has fd00:10::11, as the dual-stack cases have it. */
function missing(addresses: readonly string[]): readonly string[] {
  const [ipv4, ...others] = addresses;
  if (ipv4 === undefined || others.length > 0 || familyOf(ipv4) === 6) return [];
  const [first, second, third, fourth] = ipv4.split(".");
  return [first === "10" ? `fd00:${second}:${third}::${fourth}` : `fd00:${third}::${fourth}`];
}
