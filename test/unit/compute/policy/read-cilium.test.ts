import test from "ava";
import { isNodeSubject, nodeSubjectLabels } from "../../../../src/compute/policy/node-subjects.ts";
import { parsePolicy } from "../../../../src/compute/policy/parse.ts";
import { selects } from "../../../../src/model/labels.ts";
import { policy } from "../support.ts";

const subject = { endpointSelector: {} };
const tcp80 = { port: "80", protocol: "TCP" };

function read(spec: unknown, kind: "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" = "CiliumNetworkPolicy") {
  return parsePolicy(policy(kind, spec));
}

/** "CODE field" of each error. */
function errors(spec: unknown, kind?: "CiliumClusterwideNetworkPolicy"): readonly string[] {
  return read(spec, kind)
    .problems.filter(({ severity }) => severity === "error")
    .map(({ code, field }) => `${code} ${field}`);
}

function warnings(spec: unknown): readonly string[] {
  return read(spec)
    .problems.filter(({ severity }) => severity === "warning")
    .map(({ code, field }) => `${code} ${field}`);
}

const ingress = (rule: object) => ({ ...subject, ingress: [rule] });
const egress = (rule: object) => ({ ...subject, egress: [rule] });
const ports = (...entries: readonly object[]) => ({ toPorts: [{ ports: entries }] });
const http = [{ method: "GET" }];
const many = Array.from({ length: 41 }, () => tcp80);

