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
    "a header whose value is in a Secret",
    ingress({
      toPorts: [{ ports: [tcp80], rules: { http: [{ headerMatches: [{ name: "X-Key", secret: { name: "s" } }] }] } }],
    }),
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

test("patterns of names are told to be known only as far as somebody writes the names whole", (t) => {
  const spec = egress({ toFQDNs: [{ matchName: "a.b" }, { matchPattern: "*.b" }, { matchPattern: "c.b" }] });
  t.true(read(spec).valid);
  t.deepEqual(warnings(spec), ["POLICY_NAMES_PENDING spec.egress[0].toFQDNs[1]"]);
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
