/**
 * The fields of policies as a table, asked of the code itself: which fields it knows it tells when it refuses one that it does not,
 * and what becomes of each it tells when it reads a policy that uses it.
 */
import { parsePolicy } from "../src/compute/policy/parse.ts";
import type { PolicyRow } from "../src/model/tables.ts";

type Kind = PolicyRow["kind"];

interface Sample {
  /** As users write it: "ingress[].fromCIDR". */
  readonly field: string;
  readonly meaning: string;
  readonly kinds: readonly Kind[];
  readonly spec: object;
}

const cilium: readonly Kind[] = ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"];
const kubernetes: readonly Kind[] = ["NetworkPolicy"];
const everyPod = { endpointSelector: {} };
const port = { port: "80", protocol: "TCP" };

const sample = (kinds: readonly Kind[], field: string, meaning: string, spec: object): Sample => ({
  field,
  meaning,
  kinds,
  spec,
});
const inCilium = (field: string, meaning: string, spec: object) =>
  sample(cilium, field, meaning, { ...everyPod, ...spec });
const egress = (name: string, meaning: string, value: unknown, rest: object = {}) =>
  inCilium(`egress[].${name}`, meaning, { egress: [{ ...rest, [name]: value }] });
const ingress = (name: string, meaning: string, value: unknown, rest: object = {}) =>
  inCilium(`ingress[].${name}`, meaning, { ingress: [{ ...rest, [name]: value }] });
const ports = (name: string, meaning: string, portRule: object) =>
  inCilium(`toPorts[].${name}`, meaning, { egress: [{ toPorts: [{ ports: [port], ...portRule }] }] });
const inNetworkPolicy = (field: string, meaning: string, spec: object) =>
  sample(kubernetes, field, meaning, { podSelector: {}, ...spec });

const pods = [{ matchLabels: { app: "web" } }];
const service = { k8sService: { serviceName: "web", namespace: "shop" } };
const group = [{ cidrGroupRef: "partners" }];

