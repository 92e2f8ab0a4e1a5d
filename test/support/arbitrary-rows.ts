/** Rows of small random clusters, over few labels, ports and addresses, so that they meet often. */
import fc from "fast-check";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../src/model/ip.ts";
import type {
  CidrGroupRow,
  ContainerPort,
  EndpointSliceRow,
  NameRow,
  NamespaceRow,
  NodeRow,
  PodRow,
  ServiceRow,
} from "../../src/model/tables.ts";

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

export const optional = { nil: undefined } as const;
export const some = <T>(values: fc.Arbitrary<T>, most = 2): fc.Arbitrary<T[]> => fc.array(values, { maxLength: most });
export const chance = (frequency: number) => fc.integer({ min: 0, max: frequency }).map((n) => n === 0);

/** Leaves out the fields that are undefined, as YAML would. */
export function compact<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as T;
}

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

export const podLabels = fc
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
