/** What annotations and source ranges of a Service say, and what is told of those that say nothing. */
import test from "ava";
import { readObjects } from "../../../../src/sources/files/read-objects.ts";

const legacy = "service.beta.kubernetes.io/load-balancer-source-ranges";
const policy = "service.cilium.io/src-ranges-policy";

interface Said {
  /** "policy prefixes"; null: all clients. */
  readonly ranges: string | null;
  readonly exposed: readonly string[] | undefined;
  readonly nodes: string | undefined;
  readonly forwarding: string | undefined;
  readonly selection: string | undefined;
  /** "field: message; remedy" */
  readonly told: readonly string[];
}

function read(annotations: object, spec: object = {}): Said {
  const value = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s", annotations },
    spec: { type: "LoadBalancer", clusterIP: "10.96.0.1", ...spec },
  };
  const { rows, problems } = readObjects([{ value, file: "s.yaml", line: 1 }]);
  const row = rows.services.get("default/s");
  const ranges = row?.sourceRanges ?? null;
  return {
    ranges: ranges === null ? null : [ranges.policy, ...ranges.prefixes.map(({ text }) => text)].join(" "),
    exposed: row?.exposed,
    nodes: row?.nodes?.text,
    forwarding: row?.forwarding,
    selection: row?.selection,
    told: problems.map(({ severity, field, message, remedy }) => {
      return `${severity} ${field}: ${message.replace(" (s.yaml line 1)", "")}; ${remedy}`;
    }),
  };
}

test("source ranges come from the field or, where it is empty, from the annotation", (t) => {
  t.is(read({}).ranges, null);
  t.is(read({}, { loadBalancerSourceRanges: [] }).ranges, null);
  t.is(read({ [legacy]: "" }).ranges, null);
  t.is(read({}, { loadBalancerSourceRanges: ["10.1.0.0/16", " fd00::/8 "] }).ranges, "allow 10.1.0.0/16 fd00::/8");
  t.is(read({ [legacy]: "10.0.0.0/8, 192.0.2.7/32" }).ranges, "allow 10.0.0.0/8 192.0.2.7/32");
  t.is(read({ [legacy]: "10.0.0.0/8" }, { loadBalancerSourceRanges: ["192.0.2.0/24"] }).ranges, "allow 192.0.2.0/24");
  t.is(read({ [policy]: "deny" }, { loadBalancerSourceRanges: ["192.0.2.0/24"] }).ranges, "deny 192.0.2.0/24");
  t.is(read({ [policy]: "deny" }).ranges, null, "it leaves out nobody");
});

test("what cannot be read lets nobody in", (t) => {
  const mixed = read({}, { loadBalancerSourceRanges: ["10.0.0.1", "192.0.2.0/24"] });
  t.is(mixed.ranges, "allow 192.0.2.0/24");
  t.deepEqual(mixed.told, [
    'warning spec.loadBalancerSourceRanges[0]: "10.0.0.1" is not a CIDR: it lets nobody in; write address/length, as 192.0.2.0/24 or 2001:db8::/32',
  ]);
  t.is(read({}, { loadBalancerSourceRanges: ["10.0.0.0/33"] }).ranges, "allow");
  t.is(read({}, { loadBalancerSourceRanges: "10.0.0.0/8" }).ranges, "allow 10.0.0.0/8", "one that is no list");
  t.is(read({}, { loadBalancerSourceRanges: 10 }).ranges, "allow");
  t.is(read({ [legacy]: "10.0.0.0/8;fd00::/8" }).ranges, "allow");
  const denied = read({ [policy]: "deny" }, { loadBalancerSourceRanges: ["10.0.0.1", "192.0.2.0/24"] });
  t.is(denied.ranges, "allow", "who cannot be told from the others keeps all out");
  const typo = read({ [policy]: "dney" }, { loadBalancerSourceRanges: ["192.0.2.0/24"] });
  t.is(typo.ranges, "allow");
  t.regex(typo.told[0] ?? "", /"dney" is neither allow nor deny.*did you mean deny\?/);
});

test("kinds of address that a service is to have", (t) => {
  t.is(read({}).exposed, undefined);
  t.deepEqual(read({ "service.cilium.io/type": "LoadBalancer" }).exposed, ["LoadBalancer"]);
  t.deepEqual(read({ "service.cilium.io/type": "NodePort, ClusterIP" }).exposed, ["ClusterIP", "NodePort"]);
  const typo = read({ "service.cilium.io/type": "Loadbalancer" });
  t.deepEqual(typo.exposed, []);
  t.regex(typo.told[0] ?? "", /"Loadbalancer" is no kind of address of a service; did you mean LoadBalancer\?/);
});