/** What is refused, with where and as what. */
const refused: readonly (readonly [string, unknown, string])[] = [
  ["no selector", { ingress: [{}] }, "POLICY_MISSING spec"],
  ["two selectors", { ...subject, nodeSelector: {} }, "POLICY_COMBINED spec"],
  ["nodes in a namespace", { nodeSelector: {}, ingress: [{}] }, "POLICY_NODE_SELECTOR spec.nodeSelector"],
  ["a field nobody knows", { ...subject, ingres: [] }, "POLICY_UNKNOWN_FIELD spec.ingres"],
  ["a rule field nobody knows", ingress({ fromEndpoint: [] }), "POLICY_UNKNOWN_FIELD spec.ingress[0].fromEndpoint"],
  ["an egress field at ingress", ingress({ toCIDR: [] }), "POLICY_UNKNOWN_FIELD spec.ingress[0].toCIDR"],
  ["services at ingress", ingress({ toServices: [] }), "POLICY_UNKNOWN_FIELD spec.ingress[0].toServices"],
  [
    "L7 rules of a denial",
    { ...subject, ingressDeny: [{ toPorts: [{ ports: [tcp80], rules: { http } }] }] },
    "POLICY_UNKNOWN_FIELD spec.ingressDeny[0].toPorts[0].rules",
  ],
  [
    "names of a denial",
    { ...subject, egressDeny: [{ toFQDNs: [{ matchName: "a.b" }] }] },
    "POLICY_UNKNOWN_FIELD spec.egressDeny[0].toFQDNs",
  ],
  ["a rule that is null", { ...subject, ingress: [null] }, "POLICY_TYPE spec.ingress[0]"],
  ["a peer that is null", ingress({ fromEndpoints: [null] }), "POLICY_TYPE spec.ingress[0].fromEndpoints[0]"],
  ["two kinds of peers", ingress({ fromEndpoints: [{}], fromCIDR: ["10.0.0.0/8"] }), "POLICY_COMBINED spec.ingress[0]"],
  [
    "entities beside CIDRs",
    egress({ toEntities: ["world"], toCIDRSet: [{ cidr: "10.0.0.0/8" }] }),
    "POLICY_COMBINED spec.egress[0]",
  ],
  [
    "ports beside ICMP",
    ingress({ ...ports(tcp80), icmps: [{ fields: [{ type: 8 }] }] }),
    "POLICY_COMBINED spec.ingress[0].icmps",
  ],
  ["an unknown entity", ingress({ fromEntities: ["word"] }), "POLICY_ENTITY spec.ingress[0].fromEntities[0]"],
  [
    "an unknown operator",
    ingress({ fromEndpoints: [{ matchExpressions: [{ key: "a", operator: "Is" }] }] }),
    "POLICY_OPERATOR spec.ingress[0].fromEndpoints[0].matchExpressions[0].operator",
  ],
  [
    "In without values",
    ingress({ fromEndpoints: [{ matchExpressions: [{ key: "a", operator: "In" }] }] }),
    "POLICY_VALUES spec.ingress[0].fromEndpoints[0].matchExpressions[0].values",
  ],
  [
    "a label key with a space",
    ingress({ fromEndpoints: [{ matchLabels: { "a b": "c" } }] }),
    "POLICY_LABEL spec.ingress[0].fromEndpoints[0].matchLabels.a b",
  ],
  [
    "a reserved label beside another",
    ingress({ fromEndpoints: [{ matchLabels: { "reserved:host": "", app: "a" } }] }),
    "POLICY_COMBINED spec.ingress[0].fromEndpoints[0]",
  ],
  ["what is no CIDR", ingress({ fromCIDR: ["10.0.0.0/33"] }), "POLICY_CIDR spec.ingress[0].fromCIDR[0]"],
  [
    "an exception outside",
    ingress({ fromCIDRSet: [{ cidr: "10.0.0.0/8", except: ["11.0.0.0/8"] }] }),
    "POLICY_EXCEPT spec.ingress[0].fromCIDRSet[0].except[0]",
  ],
  ["a CIDR set of nothing", ingress({ fromCIDRSet: [{}] }), "POLICY_MISSING spec.ingress[0].fromCIDRSet[0]"],
  [
    "a CIDR set of two",
    ingress({ fromCIDRSet: [{ cidr: "10.0.0.0/8", cidrGroupRef: "g" }] }),
    "POLICY_COMBINED spec.ingress[0].fromCIDRSet[0]",
  ],
  ["a CIDR set that is null", ingress({ fromCIDRSet: [null] }), "POLICY_TYPE spec.ingress[0].fromCIDRSet[0]"],
  [
    "a group of CIDRs by a name that no object has",
    ingress({ fromCIDRSet: [{ cidrGroupRef: "A_b" }] }),
    "POLICY_GROUP_NAME spec.ingress[0].fromCIDRSet[0].cidrGroupRef",
  ],
  [
    "a group of CIDRs by a selector that is none",
    ingress({ fromCIDRSet: [{ cidrGroupSelector: { matchLabels: { a: 1 } } }] }),
    "POLICY_TYPE spec.ingress[0].fromCIDRSet[0].cidrGroupSelector.matchLabels.a",
  ],
  [
    "a group by name and by labels",
    ingress({ fromCIDRSet: [{ cidrGroupRef: "g", cidrGroupSelector: {} }] }),
    "POLICY_COMBINED spec.ingress[0].fromCIDRSet[0]",
  ],
  [
    "an exception of a group that is no CIDR",
    ingress({ fromCIDRSet: [{ cidrGroupRef: "g", except: ["10.0.0.0/33"] }] }),
    "POLICY_CIDR spec.ingress[0].fromCIDRSet[0].except[0]",
  ],
  ["nodes that are null", ingress({ fromNodes: [null] }), "POLICY_TYPE spec.ingress[0].fromNodes[0]"],
  [
    "nodes by an expression without values",
    ingress({ fromNodes: [{ matchExpressions: [{ key: "a", operator: "In" }] }] }),
    "POLICY_VALUES spec.ingress[0].fromNodes[0].matchExpressions[0].values",
  ],
  ["nodes beside endpoints", ingress({ fromNodes: [{}], fromEndpoints: [{}] }), "POLICY_COMBINED spec.ingress[0]"],
  ["a name that is null", egress({ toFQDNs: [null] }), "POLICY_TYPE spec.egress[0].toFQDNs[0]"],
  ["a cloud group", egress({ toGroups: [{ aws: {} }] }), "POLICY_UNSUPPORTED spec.egress[0].toGroups[0]"],
  ["a cloud group at ingress", ingress({ fromGroups: [{}] }), "POLICY_UNSUPPORTED spec.ingress[0].fromGroups[0]"],
  [
    "a denied cloud group",
    { ...subject, egressDeny: [{ toGroups: [{ aws: {} }] }] },
    "POLICY_UNSUPPORTED spec.egressDeny[0].toGroups[0]",
  ],
  ["a port that is a number", ingress(ports({ port: 80 })), "POLICY_TYPE spec.ingress[0].toPorts[0].ports[0].port"],
  ["no port", ingress(ports({ protocol: "TCP" })), "POLICY_MISSING spec.ingress[0].toPorts[0].ports[0].port"],
  ["a port too large", ingress(ports({ port: "65536" })), "POLICY_PORT_RANGE spec.ingress[0].toPorts[0].ports[0].port"],
  [
    "a port with a leading zero",
    ingress(ports({ port: "080" })),
    "POLICY_PORT_NAME spec.ingress[0].toPorts[0].ports[0].port",
  ],
  [
    "a range that ends before",
    ingress(ports({ port: "80", endPort: 79 })),
    "POLICY_PORT_RANGE spec.ingress[0].toPorts[0].ports[0].endPort",
  ],
  [
    "a range that ends nowhere",
    ingress(ports({ port: "80", endPort: 70000 })),
    "POLICY_PORT_RANGE spec.ingress[0].toPorts[0].ports[0].endPort",
  ],
  [
    "a range from a name",
    ingress(ports({ port: "http", endPort: 90 })),
    "POLICY_PORT_RANGE spec.ingress[0].toPorts[0].ports[0].endPort",
  ],
  [
    "a range from port 0",
    ingress(ports({ port: "0", endPort: 90 })),
    "POLICY_PORT_RANGE spec.ingress[0].toPorts[0].ports[0].endPort",
  ],
  [
    "a protocol in small letters",
    ingress(ports({ port: "80", protocol: "tcp" })),
    "POLICY_PROTOCOL spec.ingress[0].toPorts[0].ports[0].protocol",
  ],
  [
    "ICMP as a port",
    ingress(ports({ port: "8", protocol: "ICMP" })),
    "POLICY_PROTOCOL spec.ingress[0].toPorts[0].ports[0].protocol",
  ],
  ["too many ports", ingress(ports(...many)), "POLICY_TOO_MANY spec.ingress[0].toPorts[0].ports"],
  [
    "an unknown ICMP type",
    ingress({ icmps: [{ fields: [{ type: "EchoReqest" }] }] }),
    "POLICY_ICMP_TYPE spec.ingress[0].icmps[0].fields[0].type",
  ],
  [
    "a type of the other family",
    ingress({ icmps: [{ fields: [{ type: "PacketTooBig" }] }] }),
    "POLICY_ICMP_TYPE spec.ingress[0].icmps[0].fields[0].type",
  ],
  [
    "an ICMP type too large",
    ingress({ icmps: [{ fields: [{ type: 256 }] }] }),
    "POLICY_ICMP_TYPE spec.ingress[0].icmps[0].fields[0].type",
  ],
  [
    "an unknown family",
    ingress({ icmps: [{ fields: [{ type: 8, family: "IPv5" }] }] }),
    "POLICY_FAMILY spec.ingress[0].icmps[0].fields[0].family",
  ],
  [
    "two kinds of L7 rules",
    ingress({ toPorts: [{ ports: [tcp80], rules: { http, kafka: [{}] } }] }),
    "POLICY_COMBINED spec.ingress[0].toPorts[0].rules",
  ],
  [
    "HTTP over any protocol",
    ingress({ toPorts: [{ ports: [{ port: "80" }], rules: { http } }] }),
    "POLICY_L7_PROTOCOL spec.ingress[0].toPorts[0].rules.http",
  ],
  [
    "HTTP on every port",
    ingress({ toPorts: [{ ports: [{ port: "0", protocol: "TCP" }], rules: { http } }] }),
    "POLICY_L7_PORT spec.ingress[0].toPorts[0].rules.http",
  ],
  [
    "an HTTP field nobody knows",
    ingress({ toPorts: [{ ports: [tcp80], rules: { http: [{ verb: "GET" }] } }] }),
    "POLICY_UNKNOWN_FIELD spec.ingress[0].toPorts[0].rules.http[0].verb",
  ],
  [
    "a Kafka role with a key",
    ingress({ toPorts: [{ ports: [tcp80], rules: { kafka: [{ role: "produce", apiKey: "fetch" }] } }] }),
    "POLICY_COMBINED spec.ingress[0].toPorts[0].rules.kafka[0]",
  ],
  [
    "DNS rules at ingress",
    ingress({ toPorts: [{ ports: [{ port: "53" }], rules: { dns: [{ matchName: "a" }] } }] }),
    "POLICY_L7_DIRECTION spec.ingress[0].toPorts[0].rules.dns",
  ],
  [
    "DNS rules for a range",
    egress({ toPorts: [{ ports: [{ port: "53", endPort: 54 }], rules: { dns: [{ matchName: "a" }] } }] }),
    "POLICY_L7_PORT spec.egress[0].toPorts[0].rules.dns",
  ],
  [
    "DNS rules without ports",
    egress({ toPorts: [{ rules: { dns: [{ matchName: "a" }] } }] }),
    "POLICY_MISSING spec.egress[0].toPorts[0].rules.dns",
  ],
  [
    "l7 without its protocol",
    ingress({ toPorts: [{ ports: [tcp80], rules: { l7: [{ a: "b" }] } }] }),
    "POLICY_MISSING spec.ingress[0].toPorts[0].rules.l7",
  ],
  [
    "a listener at ingress",
    ingress({ toPorts: [{ ports: [tcp80], listener: { name: "x" } }] }),
    "POLICY_LISTENER spec.ingress[0].toPorts[0].listener",
  ],
  [
    "a name and a pattern",
    egress({ toFQDNs: [{ matchName: "a.b", matchPattern: "*" }] }),
    "POLICY_NAME spec.egress[0].toFQDNs[0]",
  ],
  [
    "a name with a star",
    egress({ toFQDNs: [{ matchName: "*.b" }] }),
    "POLICY_NAME spec.egress[0].toFQDNs[0].matchName",
  ],
  ["a service of no name", egress({ toServices: [{}] }), "POLICY_MISSING spec.egress[0].toServices[0]"],
  [
    "an unknown authentication",
    ingress({ fromEndpoints: [{}], authentication: { mode: "maybe" } }),
    "POLICY_AUTHENTICATION spec.ingress[0].authentication.mode",
  ],
  [
    "a reserved label of the policy",
    { ...subject, ingress: [{}], labels: [{ key: "a", source: "cilium-generated" }] },
    "POLICY_LABEL spec.labels[0].source",
  ],
  [
    "a text as a flag",
    { ...subject, ingress: [{}], enableDefaultDeny: { ingress: "no" } },
    "POLICY_TYPE spec.enableDefaultDeny.ingress",
  ],
];

