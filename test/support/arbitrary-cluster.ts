/** Small random clusters with random valid policies of all kinds, over few labels, ports and addresses, so that they meet often. */
import fc from "fast-check";
import { parsePolicy } from "../../src/compute/policy/parse.ts";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../src/model/ip.ts";
import { nameKey } from "../../src/model/name-key.ts";
import { TableStore } from "../../src/model/store.ts";
import type {
  CidrGroupRow,
  ContainerPort,
  EndpointSliceRow,
  NameRow,
  NamespaceRow,
  NodeRow,
  PodRow,
  PolicyRow,
  ServiceRow,
} from "../../src/model/tables.ts";
import type { Flow } from "./reference-policy.ts";

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

export function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

export const namespaceNames = ["x", "y"] as const;
export const nodeNames = ["n1", "n2"] as const;
const podNumbers = [1, 2, 3, 4, 5, 6] as const;

/** Neither pods nor nodes; the last two are inside of pod CIDRs. */
export const strangers = ["203.0.113.7", "198.51.100.60", "10.9.0.1", "2001:db8::7", "10.1.1.200", "fd00:1:2::200"];

const optional = { nil: undefined } as const;
const some = <T>(values: fc.Arbitrary<T>, most = 2): fc.Arbitrary<T[]> => fc.array(values, { maxLength: most });
const chance = (frequency: number) => fc.integer({ min: 0, max: frequency }).map((n) => n === 0);

/** Leaves out the fields that are undefined, as YAML would. */
function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}

// ---- who there is ----

export const namespaceRow: fc.Arbitrary<NamespaceRow> = fc
  .tuple(fc.constantFrom(...namespaceNames), fc.constantFrom("red", "blue"))
  .map(([name, team]) => ({ name, labels: { team, "kubernetes.io/metadata.name": name } }));

export function nodeRow(name: (typeof nodeNames)[number], pool: string = name): NodeRow {
  const n = nodeNames.indexOf(name) + 1;
  return {
    name,
    labels: { pool, "kubernetes.io/hostname": name },
    addresses: [address(`192.168.0.${n}`), address(`fd00:192::${n}`)],
    podCidrs: [prefix(`10.1.${n}.0/24`), prefix(`fd00:1:${n}::/64`)],
  };
}

const containerPort: fc.Arbitrary<ContainerPort> = fc.record({
  name: fc.constantFrom("http", "http", "dns", null),
  port: fc.constantFrom(53, 80, 8080),
  protocol: fc.constantFrom("TCP" as const, "UDP" as const),
});

const rarely = <T>(value: T): fc.Arbitrary<T | undefined> => chance(5).map((is) => (is ? value : undefined));

const podLabels = fc
  .record({ app: fc.constantFrom("a", "b"), tier: rarely("1"), "k8s.io/odd": rarely("v") })
  .map((labels) => compact(labels) as Record<string, string>);

export const podRow: fc.Arbitrary<PodRow> = fc
  .record({
    n: fc.constantFrom(...podNumbers),
    namespace: fc.constantFrom(...namespaceNames),
    labels: podLabels,
    node: fc.constantFrom(...nodeNames),
    serviceAccount: fc.constantFrom("default", "default", "default", "sa"),
    hostNetwork: chance(9),
    finished: chance(9),
    families: fc.constantFrom<(4 | 6)[][]>([4], [6], [4, 6]),
    ports: some(containerPort, 3),
    ready: fc.boolean(),
  })
  .map(({ n, namespace, labels, node, serviceAccount, hostNetwork, finished, families, ports, ready }) => {
    const m = nodeNames.indexOf(node) + 1;
    const at = namespaceNames.indexOf(namespace) * 10 + n;
    const own = [
      ...(families.includes(4) ? [`10.1.${m}.${at}`] : []),
      ...(families.includes(6) ? [`fd00:1:${m}::${at}`] : []),
    ];
    return {
      namespace,
      name: `p${n}`,
      uid: "",
      labels,
      node,
      serviceAccount,
      hostNetwork,
      addresses: hostNetwork ? nodeRow(node).addresses : own.map(address),
      ports,
      phase: finished ? "Succeeded" : "Running",
      ready,
    };
  });

export const serviceRow: fc.Arbitrary<ServiceRow> = fc
  .record({
    name: fc.constantFrom("s1", "s2"),
    namespace: fc.constantFrom(...namespaceNames),
    selector: fc.option(podLabels, { nil: null }),
    labels: fc.constantFrom({}, { exposed: "yes" }),
  })
  .map(({ name, namespace, selector, labels }) => ({
    namespace,
    name,
    type: "ClusterIP",
    clusterIps: [],
    externalIps: [],
    loadBalancerIps: [],
    ports: [],
    selector,
    affinitySeconds: null,
    publishNotReady: false,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    healthCheckNodePort: null,
    sourceRanges: null,
    labels: labels as Record<string, string>,
  }));