const samples: readonly Sample[] = [
  inNetworkPolicy("podSelector", "the pods of the namespace that it is about", { ingress: [] }),
  inNetworkPolicy("policyTypes", "directions that it closes; without: Ingress, and Egress if there are egress rules", {
    policyTypes: ["Egress"],
  }),
  inNetworkPolicy("ingress", "what may come in", { ingress: [{}] }),
  inNetworkPolicy("egress", "what may go out", { egress: [{}] }),
  inNetworkPolicy("ingress[].from", "peers", { ingress: [{ from: [{ podSelector: {} }] }] }),
  inNetworkPolicy("egress[].to", "peers", { egress: [{ to: [{ podSelector: {} }] }] }),
  inNetworkPolicy("ingress[].ports", "ports of the pods", { ingress: [{ ports: [{ port: 80 }] }] }),
  inNetworkPolicy("egress[].ports", "ports of the destination", { egress: [{ ports: [{ port: 80 }] }] }),
  inNetworkPolicy("from[].podSelector", "pods, of this namespace if there is no namespaceSelector", {
    ingress: [{ from: [{ podSelector: {} }] }],
  }),
  inNetworkPolicy("from[].namespaceSelector", "pods of namespaces with these labels", {
    ingress: [{ from: [{ namespaceSelector: {} }] }],
  }),
  inNetworkPolicy("from[].ipBlock", "addresses, also of pods and nodes", {
    ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }],
  }),
  inNetworkPolicy("ipBlock.cidr", "the block", { ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }] }),
  inNetworkPolicy("ipBlock.except", "parts of this block that are not meant", {
    ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }] }],
  }),
  inNetworkPolicy("ports[].port", "number, or name of a container's port; without: any", {
    ingress: [{ ports: [{ port: "http" }] }],
  }),
  inNetworkPolicy("ports[].endPort", "last port of a range", { ingress: [{ ports: [{ port: 80, endPort: 90 }] }] }),
  inNetworkPolicy("ports[].protocol", "TCP (default), UDP, SCTP", {
    ingress: [{ ports: [{ port: 80, protocol: "SCTP" }] }],
  }),

  inCilium("endpointSelector", "the pods that it is about", { ingress: [{}] }),
  sample(cilium, "nodeSelector", "nodes that it is about, instead of pods", { nodeSelector: {}, ingress: [{}] }),
  inCilium("ingress", "what may come in", { ingress: [{}] }),
  inCilium("egress", "what may go out", { egress: [{}] }),
  inCilium("ingressDeny", "what must not come in, whatever allows it", { ingressDeny: [{ fromEntities: ["world"] }] }),
  inCilium("egressDeny", "what must not go out, whatever allows it", { egressDeny: [{ toEntities: ["world"] }] }),
  inCilium("enableDefaultDeny", "whether its rules close their direction", {
    ingress: [{}],
    enableDefaultDeny: { ingress: false },
  }),
  inCilium("enableDefaultDeny.ingress", "false: rules add up, nothing is closed", {
    ingress: [{}],
    enableDefaultDeny: { ingress: false },
  }),
  inCilium("enableDefaultDeny.egress", "the same at egress", { egress: [{}], enableDefaultDeny: { egress: false } }),
  inCilium("labels", "of the policy; not looked at", { ingress: [{}], labels: [{ key: "a", value: "b" }] }),
  inCilium("description", "not looked at", { ingress: [{}], description: "text" }),
  inCilium("log", "not looked at", { ingress: [{}], log: { value: "text" } }),

  ingress("fromEndpoints", "pods by labels, of the policy's namespace if no other is named", pods),
  ingress("fromRequires", "labels that pods of the other rules' fromEndpoints must have too", pods),
  ingress(
    "fromEntities",
    "all, cluster, host, remote-node, world, world-ipv4, world-ipv6, kube-apiserver, unmanaged, …",
    ["world"],
  ),
  ingress("fromCIDR", "addresses outside of the cluster", ["192.0.2.0/24"]),
  ingress("fromCIDRSet", "the same with exceptions or groups", [{ cidr: "192.0.2.0/24" }]),
  ingress("fromNodes", "other nodes by the labels of their Node objects", pods),
  ingress("fromGroups", "groups of a cloud provider", [{ aws: {} }]),
  ingress("toPorts", "ports of the pods", [{ ports: [port] }]),
  ingress("icmps", "ICMP types", [{ fields: [{ type: 8 }] }]),
  ingress("authentication", "mutual authentication", { mode: "required" }, { fromEndpoints: pods }),
  egress("toEndpoints", "pods by labels, of the policy's namespace if no other is named", pods),
  egress("toRequires", "labels that pods of the other rules' toEndpoints must have too", pods),
  egress("toEntities", "as fromEntities", ["world"]),
  egress("toCIDR", "addresses outside of the cluster", ["192.0.2.0/24"]),
  egress("toCIDRSet", "the same with exceptions or groups", [{ cidr: "192.0.2.0/24" }]),
  egress("toNodes", "other nodes by the labels of their Node objects", pods),
  egress("toGroups", "groups of a cloud provider", [{ aws: {} }]),
  egress("toServices", "what is behind services", [service]),
  egress("toFQDNs", "what DNS names stand for", [{ matchName: "example.com" }]),
  egress("toPorts", "ports of the destination", [{ ports: [port] }]),
  egress("icmps", "ICMP types", [{ fields: [{ type: "EchoRequest" }] }]),
  egress("authentication", "mutual authentication", { mode: "required" }, { toEndpoints: pods }),

  inCilium("toCIDRSet[].cidr", "the block", { egress: [{ toCIDRSet: [{ cidr: "192.0.2.0/24" }] }] }),
  inCilium("toCIDRSet[].except", "parts of this block that are not meant", {
    egress: [{ toCIDRSet: [{ cidr: "192.0.2.0/24", except: ["192.0.2.7/32"] }] }],
  }),
  inCilium("toCIDRSet[].cidrGroupRef", "a CiliumCIDRGroup by name", { egress: [{ toCIDRSet: group }] }),
  inCilium("toCIDRSet[].cidrGroupSelector", "CiliumCIDRGroups by labels", {
    egress: [{ toCIDRSet: [{ cidrGroupSelector: { matchLabels: { a: "b" } } }] }],
  }),
  inCilium("toServices[].k8sService", "a service by name", { egress: [{ toServices: [service] }] }),
  inCilium("toServices[].k8sServiceSelector", "services by labels", {
    egress: [{ toServices: [{ k8sServiceSelector: { selector: { matchLabels: { a: "b" } }, namespace: "shop" } }] }],
  }),
  inCilium("toFQDNs[].matchName", "a name", { egress: [{ toFQDNs: [{ matchName: "example.com" }] }] }),
  inCilium("toFQDNs[].matchPattern", "a pattern of names", {
    egress: [{ toFQDNs: [{ matchPattern: "*.example.com" }] }],
  }),
  inCilium("icmps[].fields[].type", "number or name", { egress: [{ icmps: [{ fields: [{ type: 8 }] }] }] }),
  inCilium("icmps[].fields[].family", "IPv4 (default) or IPv6", {
    egress: [{ icmps: [{ fields: [{ type: 128, family: "IPv6" }] }] }],
  }),

  ports("ports", "any of these", {}),
  ports("ports[].port", 'number as text, or name of a container\'s port; "0" is every port', {
    ports: [{ port: "http", protocol: "TCP" }],
  }),
  ports("ports[].endPort", "last port of a range", { ports: [{ port: "80", endPort: 90, protocol: "TCP" }] }),
  ports("ports[].protocol", "TCP, UDP, SCTP, ANY (default: all three)", { ports: [{ port: "80", protocol: "ANY" }] }),
  ports("rules", "what requests have to look like", { rules: { http: [{}] } }),
  ports("rules.http", "HTTP requests: method, path, host, headers, headerMatches", {
    rules: { http: [{ method: "GET", path: "/" }] },
  }),
  ports("rules.kafka", "Kafka requests: role, apiKey, apiVersion, clientID, topic", {
    rules: { kafka: [{ topic: "a" }] },
  }),
  ports("rules.dns", "DNS queries: matchName, matchPattern", {
    ports: [{ port: "53", protocol: "UDP" }],
    rules: { dns: [{ matchPattern: "*" }] },
  }),
  ports("rules.l7", "another protocol", { rules: { l7proto: "x", l7: [{ a: "b" }] } }),
  ports("rules.l7proto", "its name", { rules: { l7proto: "x", l7: [{ a: "b" }] } }),
  ports("serverNames", "TLS server names", { ports: [{ port: "443", protocol: "TCP" }], serverNames: ["example.com"] }),
  ports("terminatingTLS", "TLS that the proxy ends", {
    terminatingTLS: { secret: { namespace: "a", name: "b" } },
    rules: { http: [{}] },
  }),
  ports("originatingTLS", "TLS that the proxy begins", {
    originatingTLS: { secret: { namespace: "a", name: "b" } },
    rules: { http: [{}] },
  }),
  ports("listener", "an Envoy listener", { listener: { envoyConfig: { name: "a" }, name: "b" } }),
];