for (const [what, spec, expected] of refused) {
  test(`${what} is refused, and nothing else is said`, (t) => {
    t.deepEqual(errors(spec), [expected]);
    t.deepEqual(read(spec).specs, [], "it does not apply at all");
  });
}

test("a policy without spec and specs is refused", (t) => {
  t.deepEqual(errors(undefined), ["POLICY_MISSING spec"]);
});

test("nodeSelector selects nodes, by the labels of Node objects, and no pod whatever its labels", (t) => {
  const policy = read(
    { nodeSelector: { matchLabels: { pool: "general" } }, ingress: [{}] },
    "CiliumClusterwideNetworkPolicy",
  );
  const [spec] = policy.specs;
  t.true(policy.valid);
  if (spec === undefined) return t.fail();
  t.true(isNodeSubject(spec.subject));
  t.true(selects(spec.subject, nodeSubjectLabels({ pool: "general", zone: "a" })));
  t.false(selects(spec.subject, nodeSubjectLabels({ pool: "special" })));
  t.false(selects(spec.subject, new Map([["pool", "general"]])));
  const everyNode = read({ nodeSelector: {}, ingress: [{}] }, "CiliumClusterwideNetworkPolicy").specs[0];
  t.true(everyNode !== undefined && selects(everyNode.subject, nodeSubjectLabels({})));
  t.false(everyNode === undefined || selects(everyNode.subject, new Map()));
});

