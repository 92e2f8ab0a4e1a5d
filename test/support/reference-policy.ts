/**
 * The verdict of one end, straight from the written policies and the rules of the conformance cases' README: no identities, no groups,
 * no compiled tables, nothing of src/compute. Slow and plain on purpose; the compiled sets have to agree with it.
 * Policies are taken to be valid.
 */
import type { Address } from "../../src/model/ip.ts";
import type { TableStore } from "../../src/model/store.ts";
import type { PodRow } from "../../src/model/tables.ts";

// biome-ignore lint/suspicious/noExplicitAny: policies as users write them
type Written = any;

export interface Flow {
  readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP" | "ICMPv6";
  /** Port, or ICMP type. */
  readonly number: number;
}

export type ReferenceVerdict = "allow" | "deny" | "redirect";

/** Who an address is. */
type Party =
  | { readonly kind: "pod"; readonly pod: PodRow; readonly address: Address }
  | { readonly kind: "node"; readonly node: string; readonly address: Address }
  | { readonly kind: "unknown" | "outside"; readonly address: Address };

type Direction = "ingress" | "egress";

export class ReferencePolicy {
  readonly #store: TableStore;

  constructor(store: TableStore) {
    this.#store = store;
  }

  /** `pod` is the end; a pod of its own node is on the other side of `peer` only if the addresses differ. */
  judge(pod: PodRow, direction: Direction, peerAddress: Address, flow: Flow): ReferenceVerdict {
    const peer = this.#party(peerAddress);
    const policies = [...this.#store.table("policies").values()].flatMap(({ kind, namespace, spec, specs }) =>
      [...(spec == null ? [] : [spec]), ...(specs ?? [])].map(
        (each): { kind: string; namespace: string; spec: Written } => ({
          kind,
          namespace,
          spec: each,
        }),
      ),
    );
    const selecting = policies.filter((policy) => this.#selectsSubject(policy, pod));
    const closed = selecting.some((policy) => defaultDeny(policy, direction));
    const rules = (section: string) =>
      selecting.flatMap((policy) => asRules(policy, direction, section).map((rule) => ({ ...rule, policy })));
    const matches = (rule: Rule & { policy: Policy }, required: readonly Required[]) =>
      this.#matchesPeer(rule, direction, pod, peer, required) && this.#matchesPorts(rule, direction, pod, peer, flow);

    const denies = this.#required(selecting, direction, "Deny");
    if (rules("Deny").some((rule) => matches(rule, denies))) return "deny";
    if (direction === "ingress" && peer.kind === "node" && peer.node === pod.node) return "allow";
    if (!closed) return "allow";
    const required = this.#required(selecting, direction, "");
    const allowing = rules("").filter((rule) => matches(rule, required));
    if (allowing.length === 0) return "deny";
    return allowing.some(({ l7 }) => !l7) ? "allow" : "redirect";
  }

  #party(address: Address): Party {
    const has = (addresses: readonly Address[]) => addresses.some(({ text }) => text === address.text);
    const node = [...this.#store.table("nodes").values()].find(({ addresses }) => has(addresses));
    if (node !== undefined) return { kind: "node", node: node.name, address };
    const pod = [...this.#store.table("pods").values()].find((each) => takesPart(each) && has(each.addresses));
    if (pod !== undefined) return { kind: "pod", pod, address };
    const cidrs = [...this.#store.table("nodes").values()].flatMap(({ podCidrs }) => podCidrs);
    const inside = cidrs.some(({ text }) => inCidr(text, address));
    return { kind: inside ? "unknown" : "outside", address };
  }

  #labels(pod: PodRow): ReadonlyMap<string, string> {
    const namespace = this.#store.table("namespaces").get(pod.namespace)?.labels ?? {};
    return new Map([
      ...Object.entries(pod.labels),
      ...Object.entries({ ...namespace, "kubernetes.io/metadata.name": pod.namespace }).map(
        ([key, value]): [string, string] => [`io.cilium.k8s.namespace.labels.${key}`, value],
      ),
      ["io.kubernetes.pod.namespace", pod.namespace],
      ["io.cilium.k8s.policy.serviceaccount", pod.serviceAccount],
      ["io.cilium.k8s.policy.cluster", "default"],
    ]);
  }

  #selectsSubject({ kind, namespace, spec }: Policy, pod: PodRow): boolean {
    if (kind === "NetworkPolicy")
      return pod.namespace === namespace && selected(spec.podSelector, labelsOf(pod.labels));
    if (kind === "CiliumNetworkPolicy" && pod.namespace !== namespace) return false;
    return selected(spec.endpointSelector, this.#labels(pod));
  }

  /** Conditions on the endpoint peers of Cilium rules. */
  #required(selecting: readonly Policy[], direction: Direction, section: string): readonly Required[] {
    const field = direction === "ingress" ? "fromRequires" : "toRequires";
    return selecting.flatMap(({ kind, namespace, spec }) =>
      kind === "NetworkPolicy"
        ? []
        : (spec[direction + section] ?? []).flatMap((rule: Written) =>
            (rule[field] ?? []).map((selector: Written) => ({ selector, kind, namespace })),
          ),
    );
  }

  #selectsPeer(selector: Written, kind: string, namespace: string, pod: PodRow): boolean {
    const keys = [
      ...Object.keys(selector.matchLabels ?? {}),
      ...(selector.matchExpressions ?? []).map(({ key }: Written) => key),
    ].map(withoutSource);
    const scoped = keys.some(
      (key) => key === "io.kubernetes.pod.namespace" || key.startsWith("io.cilium.k8s.namespace.labels."),
    );
    if (kind === "CiliumNetworkPolicy" && !scoped && pod.namespace !== namespace) return false;
    return selected(selector, this.#labels(pod));
  }

  #matchesPeer(
    { peers, policy }: Rule & { policy: Policy },
    direction: Direction,
    subject: PodRow,
    peer: Party,
    required: readonly Required[],
  ): boolean {
    if (peers === "everybody") return true;
    const fits = (pod: PodRow) =>
      required.every(({ selector, kind, namespace }) => this.#selectsPeer(selector, kind, namespace, pod));
    return peers.some((each) => {
      if (policy.kind === "NetworkPolicy") return this.#matchesNetworkPolicyPeer(each, policy.namespace, peer);
      const [[kind, value] = ["", undefined]] = Object.entries(each);
      switch (kind.replace(/^(from|to)/, "")) {
        case "Endpoints":
          return (
            peer.kind === "pod" && this.#selectsPeer(value, policy.kind, policy.namespace, peer.pod) && fits(peer.pod)
          );
        case "Entities":
          return this.#isEntity(value as string, subject, peer);
        case "CIDR":
          return peer.kind === "outside" && inCidr(value as string, peer.address);
        case "CIDRSet":
          return peer.kind === "outside" && this.#isInSet(value, peer.address);
        case "Nodes":
          return peer.kind === "node" && peer.node !== subject.node && this.#isNode(value, peer.node);
        case "FQDNs":
          return peer.kind === "outside" && this.#isNamed(value, peer.address);
        case "Services":
          return direction === "egress" && this.#isBehind(value, peer, fits);
        default:
          throw new Error(`${kind} is not in the reference`);
      }
    });
  }

  #isInSet(entry: Written, address: Address): boolean {
    if (entry.cidr !== undefined) return inBlock(entry, address);
    const groups = [...this.#store.table("cidrGroups").values()].filter(({ name, labels }) =>
      entry.cidrGroupRef === undefined
        ? selected(entry.cidrGroupSelector, labelsOf(labels))
        : name === entry.cidrGroupRef,
    );
    return groups.some(({ externalCidrs }) =>
      externalCidrs.some(({ text }) => inBlock({ cidr: text, except: entry.except }, address)),
    );
  }

