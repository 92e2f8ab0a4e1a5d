/** Rows of a desired state in few words. */
import type {
  CompiledDirection,
  CompiledSet,
  DesiredEndpoint,
  DesiredFrontend,
  DesiredIdentity,
} from "../../../src/compute/desired.ts";
import { type Address, type Prefix, parseAddress, parsePrefix } from "../../../src/model/ip.ts";

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

export function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
}

export const openDirection: CompiledDirection = {
  enforced: false,
  denies: 0,
  allows: 0,
  redirects: 0,
  outsideOnly: [],
  peers: new Map(),
  prefixes: [],
  ports: [],
  origins: [],
};

/** Denies and allows of identities on every port. */
export function direction(allowed: readonly number[], denied: readonly number[] = []): CompiledDirection {
  const peers = new Map<number, number[]>();
  const groups = denied.length + allowed.length;
  for (const [index, identity] of [...denied, ...allowed].entries()) {
    peers.set(identity, [...(peers.get(identity) ?? []), index]);
  }
  return {
    ...openDirection,
    enforced: true,
    denies: denied.length,
    allows: allowed.length,
    peers,
    ports:
      groups === 0
        ? []
        : [{ protocol: 0, port: 0, bits: 0, groups: Array.from({ length: groups }, (_, index) => index) }],
    origins: Array.from({ length: groups }, (_, index) => [`rule ${index}`]),
  };
}

export function set(
  key: string,
  ingress: CompiledDirection,
  egress = openDirection,
  refused: string | null = null,
): CompiledSet {
  const text = JSON.stringify([ingress, egress, refused], (_, value: unknown) =>
    value instanceof Map ? [...value] : value,
  );
  return { key, digest: text, ingress, egress, refused };
}

export function endpoint(number: number, setKey: string | null, identity = 1000 + number): DesiredEndpoint {
  const hex = number.toString(16).padStart(2, "0");
  return {
    row: {
      pod: `shop/pod-${number}`,
      uid: null,
      containerId: `c${number}`,
      id: number,
      ifindex: 100 + number,
      ifname: `tdm${number}`,
      netns: `/run/netns/${number}`,
      ipv4: address(`10.9.0.${number}`),
      ipv6: address(`fd00:9::${number.toString(16)}`),
      podMac: `02:00:00:00:00:${hex}`,
      hostMac: `02:00:00:00:01:${hex}`,
      policyAuditMode: null,
    },
    identity,
    set: setKey,
    audit: false,
  };
}

export function identity(text: string, number: number): DesiredIdentity {
  return { address: address(text), identity: number, localNode: false, node: false };
}

export function frontend(vip: string, ...backends: readonly string[]): DesiredFrontend {
  return {
    address: address(vip),
    port: 80,
    protocol: 6,
    external: false,
    affinitySeconds: null,
    backends: backends.map((text) => ({ address: address(text), port: 8080 })),
    service: `shop/${vip}:http`,
  };
}