test("every mistake of a policy is told at once, with object and remedy", (t) => {
  const spec = {
    ...subject,
    ingress: [{ fromEntities: ["wrld"] }, ports({ port: "99999" })],
    egress: [{ toCIDR: ["10.0.0.0/40"] }],
  };
  const { problems, valid } = read(spec);
  t.false(valid);
  t.deepEqual(
    problems.map(({ field }) => field),
    ["spec.ingress[0].fromEntities[0]", "spec.ingress[1].toPorts[0].ports[0].port", "spec.egress[0].toCIDR[0]"],
  );
  t.true(problems.every(({ object, remedy }) => object === "CiliumNetworkPolicy shop/p" && remedy !== ""));
  t.is(problems[0]?.remedy, "did you mean world?");
});

/** What is not enforced yet but opens nothing: a warning, and the rules that are left. */
const pending: readonly (readonly [string, object, readonly string[]])[] = [
  [
    "HTTP rules",
    ingress({ toPorts: [{ ports: [tcp80], rules: { http } }] }),
    ["POLICY_L7_PENDING spec.ingress[0].toPorts[0]"],
  ],
  [
    "server names",
    ingress({ toPorts: [{ ports: [tcp80], serverNames: ["a.b"] }] }),
    ["POLICY_L7_PENDING spec.ingress[0].toPorts[0]"],
  ],
  [
    "TLS termination",
    ingress({ toPorts: [{ ports: [tcp80], terminatingTLS: { secret: { name: "s" } } }] }),
    ["POLICY_L7_PENDING spec.ingress[0].toPorts[0]"],
  ],
  [
    "a listener",
    egress({ toPorts: [{ ports: [tcp80], listener: { name: "x" } }] }),
    ["POLICY_L7_PENDING spec.egress[0].toPorts[0]"],
  ],
  [
    "authentication",
    ingress({ fromEndpoints: [{}], authentication: { mode: "required" } }),
    ["POLICY_L7_PENDING spec.ingress[0].authentication"],
  ],
];