  #isNode(selector: Written, name: string): boolean {
    return selected(selector, labelsOf(this.#store.table("nodes").get(name)?.labels ?? {}));
  }

  /** Label by label; `*` is letters, digits, - and _, and alone it is every name. */
  #isNamed({ matchName, matchPattern }: Written, address: Address): boolean {
    const names = [...this.#store.table("names").values()].filter(({ addresses }) =>
      addresses.some(({ text }) => text === address.text),
    );
    if (matchPattern === "*") return names.length > 0;
    const wanted = (matchName ?? matchPattern).toLowerCase().replace(/\.$/, "");
    const expression = new RegExp(`^${wanted.replaceAll(".", "[.]").replaceAll("*", "[-_a-z0-9]*")}$`);
    return names.some(({ name }) => expression.test(name));
  }

  #matchesNetworkPolicyPeer(
    { podSelector, namespaceSelector, ipBlock }: Written,
    namespace: string,
    peer: Party,
  ): boolean {
    if (ipBlock !== undefined) return inBlock(ipBlock, peer.address);
    if (peer.kind !== "pod") return false;
    const { pod } = peer;
    const labels = { ...this.#store.table("namespaces").get(pod.namespace)?.labels };
    labels["kubernetes.io/metadata.name"] = pod.namespace;
    const inNamespace =
      namespaceSelector === undefined ? pod.namespace === namespace : selected(namespaceSelector, labelsOf(labels));
    return inNamespace && selected(podSelector ?? {}, labelsOf(pod.labels));
  }

  #isEntity(entity: string, subject: PodRow, peer: Party): boolean {
    const node = peer.kind === "node" ? peer.node : null;
    const slices = [...this.#store.table("endpointSlices").values()];
    const isApiServer =
      peer.kind !== "pod" &&
      slices
        .filter(({ namespace, service }) => namespace === "default" && service === "kubernetes")
        .some(({ endpoints }) =>
          endpoints.some(({ addresses }) => addresses.some(({ text }) => text === peer.address.text)),
        );
    switch (entity) {
      case "all":
        return true;
      case "none":
        return false;
      case "host":
        return node === subject.node;
      case "remote-node":
        return node !== null && node !== subject.node;
      case "world":
        return peer.kind === "outside";
      case "world-ipv4":
        return peer.kind === "outside" && peer.address.family === 4;
      case "world-ipv6":
        return peer.kind === "outside" && peer.address.family === 6;
      case "kube-apiserver":
        return isApiServer;
      case "unmanaged":
        return peer.kind === "unknown";
      case "cluster":
        return peer.kind !== "outside" || isApiServer;
      default:
        throw new Error(`${entity} is not in the reference`);
    }
  }

  #isBehind({ k8sService, k8sServiceSelector }: Written, peer: Party, fits: (pod: PodRow) => boolean): boolean {
    const services = [...this.#store.table("services").values()].filter((service) =>
      k8sService === undefined
        ? service.namespace === k8sServiceSelector.namespace &&
          selected(k8sServiceSelector.selector, labelsOf(service.labels))
        : service.namespace === k8sService.namespace && service.name === k8sService.serviceName,
    );
    return services.some(({ namespace, name, selector }) => {
      if (selector !== null) {
        if (peer.kind !== "pod" || peer.pod.namespace !== namespace || !fits(peer.pod)) return false;
        return Object.entries(selector).every(([key, value]) => peer.pod.labels[key] === value);
      }
      if (peer.kind !== "outside") return false;
      return [...this.#store.table("endpointSlices").values()]
        .filter((slice) => slice.namespace === namespace && slice.service === name)
        .some(({ endpoints }) =>
          endpoints.some(({ addresses }) => addresses.some(({ text }) => text === peer.address.text)),
        );
    });
  }

  #matchesPorts({ ports }: Rule, direction: Direction, subject: PodRow, peer: Party, flow: Flow): boolean {
    if (ports === "everything") return true;
    const destination = direction === "ingress" ? subject : peer.kind === "pod" ? peer.pod : null;
    return ports.some(({ protocols, port, endPort }) => {
      if (!protocols.includes(flow.protocol)) return false;
      if (port === null) return true;
      if (typeof port === "number") return flow.number >= port && flow.number <= (endPort ?? port);
      return (destination?.ports ?? []).some(
        (each) => each.name === port && each.protocol === flow.protocol && each.port === flow.number,
      );
    });
  }
}