test("the nodes that are to serve it", (t) => {
  const [own, selector] = ["service.cilium.io/node", "service.cilium.io/node-selector"];
  const select = (text: string) => read({ [selector]: text });
  t.is(read({}).nodes, undefined);
  t.is(select("").nodes, undefined);
  t.is(read({ [own]: "beefy" }).nodes, "In service.cilium.io/node (beefy)");
  t.is(read({ [own]: "beefy", [selector]: "tier=front" }).nodes, "In tier (front)", "the selector comes first");
  t.is(select("tier = front,zone==a").nodes, "In tier (front),In zone (a)");
  t.is(select("tier!=front").nodes, "NotIn tier (front)");
  t.is(
    select("example.com/tier in ( front , edge ), zone notin (a)").nodes,
    "In example.com/tier (edge|front),NotIn zone (a)",
  );
  t.is(select("tier, !zone").nodes, "DoesNotExist zone,Exists tier");
  t.is(select("tier=").nodes, "In tier ()", "the empty value");
  for (const wrong of [
    "tier in front",
    "tier=a b",
    "tier in (a",
    "=a",
    "tier,,zone",
    "cores > 4",
    "tier in (a),b in (c",
  ]) {
    const { nodes, told } = select(wrong);
    t.is(nodes, undefined, wrong);
    t.regex(told[0] ?? "", /is no selector of labels: the service is served on every node; write key=value/);
  }
  t.regex(read({ [own]: "a b" }).told[0] ?? "", /"a b" is no value of a label: .* write the value of the nodes' label/);
});

test("who is to answer clients outside", (t) => {
  const name = "service.cilium.io/forwarding-mode";
  t.is(read({}).forwarding, undefined);
  for (const mode of ["dsr", "snat"] as const) t.is(read({ [name]: mode }).forwarding, mode);
  const typo = read({ [name]: "DSR" });
  t.is(typo.forwarding, undefined);
  t.regex(typo.told[0] ?? "", /"DSR" is no way to forward: the service goes by the node's settings; write snat or dsr/);
});

test("what is to choose a backend", (t) => {
  const name = "service.cilium.io/lb-algorithm";
  t.is(read({}).selection, undefined);
  for (const way of ["random", "maglev"] as const) t.is(read({ [name]: way }).selection, way);
  const typo = read({ [name]: "Maglev" });
  t.is(typo.selection, undefined);
  t.regex(typo.told[0] ?? "", /"Maglev" is no way to choose a backend: .* node's settings; write random or maglev/);
});

test("what a slice's endpoints count", (t) => {
  const weigh = (annotations: object) => {
    const value = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "s", labels: { "kubernetes.io/service-name": "web" }, annotations },
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.1.0.1"] }],
      ports: [{ port: 80 }],
    };
    const { rows, problems } = readObjects([{ value, file: "s.yaml", line: 1 }]);
    const [row] = rows.endpointSlices.values();
    return [row?.weight, ...problems.map(({ code, message }) => `${code} ${message}`)];
  };
  const name = "service.cilium.io/weight";
  t.deepEqual(weigh({}), [undefined]);
  t.deepEqual(weigh({ [name]: "0" }), [0]);
  t.deepEqual(weigh({ [name]: "65535" }), [65_535]);
  for (const wrong of ["65536", "-1", "1.5", "many"]) {
    const [weight, told] = weigh({ [name]: wrong });
    t.is(weight, undefined);
    t.regex(String(told), new RegExp(`^SLICE_WEIGHT "${wrong}" is no weight`));
  }
  t.regex(read({ [name]: "3" }).told[0] ?? "", /weight has no effect: it is for EndpointSlices; remove it/);
});

test("an annotation of Cilium that means nothing here is told by its name", (t) => {
  t.deepEqual(read({ "service.cilium.io/global": "true" }).told, [
    "warning metadata.annotations.service.cilium.io/global: service.cilium.io/global has no effect: services of several clusters are not joined here: it is one of this cluster alone; remove it",
  ]);
  const delegated = { "service.cilium.io/proxy-delegation": "delegate-if-local" };
  t.regex(
    read(delegated).told.join(),
    /^warning .*proxy-delegation has no effect: no other proxy is asked; remove it$/,
  );
  t.regex(read({ "service.cilium.io/tpye": "NodePort" }).told[0] ?? "", /did you mean service\.cilium\.io\/type\?/);
  t.deepEqual(read({ "example.com/owner": "shop", [policy]: "allow" }).told, []);
});