for (const [what, spec, expected] of pending) {
  test(`${what}: the traffic is redirected to a proxy, never allowed`, (t) => {
    t.deepEqual(warnings(spec), expected);
    const { valid, specs } = read(spec);
    t.true(valid);
    t.deepEqual(
      specs[0]?.rules.map(({ action }) => action),
      ["redirect"],
    );
    t.not(specs[0]?.rules[0]?.l7, "");
  });
}

test("names of DNS are told to be nobody as long as no proxy learns them", (t) => {
  const spec = egress({ toFQDNs: [{ matchName: "a.b" }, { matchPattern: "*.b" }] });
  t.true(read(spec).valid);
  t.deepEqual(warnings(spec), [
    "POLICY_NAMES_PENDING spec.egress[0].toFQDNs[0]",
    "POLICY_NAMES_PENDING spec.egress[0].toFQDNs[1]",
  ]);
});

test("peers that are an empty list are nobody, not everybody, also where ports are named", (t) => {
  for (const name of ["toFQDNs", "toGroups", "toNodes", "toServices", "toCIDRSet", "toCIDR", "toEntities"]) {
    const { valid, specs, problems } = read(egress({ [name]: [], ...ports(tcp80) }));
    t.true(valid, name);
    t.deepEqual(problems, [], name);
    t.deepEqual(specs[0]?.rules[0]?.peers, [], name);
    t.true(specs[0]?.isolates.egress);
  }
});

test("labels of nodes and of groups are named with and without a source", (t) => {
  const keys = (spec: unknown) =>
    read(spec).specs[0]?.rules[0]?.peers.map((peer) => {
      if (peer.kind === "nodes") return peer.selector.text;
      return peer.kind === "group" && peer.group.kind === "labels" ? peer.group.selector.text : peer.kind;
    });
  const labels = ["pool", "k8s:pool", "any:pool", "node:pool"].map((key) => ({ matchLabels: { [key]: "a" } }));
  t.deepEqual(keys(ingress({ fromNodes: labels })), Array(4).fill("In pool (a)"));
  const groups = labels.slice(0, 3).map((cidrGroupSelector) => ({ cidrGroupSelector }));
  t.deepEqual(keys(egress({ toCIDRSet: groups })), Array(3).fill("In pool (a)"));
});

test("L7 rules of an empty list are none: the ports are allowed as they are", (t) => {
  for (const rules of [{}, { http: [] }, { dns: null }]) {
    const spec = egress({ toPorts: [{ ports: [tcp80], rules }] });
    t.deepEqual(warnings(spec), []);
    t.deepEqual(
      read(spec).specs[0]?.rules.map(({ action, l7 }) => [action, l7]),
      [["allow", ""]],
    );
  }
});

test("the canonical text of L7 rules does not depend on the order of fields", (t) => {
  const l7 = (rule: object) =>
    read(ingress({ toPorts: [{ ports: [tcp80], rules: { http: [rule] } }] })).specs[0]?.rules[0]?.l7;
  t.is(l7({ method: "GET", path: "/" }), l7({ path: "/", method: "GET" }));
  t.not(l7({ method: "GET" }), l7({ method: "PUT" }));
});