interface Policy {
  readonly kind: string;
  readonly namespace: string;
  readonly spec: Written;
}

interface Required {
  readonly selector: Written;
  readonly kind: string;
  readonly namespace: string;
}

interface Rule {
  readonly peers: "everybody" | readonly Written[];
  /** port null: every port of the protocols. */
  readonly ports:
    | "everything"
    | readonly {
        readonly protocols: readonly string[];
        readonly port: number | string | null;
        readonly endPort?: number;
      }[];
  readonly l7: boolean;
}

function takesPart({ hostNetwork, phase, addresses }: PodRow): boolean {
  return !hostNetwork && phase !== "Succeeded" && phase !== "Failed" && addresses.length > 0;
}

function defaultDeny({ kind, spec }: Policy, direction: Direction): boolean {
  if (kind === "NetworkPolicy") {
    if (spec.policyTypes?.length > 0) return spec.policyTypes.includes(direction === "ingress" ? "Ingress" : "Egress");
    return direction === "ingress" || spec.egress?.length > 0;
  }
  const entries = (spec[direction] ?? []).length + (spec[`${direction}Deny`] ?? []).length;
  return entries > 0 && spec.enableDefaultDeny?.[direction] !== false;
}

/** @param section "" for the rules that allow, "Deny" */
function asRules(policy: Policy, direction: Direction, section: string): readonly Rule[] {
  const { kind, spec } = policy;
  if (kind === "NetworkPolicy") {
    if (section !== "" || !defaultDeny(policy, direction)) return [];
    return (spec[direction] ?? []).map((rule: Written): Rule => {
      const peers = rule[direction === "ingress" ? "from" : "to"] ?? [];
      const ports = rule.ports ?? [];
      return {
        peers: peers.length === 0 ? "everybody" : peers,
        ports:
          ports.length === 0
            ? "everything"
            : ports.map(({ protocol = "TCP", port = null, endPort }: Written) => ({
                protocols: [protocol],
                port,
                endPort,
              })),
        l7: false,
      };
    });
  }
  const side = direction === "ingress" ? "from" : "to";
  return (spec[direction + section] ?? []).flatMap((rule: Written): Rule[] => {
    const fields = ["Endpoints", "Entities", "CIDR", "CIDRSet", "Services", "Nodes", "FQDNs"].map(
      (name) => side + name,
    );
    const given = fields.filter((name) => rule[name] != null);
    const peers = given.flatMap((name) => rule[name].map((value: Written) => ({ [name]: value })));
    const icmps = (rule.icmps ?? []).flatMap(({ fields: entries }: Written) =>
      entries.map(({ family = "IPv4", type }: Written) => ({
        protocols: [family === "IPv6" ? "ICMPv6" : "ICMP"],
        port: type,
      })),
    );
    const limited = (rule.toPorts ?? []).length > 0 || icmps.length > 0;
    // {} matches nothing; without peers, ports are for everybody.
    if (given.length === 0 && !limited) return [];
    const who = given.length === 0 ? "everybody" : peers;
    if (!limited) return [{ peers: who, ports: "everything", l7: false }];
    if (icmps.length > 0) return [{ peers: who, ports: icmps, l7: false }];
    return rule.toPorts.map(
      ({ ports, rules }: Written): Rule => ({ peers: who, ports: ports.map(ciliumPort), l7: rules?.http?.length > 0 }),
    );
  });
}

