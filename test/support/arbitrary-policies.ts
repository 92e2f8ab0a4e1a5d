/** Random policies of all kinds, most of them valid, about what arbitrary-rows.ts has. */
import fc from "fast-check";
import { parsePolicy } from "../../src/compute/policy/parse.ts";
import type { PolicyRow } from "../../src/model/tables.ts";
import { compact, namespaceNames, optional, podLabels, some } from "./arbitrary-rows.ts";

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom("app", "tier"),
    operator: fc.constantFrom("In", "NotIn"),
    values: fc.constantFrom(["a"], ["1", "b"]),
  }),
  fc.record({ key: fc.constantFrom("app", "tier", "k8s.io/odd"), operator: fc.constantFrom("Exists", "DoesNotExist") }),
);

const plainSelector = fc.oneof(
  fc.constantFrom<object[]>({}, { matchLabels: { app: "a" } }, { matchLabels: { app: "b" } }),
  fc
    .record({ matchLabels: fc.option(podLabels, optional), matchExpressions: fc.option(some(expression), optional) })
    .map(compact),
);

const namespaceSelector = fc.oneof(
  fc.constantFrom({}, { matchLabels: { team: "red" } }),
  fc.constant({ matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "NotIn", values: ["x"] }] }),
);

const block4 = fc.constantFrom(
  "0.0.0.0/0",
  "10.0.0.0/8",
  "10.1.0.0/16",
  "10.1.1.0/24",
  "192.168.0.0/24",
  "203.0.113.7/32",
  "198.51.100.0/24",
);
const block6 = fc.constantFrom("::/0", "fd00:1:1::/64", "2001:db8::/32");
const insideOf: Readonly<Record<string, readonly string[]>> = {
  "0.0.0.0/0": ["10.0.0.0/8", "203.0.113.0/24", "10.1.2.2/32"],
  "10.0.0.0/8": ["10.1.0.0/16", "10.9.0.0/24"],
  "10.1.0.0/16": ["10.1.1.0/24", "10.1.2.0/28"],
  "10.1.1.0/24": ["10.1.1.1/32", "10.1.1.0/24"],
  "198.51.100.0/24": ["198.51.100.60/32", "198.51.100.0/25"],
  "::/0": ["fd00::/8", "2001:db8::7/128"],
};
const block = fc
  .oneof(block4, block6)
  .chain((cidr) =>
    fc
      .record({ cidr: fc.constant(cidr), except: fc.option(fc.subarray([...(insideOf[cidr] ?? [])]), optional) })
      .map(compact),
  );

const networkPort = fc
  .oneof(
    fc.record({
      protocol: fc.constantFrom("TCP", "UDP", "SCTP", undefined),
      port: fc.constantFrom(53, 80, 8080, "http", "dns", undefined),
    }),
    fc.record({ port: fc.constant(53), endPort: fc.constantFrom(53, 80, 8079) }),
  )
  .map(compact);

const networkPeer = fc.oneof(
  fc.record({ podSelector: plainSelector }),
  fc.record({ namespaceSelector }),
  fc.record({ podSelector: plainSelector, namespaceSelector }),
  fc.record({ ipBlock: block }),
);

const networkRule = (side: "from" | "to") =>
  fc
    .record({ [side]: fc.option(some(networkPeer), optional), ports: fc.option(some(networkPort), optional) })
    .map(compact);

const networkPolicy = fc
  .record({
    podSelector: fc.oneof(fc.constant({}), plainSelector),
    policyTypes: fc.option(fc.subarray(["Ingress", "Egress"]), optional),
    ingress: fc.option(some(networkRule("from")), optional),
    egress: fc.option(some(networkRule("to")), optional),
  })
  .map(compact);