test("ports: any protocol is three, 0 is every port, hexadecimal numbers and upper case names are read", (t) => {
  const read1 = (port: object) => read(ingress(ports(port))).specs[0]?.rules[0]?.ports;
  t.deepEqual(
    read1({ port: "80" }),
    [6, 17, 132].map((protocol) => ({ kind: "range" as const, protocol, first: 80, last: 80 })),
  );
  t.deepEqual(read1({ port: "0", protocol: "UDP" }), [{ kind: "range", protocol: 17, first: 0, last: 65535 }]);
  t.deepEqual(read1({ port: "0x50", protocol: "TCP" }), [{ kind: "range", protocol: 6, first: 80, last: 80 }]);
  t.deepEqual(read1({ port: "HTTP", protocol: "TCP" }), [{ kind: "named", protocol: 6, name: "http" }]);
  t.deepEqual(read1({ port: "80", endPort: 90, protocol: "TCP" }), [
    { kind: "range", protocol: 6, first: 80, last: 90 },
  ]);
});

test("ICMP types by number, by text and by name, in both families", (t) => {
  const fields = [{ type: 8 }, { type: "13" }, { type: "EchoRequest", family: "IPv6" }];
  t.deepEqual(read(ingress({ icmps: [{ fields }] })).specs[0]?.rules[0]?.ports, [
    { kind: "range", protocol: 1, first: 0x800, last: 0x8ff },
    { kind: "range", protocol: 1, first: 0xd00, last: 0xdff },
    { kind: "range", protocol: 58, first: 0x8000, last: 0x80ff },
  ]);
});

test("an address without a length is a block of one, and host bits are cleared", (t) => {
  const peers = read(ingress({ fromCIDR: ["10.1.2.3", "10.1.2.3/24", "fd00::1"] })).specs[0]?.rules[0]?.peers;
  t.deepEqual(
    peers?.map((peer) => (peer.kind === "block" ? `${peer.block.prefix.text} ${peer.block.outsideOnly}` : "")),
    ["10.1.2.3/32 true", "10.1.2.0/24 true", "fd00::1/128 true"],
  );
});

test("a reserved label of a peer is the entity, and what can have no effect is told", (t) => {
  const peers = (labels: object) =>
    read(ingress({ fromEndpoints: [{ matchLabels: labels }] })).specs[0]?.rules[0]?.peers;
  t.deepEqual(peers({ "reserved:host": "" }), [{ kind: "entity", entity: "host" }]);
  t.deepEqual(peers({ "reserved:all": "" }), [{ kind: "entity", entity: "all" }]);
  t.deepEqual(peers({ "reserved:host": "x" }), [{ kind: "entity", entity: "none" }]);
  t.deepEqual(warnings(ingress({ fromEndpoints: [{ matchLabels: { "container:a": "b" } }] })), [
    "POLICY_LABEL_SOURCE spec.ingress[0].fromEndpoints[0]",
  ]);
  t.deepEqual(warnings({ endpointSelector: { matchLabels: { "reserved:init": "" } }, ingress: [{}] }), [
    "POLICY_RESERVED_SUBJECT spec.endpointSelector",
  ]);
  t.deepEqual(warnings(ingress({ toPorts: [{ ports: [] }] })), ["POLICY_NO_EFFECT spec.ingress[0].toPorts[0].ports"]);
  t.deepEqual(warnings({ ...subject, ingress: [{}], enableDefaultDeny: { egress: true } }), [
    "POLICY_NO_EFFECT spec.enableDefaultDeny.egress",
  ]);
  t.deepEqual(warnings(subject), ["POLICY_NO_EFFECT spec"]);
});

test("the subject of a policy never leaves its namespace, and a foreign one is told", (t) => {
  const spec = {
    endpointSelector: { matchLabels: { "k8s:io.kubernetes.pod.namespace": "bank", app: "a" } },
    ingress: [{}],
  };
  t.is(read(spec).specs[0]?.subject.text, "In app (a),In io.kubernetes.pod.namespace (shop)");
  t.deepEqual(warnings(spec), ["POLICY_NAMESPACE spec.endpointSelector.matchLabels.k8s:io.kubernetes.pod.namespace"]);
});

test("data that refers to itself is a problem of that policy, no exception", (t) => {
  const loop: unknown[] = [];
  loop.push(loop);
  const { valid, problems } = read(ingress({ fromEntities: loop }));
  t.false(valid);
  t.is(problems[0]?.code, "POLICY_UNREADABLE");
});