export const sliceRow: fc.Arbitrary<EndpointSliceRow> = fc
  .record({
    service: fc.constantFrom("default/kubernetes", "x/s1", "y/s2"),
    endpoints: some(fc.constantFrom("192.168.0.1", "198.51.100.60", "10.1.1.1", "10.1.2.2")),
  })
  .map(({ service, endpoints }) => {
    const [namespace = "", name = ""] = service.split("/");
    return {
      namespace,
      name: `${name}-1`,
      service: name,
      family: 4,
      endpoints: endpoints.map((text) => ({
        addresses: [address(text)],
        ready: true,
        serving: true,
        terminating: false,
        node: null,
        hints: null,
      })),
      ports: [],
    };
  });

export const groupRow: fc.Arbitrary<CidrGroupRow> = fc
  .record({
    name: fc.constantFrom("g1", "g2"),
    labels: fc.constantFrom({}, { kind: "partner" }),
    externalCidrs: some(
      fc.constantFrom("203.0.113.7/32", "198.51.100.0/24", "10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"),
    ),
  })
  .map(({ name, labels, externalCidrs }) => ({
    name,
    labels: labels as Record<string, string>,
    externalCidrs: externalCidrs.map(prefix),
  }));

export const nameRow: fc.Arbitrary<NameRow> = fc
  .record({
    name: fc.constantFrom("a.example.com", "b.example.com", "example.com", "x.a.example.com"),
    addresses: some(fc.constantFrom("203.0.113.7", "198.51.100.60", "10.1.1.1", "192.168.0.1", "2001:db8::7")),
  })
  .map(({ name, addresses }) => ({ name, addresses: addresses.map(address) }));

// ---- policies ----

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

// ---- all of it ----

/** One change of a table: a row under its key, or none. */
export type Step = (store: TableStore) => void;

export const namespaceStep: fc.Arbitrary<Step> = namespaceRow.map(
  (row) => (store) => store.upsert("namespaces", row.name, row),
);
export const podStep: fc.Arbitrary<Step> = podRow.map(
  (row) => (store) => store.upsert("pods", `${row.namespace}/${row.name}`, row),
);
export const serviceStep: fc.Arbitrary<Step> = serviceRow.map(
  (row) => (store) => store.upsert("services", `${row.namespace}/${row.name}`, row),
);
export const sliceStep: fc.Arbitrary<Step> = sliceRow.map(
  (row) => (store) => store.upsert("endpointSlices", `${row.namespace}/${row.name}`, row),
);
export const policyStep: fc.Arbitrary<Step> = policyRow.map(
  (row) => (store) => store.upsert("policies", `${row.kind}/${row.namespace}/${row.name}`, row),
);
export const groupStep: fc.Arbitrary<Step> = groupRow.map(
  (row) => (store) => store.upsert("cidrGroups", row.name, row),
);
export const nameStep: fc.Arbitrary<Step> = nameRow.map(
  (row) => (store) => store.upsert("names", nameKey(row.endpoint ?? null, row.name), row),
);
export const nodeStep: fc.Arbitrary<Step> = fc
  .tuple(fc.constantFrom(...nodeNames), fc.constantFrom("n1", "n2", "special"))
  .map(
    ([name, pool]) =>
      (store) =>
        store.upsert("nodes", name, nodeRow(name, pool)),
  );
export const nodeSteps: readonly Step[] = nodeNames.map(
  (name) => (store) => store.upsert("nodes", name, nodeRow(name)),
);

const section = (side: "from" | "to", denies: boolean) =>
  fc.option(fc.array(ciliumRule(side, denies), { minLength: 1, maxLength: 2 }), { nil: undefined });

const hostPolicy: fc.Arbitrary<PolicyRow> = fc
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

/** A policy of nodes comes, changes or goes. */
export const hostPolicyStep: fc.Arbitrary<Step> = fc
  .tuple(hostPolicy, fc.integer({ min: 0, max: 4 }))
  .map(([row, kind]) => {
    const key = `${row.kind}//${row.name}`;
    return (store) => (kind === 0 ? store.delete("policies", key) : store.upsert("policies", key, row));
  });

export const clusterSteps: fc.Arbitrary<readonly Step[]> = fc
  .tuple(
    fc.array(namespaceStep, { minLength: 1, maxLength: 3 }),
    fc.array(podStep, { minLength: 2, maxLength: 8 }),
    some(serviceStep),
    some(sliceStep, 3),
    fc.array(policyStep, { minLength: 1, maxLength: 6 }),
    some(groupStep),
    some(nameStep, 3),
    some(nodeStep),
  )
  .map((parts) => [...nodeSteps, ...parts.flat()]);

export function build(steps: readonly Step[]): TableStore {
  const store = new TableStore();
  for (const step of steps) step(store);
  return store;
}

export const flows: readonly Flow[] = [
  ...(["TCP", "UDP", "SCTP"] as const).flatMap((protocol) =>
    [53, 54, 80, 8080, 9].map((number): Flow => ({ protocol, number })),
  ),
  { protocol: "ICMP", number: 8 },
  { protocol: "ICMP", number: 3 },
  { protocol: "ICMPv6", number: 128 },
];
