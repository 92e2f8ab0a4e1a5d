/** A node's BGP as kube-router makes it of Nodes and their annotations: who peers with whom, and of which AS number. Pure. */
import { parse } from "yaml";
import type { KubeObject } from "../../../src/kube/index.ts";
import type { Peer } from "../../../src/lab/bgp-peers.ts";
import type { Speaker } from "../../../src/lab/gobgp-config.ts";
import type { Flags } from "./flags.ts";

type ByFamily = Readonly<Record<4 | 6, string>>;

export interface NodeFacts {
  readonly name: string;
  readonly addresses: ByFamily;
  readonly podCidrs: ByFamily;
  /** `node.asn` */
  readonly asn: number | null;
  /** Its part in route reflection. */
  readonly reflects: "server" | "client" | null;
  /** `peers` */
  readonly externalPeers: readonly { readonly remoteip: string; readonly remoteasn: number }[];
}

const clusterAs = 64512;

export function nodeFacts({ metadata, spec, status }: KubeObject): NodeFacts {
  const { annotations = {} } = metadata;
  const note = (key: string) => annotations[`kube-router.io/${key}`];
  const { podCIDRs = [] } = (spec ?? {}) as { readonly podCIDRs?: readonly string[] };
  const { addresses = [] } = (status ?? {}) as {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
  };
  const internal = addresses.filter(({ type }) => type === "InternalIP").map(({ address }) => address);
  const byFamily = (texts: readonly string[]): ByFamily => ({
    4: texts.find((text) => !text.includes(":")) ?? "",
    6: texts.find((text) => text.includes(":")) ?? "",
  });
  const asn = note("node.asn");
  return {
    name: metadata.name,
    addresses: byFamily(internal),
    podCidrs: byFamily(podCIDRs),
    asn: asn === undefined ? null : Number(asn),
    reflects: note("rr.server") !== undefined ? "server" : note("rr.client") !== undefined ? "client" : null,
    externalPeers: parse(note("peers") ?? "[]") as NodeFacts["externalPeers"],
  };
}

export function speakerOf(own: NodeFacts, all: readonly NodeFacts[], flags: Flags): Speaker {
  const asOf = (node: NodeFacts) => (flags.fullMesh ? clusterAs : (node.asn ?? 0));
  const session = (name: string, address: string, as: number, more: Pick<Peer, "external" | "client">): Peer => ({
    name,
    address,
    localAddress: own.addresses[address.includes(":") ? 6 : 4],
    as,
    families: ["ipv4", "ipv6"],
    ...more,
  });
  const nodes = all
    .filter((node) => node.name !== own.name && asOf(node) === asOf(own))
    .filter((node) => own.reflects !== "client" || node.reflects === "server");
  return {
    as: asOf(own),
    routerId: own.addresses[4],
    addresses: [own.addresses[4], own.addresses[6]],
    peers: [
      ...(flags.ibgp ? nodes : []).map((node) => {
        const client = own.reflects === "server" && node.reflects === "client";
        return session(node.name, node.addresses[4], asOf(node), { external: false, client });
      }),
      ...own.externalPeers.map(({ remoteip, remoteasn }) =>
        session(remoteip, remoteip, remoteasn, { external: true, client: false }),
      ),
    ],
    // kube-router's are 90 and 30 s.
    timers: { hold: 9, keepalive: 3 },
    gracefulRestart: flags.gracefulRestart,
    restartSeconds: flags.restartSeconds,
    multipath: false,
  };
}