/** What only describes a policy. */
const notes: ReadonlySet<string> = new Set(["labels", "description", "log"]);

const stranger = "zzzzzzzzzzzzzzzzzzzzzzzz";

/** Where the code is asked which fields it knows: a policy with a field in it that nobody has. */
const levels: readonly { readonly kind: Kind; readonly prefix: string; readonly spec: object }[] = [
  { kind: "NetworkPolicy", prefix: "", spec: { podSelector: {}, [stranger]: 1 } },
  { kind: "NetworkPolicy", prefix: "ingress[].", spec: { podSelector: {}, ingress: [{ [stranger]: 1 }] } },
  { kind: "NetworkPolicy", prefix: "egress[].", spec: { podSelector: {}, egress: [{ [stranger]: 1 }] } },
  { kind: "NetworkPolicy", prefix: "from[].", spec: { podSelector: {}, ingress: [{ from: [{ [stranger]: 1 }] }] } },
  {
    kind: "NetworkPolicy",
    prefix: "ipBlock.",
    spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { [stranger]: 1 } }] }] },
  },
  { kind: "NetworkPolicy", prefix: "ports[].", spec: { podSelector: {}, ingress: [{ ports: [{ [stranger]: 1 }] }] } },
  { kind: "CiliumNetworkPolicy", prefix: "", spec: { ...everyPod, [stranger]: 1 } },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "enableDefaultDeny.",
    spec: { ...everyPod, enableDefaultDeny: { [stranger]: 1 } },
  },
  { kind: "CiliumNetworkPolicy", prefix: "ingress[].", spec: { ...everyPod, ingress: [{ [stranger]: 1 }] } },
  { kind: "CiliumNetworkPolicy", prefix: "egress[].", spec: { ...everyPod, egress: [{ [stranger]: 1 }] } },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toCIDRSet[].",
    spec: { ...everyPod, egress: [{ toCIDRSet: [{ [stranger]: 1 }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toServices[].",
    spec: { ...everyPod, egress: [{ toServices: [{ [stranger]: 1 }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toFQDNs[].",
    spec: { ...everyPod, egress: [{ toFQDNs: [{ [stranger]: 1 }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "icmps[].fields[].",
    spec: { ...everyPod, egress: [{ icmps: [{ fields: [{ [stranger]: 1 }] }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toPorts[].",
    spec: { ...everyPod, egress: [{ toPorts: [{ [stranger]: 1 }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toPorts[].ports[].",
    spec: { ...everyPod, egress: [{ toPorts: [{ ports: [{ [stranger]: 1 }] }] }] },
  },
  {
    kind: "CiliumNetworkPolicy",
    prefix: "toPorts[].rules.",
    spec: { ...everyPod, egress: [{ toPorts: [{ ports: [port], rules: { [stranger]: 1 } }] }] },
  },
];

function parse(kind: Kind, spec: object) {
  const namespace = kind === "CiliumClusterwideNetworkPolicy" ? "" : "shop";
  return parsePolicy({ kind, namespace, name: "a", uid: "", generation: 1, spec, specs: null });
}

/** @throws Error where the code does not say which fields it knows */
function knownFields(kind: Kind, spec: object): readonly string[] {
  const [told] = parse(kind, spec).problems.filter(
    ({ code, field }) => code === "POLICY_UNKNOWN_FIELD" && field.endsWith(stranger),
  );
  const [, list] = /^known fields are (.*)$/.exec(told?.remedy ?? "") ?? [];
  if (list === undefined) throw new Error(`${kind}: the fields beside ${JSON.stringify(spec)} are not told`);
  return list.split(", ");
}

/** What becomes of a policy that uses the field, in a word. */
function fate({ kinds, spec, field }: Sample): string {
  const fates = kinds.map((kind): string => {
    const { valid, problems } = parse(kind, spec);
    const codes = new Set(problems.map(({ code }) => code));
    if (codes.has("POLICY_UNSUPPORTED")) return "refused: not supported";
    if (codes.has("POLICY_NODE_SELECTOR")) return "refused: for clusterwide policies";
    if (!valid) throw new Error(`${kind} ${field}: the sample is refused: ${JSON.stringify(problems)}`);
    if (codes.has("POLICY_NAMES_PENDING")) return "those names that some policy writes whole (docs/l7.md)";
    if (codes.has("POLICY_PEER_PENDING")) return "nobody yet";
    if (codes.has("POLICY_L7_PENDING")) return "closed until the proxy enforces it";
    if (problems.length > 0) throw new Error(`${kind} ${field}: the sample has a problem: ${JSON.stringify(problems)}`);
    return notes.has(field) ? "accepted" : "enforced";
  });
  const [first = "", ...others] = [...new Set(fates)];
  if (others.length === 0) return first;
  return kinds.map((kind, index) => `${kind}: ${fates[index]}`).join("; ");
}

/** @throws Error for a field that the code knows and no sample uses, or the other way round */
function checkComplete(): void {
  for (const { kind, prefix, spec } of levels) {
    const known = knownFields(kind, spec).map((name) => prefix + name);
    const shown = samples.filter(({ kinds }) => kinds.includes(kind)).map(({ field }) => field);
    const missing = known.filter((field) => !shown.includes(field));
    if (missing.length > 0) throw new Error(`scripts/policy-fields.ts: ${kind} has ${missing.join(", ")}: add samples`);
    const depth = (field: string) => field.split(".").length;
    const gone = shown.filter(
      (field) =>
        field.startsWith(prefix) &&
        depth(field) === depth(`${prefix}x`) &&
        !known.includes(field) &&
        levels.some((level) => level.prefix === prefix),
    );
    if (gone.length > 0 && prefix !== "")
      throw new Error(`scripts/policy-fields.ts: ${kind} has no ${gone.join(", ")}`);
  }
}

/** The table, as Markdown. */
export function policyFieldsTable(): string {
  checkComplete();
  const section = (title: string, kinds: readonly Kind[]) => {
    const rows = samples
      .filter((each) => each.kinds === kinds)
      .map((each) => `| \`${each.field}\` | ${each.meaning} | ${fate(each)} |`);
    return [`### ${title}`, "", "| field | meaning | now |", "|---|---|---|", ...rows].join("\n");
  };
  return [
    section("NetworkPolicy (`networking.k8s.io/v1`), below `spec`", kubernetes),
    section(
      "CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (`cilium.io/v2`), below `spec` and each of `specs`",
      cilium,
    ),
  ].join("\n\n");
}