const ciliumSelector = fc.oneof(
  plainSelector,
  fc.constantFrom<object[]>(
    { matchLabels: { "k8s:app": "a", "io.kubernetes.pod.namespace": "y" } },
    { matchLabels: { "any:app": "b" } },
    { matchLabels: { "io.cilium.k8s.policy.serviceaccount": "sa" } },
    { matchLabels: { "k8s:io.cilium.k8s.namespace.labels.team": "blue" } },
    { matchExpressions: [{ key: "io.kubernetes.pod.namespace", operator: "Exists" }] },
    { matchExpressions: [{ key: "k8s:io.kubernetes.pod.namespace", operator: "NotIn", values: ["x"] }] },
  ),
);

const ciliumPort = fc
  .oneof(
    fc.record({
      port: fc.constantFrom("53", "80", "8080", "0", "http", "http"),
      protocol: fc.constantFrom("TCP", "UDP", "SCTP", "ANY", undefined),
    }),
    fc.record({ port: fc.constant("53"), endPort: fc.constantFrom(80, 8081), protocol: fc.constantFrom("TCP", "ANY") }),
  )
  .map(compact);

const portRule = fc.oneof(
  { weight: 2, arbitrary: fc.record({ ports: fc.array(ciliumPort, { minLength: 1, maxLength: 2 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ports: fc.constantFrom([{ port: "80", protocol: "TCP" }], [{ port: "http", protocol: "TCP" }]),
      rules: fc.constantFrom({ http: [{ method: "GET" }] }, { http: [] }, { http: [{ path: "/a" }, {}] }),
    }),
  },
);

const icmp = fc.record({
  fields: some(fc.record({ family: fc.constantFrom("IPv4", "IPv6"), type: fc.constantFrom(8, 128, 3) }).map(compact)),
});

const entities = [
  "all",
  "cluster",
  "host",
  "remote-node",
  "world",
  "world-ipv4",
  "world-ipv6",
  "kube-apiserver",
  "unmanaged",
  "none",
];

const group = fc
  .record({
    who: fc.constantFrom<object[]>(
      { cidrGroupRef: "g1" },
      { cidrGroupRef: "g2" },
      { cidrGroupSelector: { matchLabels: { kind: "partner" } } },
      { cidrGroupSelector: { matchExpressions: [{ key: "kind", operator: "DoesNotExist" }] } },
    ),
    except: fc.constantFrom(undefined, undefined, ["203.0.113.0/24"], ["198.51.100.60/32", "2001:db8::7/128"]),
  })
  .map(({ who, except }) => compact({ ...who, except }));

const nodeSelector = fc.constantFrom<object[]>(
  {},
  { matchLabels: { pool: "n1" } },
  { matchLabels: { "k8s:pool": "special" } },
  { matchExpressions: [{ key: "kubernetes.io/hostname", operator: "NotIn", values: ["n1"] }] },
);

const dnsName = fc.constantFrom<object[]>(
  { matchName: "A.example.com." },
  { matchPattern: "*.example.com" },
  { matchPattern: "*" },
  { matchPattern: "*.*.example.com" },
);

/** @param mayRequire whether it may narrow other rules */
export function ciliumRule(side: "from" | "to", denies: boolean, mayRequire = true): fc.Arbitrary<object> {
  const peers: fc.Arbitrary<object>[] = [
    fc.constant({}),
    some(ciliumSelector).map((each) => ({ [`${side}Endpoints`]: each })),
    some(ciliumSelector).map((each) => ({ [`${side}Endpoints`]: each })),
    some(fc.constantFrom(...entities)).map((each) => ({ [`${side}Entities`]: each })),
    some(fc.oneof(block4, block6)).map((each) => ({ [`${side}CIDR`]: each })),
    some(fc.oneof({ weight: 2, arbitrary: block }, { weight: 1, arbitrary: group })).map((each) => ({
      [`${side}CIDRSet`]: each,
    })),
    some(nodeSelector).map((each) => ({ [`${side}Nodes`]: each })),
  ];
  if (side === "to" && !denies) peers.push(some(dnsName).map((each) => ({ toFQDNs: each })));
  if (side === "to") {
    peers.push(
      fc.constantFrom(
        { toServices: [{ k8sService: { serviceName: "s1", namespace: "x" } }] },
        { toServices: [{ k8sServiceSelector: { selector: { matchLabels: { exposed: "yes" } }, namespace: "y" } }] },
      ),
    );
  }
  const rules = denies ? fc.record({ ports: fc.array(ciliumPort, { minLength: 1, maxLength: 2 }) }) : portRule;
  const ports = fc.oneof(
    fc.constant({}),
    fc.array(rules, { minLength: 1, maxLength: 2 }).map((toPorts) => ({ toPorts })),
    fc
      .array(icmp, { minLength: 1, maxLength: 2 })
      .filter((each) => each.some(({ fields }) => fields.length > 0))
      .map((icmps) => ({ icmps })),
  );
  const requires = fc.oneof(
    { weight: 9, arbitrary: fc.constant({}) },
    { weight: mayRequire ? 1 : 0, arbitrary: some(ciliumSelector, 1).map((each) => ({ [`${side}Requires`]: each })) },
  );
  return fc.tuple(fc.oneof(...peers), ports, requires).map(([who, which, what]) => ({ ...who, ...which, ...what }));
}

const ciliumSpec = fc
  .record({
    endpointSelector: fc.oneof(plainSelector, fc.constant({})),
    ingress: fc.option(some(ciliumRule("from", false)), optional),
    egress: fc.option(some(ciliumRule("to", false)), optional),
    ingressDeny: fc.option(some(ciliumRule("from", true), 1), optional),
    egressDeny: fc.option(some(ciliumRule("to", true), 1), optional),
    enableDefaultDeny: fc.option(
      fc
        .record({ ingress: fc.constantFrom(true, false, undefined), egress: fc.constantFrom(true, false, undefined) })
        .map(compact),
      optional,
    ),
  })
  .map(compact);

export const policyRow: fc.Arbitrary<PolicyRow> = fc
  .tuple(
    fc.constantFrom("p", "q", "r"),
    fc.constantFrom(...namespaceNames),
    fc.oneof(
      networkPolicy.map((spec) => ({ kind: "NetworkPolicy" as const, spec, specs: null })),
      ciliumSpec.map((spec) => ({ kind: "CiliumNetworkPolicy" as const, spec, specs: null })),
      ciliumSpec.map((spec) => ({ kind: "CiliumClusterwideNetworkPolicy" as const, spec, specs: null })),
      fc
        .array(ciliumSpec, { minLength: 1, maxLength: 2 })
        .map((specs) => ({ kind: "CiliumNetworkPolicy" as const, spec: undefined, specs })),
    ),
  )
  .map(([name, namespace, policy]) => ({
    ...policy,
    name,
    namespace: policy.kind === "CiliumClusterwideNetworkPolicy" ? "" : namespace,
    uid: "",
    generation: 1,
  }));

const section = (side: "from" | "to", denies: boolean) =>
  fc.option(fc.array(ciliumRule(side, denies), { minLength: 1, maxLength: 2 }), { nil: undefined });

/** A valid policy of nodes. */
export const hostPolicy: fc.Arbitrary<PolicyRow> = fc
  .record({
    name: fc.constantFrom("p1", "p2"),
    spec: fc.record({
      nodeSelector: fc.constantFrom<object>({}, { matchLabels: { pool: "n1" } }, { matchLabels: { pool: "n2" } }),
      ingress: section("from", false),
      egress: section("to", false),
      ingressDeny: section("from", true),
      egressDeny: section("to", true),
    }),
  })
  .map(
    ({ name, spec }): PolicyRow => ({
      kind: "CiliumClusterwideNetworkPolicy",
      namespace: "",
      name,
      uid: "",
      generation: 1,
      spec,
      specs: null,
    }),
  )
  // L7 rules of nodes are refused: what was valid before would go on, and history would matter.
  .filter((row) => parsePolicy(row).valid);