function ciliumPort({ port, endPort, protocol = "ANY" }: Written) {
  const protocols = protocol === "ANY" ? ["TCP", "UDP", "SCTP"] : [protocol];
  if (port === "0") return { protocols, port: null };
  return { protocols, port: /^[0-9]+$/.test(port) ? Number(port) : port, endPort };
}

function labelsOf(labels: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(labels));
}

function withoutSource(key: string): string {
  return key.replace("k8s:", "").replace("any:", "");
}

function selected({ matchLabels = {}, matchExpressions = [] }: Written, labels: ReadonlyMap<string, string>): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels.get(withoutSource(key)) === value) &&
    matchExpressions.every(({ key, operator, values }: Written) => {
      const value = labels.get(withoutSource(key));
      if (operator === "Exists") return value !== undefined;
      if (operator === "DoesNotExist") return value === undefined;
      const among = value !== undefined && values.includes(value);
      return operator === "In" ? among : !among;
    })
  );
}

function number(bytes: Uint8Array): bigint {
  return bytes.reduce((all, byte) => (all << 8n) | BigInt(byte), 0n);
}

function expand(text: string): bigint {
  if (!text.includes(":")) return number(Uint8Array.from(text.split(".").map(Number)));
  const [left = "", right = ""] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const zeros = Array.from({ length: 8 - groups(left).length - groups(right).length }, () => "0");
  const all = text.includes("::") ? [...groups(left), ...zeros, ...groups(right)] : groups(left);
  return all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function inCidr(cidr: string, address: Address): boolean {
  const [base = "", length] = cidr.split("/");
  if (base.includes(":") !== (address.family === 6)) return false;
  const width = address.family === 4 ? 32 : 128;
  const shift = BigInt(width - Number(length ?? width));
  return expand(base) >> shift === number(address.bytes) >> shift;
}

function inBlock({ cidr, except = [] }: Written, address: Address): boolean {
  return inCidr(cidr, address) && !except.some((each: string) => inCidr(each, address));
}
