/** What a user names as an end of a connection: shop/cart, node/worker-1, svc/shop/cart, 192.0.2.7. */
import { type Address, parseAddress } from "../../model/ip.ts";
import { nearest } from "../../lib/nearest.ts";
import { isLive, type OfflineCluster } from "./cluster.ts";

export type End =
  /** One or more addresses of one party. */
  | { readonly kind: "addresses"; readonly text: string; readonly addresses: readonly Address[] }
  | {
      readonly kind: "service";
      readonly text: string;
      readonly service: string;
      /** Of the cluster address that was named; null: the service was named itself. */
      readonly family: 4 | 6 | null;
    }
  /** There is no such thing. */
  | { readonly kind: "unknown"; readonly text: string; readonly message: string; readonly remedy: string };

export function findEnd(cluster: OfflineCluster, text: string): End {
  const { facts, words } = cluster;
  const literal = parseAddress(text);
  if (literal !== null) {
    // Nobody reaches a cluster address itself: it is translated before policies have a say.
    const service = [...facts.services].find(([, { clusterIps }]) => clusterIps.some((ip) => ip.text === literal.text));
    if (service !== undefined) return { kind: "service", text, service: service[0], family: literal.family };
    return { kind: "addresses", text, addresses: [literal] };
  }
  const unknown = (message: string, remedy: string): End => ({ kind: "unknown", text, message, remedy });
  const missing = (what: string, name: string, known: Iterable<string>): End => {
    const near = nearest(name, known);
    return unknown(
      `there is no ${what} ${name} ${words.where}`,
      near === null ? words.remedy : `did you mean ${near}?`,
    );
  };
  const ofNode = (name: string): End => {
    const node = facts.nodes.get(name);
    if (node === undefined) return missing("node", name, facts.nodes.keys());
    if (node.addresses.length === 0) return unknown(`node ${name} has no address`, "write status.addresses");
    return { kind: "addresses", text, addresses: node.addresses };
  };
  if (text.startsWith("node/")) return ofNode(text.slice("node/".length));
  if (text.startsWith("svc/")) {
    const service = text.slice("svc/".length);
    if (!facts.services.has(service)) return missing("service", service, facts.services.keys());
    return { kind: "service", text, service, family: null };
  }
  if (!/^[^/\s]+\/[^/\s]+$/.test(text)) {
    return unknown(
      `${JSON.stringify(text)} is no end of a connection`,
      "write NAMESPACE/POD, node/NAME, svc/NAMESPACE/NAME or an address",
    );
  }
  const pod = facts.pods.get(text);
  if (pod === undefined) return missing("pod", text, facts.pods.keys());
  if (pod.hostNetwork) return ofNode(pod.node);
  if (!isLive(pod)) {
    const why = pod.addresses.length === 0 ? "it has no address" : `its phase is ${pod.phase}`;
    return unknown(`pod ${text} takes no part: ${why}`, "name a pod that runs");
  }
  return { kind: "addresses", text, addresses: pod.addresses };
}
