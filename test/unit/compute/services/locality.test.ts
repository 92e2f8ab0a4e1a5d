/** Which of a service's backends clients of this node get: of their own node, of their zone, or of the whole cluster. */
import test from "ava";
import { computeFrontends, createFrontends } from "../../../../src/compute/services/index.ts";
import type { EndpointSliceRow, ServiceRow } from "../../../../src/model/tables.ts";
import { address, endpoint, lines, node, pod, service, slice, tables } from "./support.ts";

type Endpoint = EndpointSliceRow["endpoints"][number];

const options = { nodeName: "node-1" };
const nodes = [node("node-1", ["172.18.0.1"], { "topology.kubernetes.io/zone": "a" }), node("node-2", ["172.18.0.2"])];
const local: Partial<ServiceRow> = { internalTrafficPolicy: "Local" };
const zones = (...names: readonly string[]): Partial<Endpoint> => ({ hints: { zones: names, nodes: [] } });
const forNodes = (...names: readonly string[]): Partial<Endpoint> => ({ hints: { zones: ["a"], nodes: names } });
const ending: Partial<Endpoint> = { ready: false, terminating: true };

/** Last parts of the addresses that answer at the first frontend. */
function chosen(endpoints: readonly Endpoint[], fields: Partial<ServiceRow> = {}): string {
  const rows = tables({ services: [service("web", fields)], nodes, endpointSlices: [slice("s", endpoints)] });
  return (
    computeFrontends(rows, options)
      .frontends[0]?.backends.map((one) => one.address.bytes[3])
      .join(" ") ?? ""
  );
}

const here = { node: "node-1" };
const there = { node: "node-2" };

test("internalTrafficPolicy Local: of this node alone, those that end where none is ready, and nobody rather than others", (t) => {
  const [one, two, three] = [endpoint("10.1.0.1", here), endpoint("10.1.0.2", there), endpoint("10.1.0.3")];
  t.is(chosen([one, two, three]), "1 2 3");
  t.is(chosen([one, two, three], local), "1");
  t.is(chosen([two, three], local), "");
  t.is(chosen([endpoint("10.1.0.1", { ...here, ...ending }), two], local), "1");
  t.is(chosen([endpoint("10.1.0.1", { ...here, ...ending }), endpoint("10.1.0.4", here)], local), "4");
});

test("internalTrafficPolicy is of cluster addresses: by an outside one all backends are reached", (t) => {
  const rows = tables({
    services: [service("web", { ...local, externalIps: [address("192.0.2.1")] })],
    nodes,
    endpointSlices: [slice("s", [endpoint("10.1.0.1", here), endpoint("10.1.0.2", there)])],
  });
  t.deepEqual(lines(computeFrontends(rows, options)), [
    "10.96.0.1 80/6 -> 10.1.0.1:8080",
    "192.0.2.1 80/6 -> 10.1.0.1:8080 10.1.0.2:8080",
  ]);
});

test("internalTrafficPolicy Local without slices: the selected pods of this node", (t) => {
  const pods = [pod("a", ["10.1.0.1"]), pod("b", ["10.1.0.2"], { node: "node-2" })];
  const rows = tables({ services: [service("web", local)], nodes, pods });
  t.deepEqual(lines(computeFrontends(rows, options)), ["10.96.0.1 80/6 -> 10.1.0.1:8080"]);
});

test("hints of zones are followed if all have them, one is for this zone, and the zone is known", (t) => {
  const [a, b, ab] = [
    endpoint("10.1.0.1", zones("a")),
    endpoint("10.1.0.2", zones("b")),
    endpoint("10.1.0.3", zones("a", "b")),
  ];
  t.is(chosen([a, b, ab]), "1 3");
  t.is(chosen([a, b, endpoint("10.1.0.4")]), "1 2 4", "one has none");
  t.is(chosen([b, endpoint("10.1.0.5", zones("c"))]), "2 5", "none is for here");
  t.is(chosen([a, b, endpoint("10.1.0.4", { ready: false, serving: false })]), "1", "what is not ready need have none");
  t.is(
    chosen([endpoint("10.1.0.1", { ...zones("a"), ...ending }), b]),
    "2",
    "ready in another zone before ending in this one",
  );
  const rows = tables({ services: [service("web")], nodes, endpointSlices: [slice("s", [a, b])] });
  t.deepEqual(lines(computeFrontends(rows, { nodeName: "node-2" })), ["10.96.0.1 80/6 -> 10.1.0.1:8080 10.1.0.2:8080"]);
});

test("hints of nodes come before those of zones, and zones where none is for this node", (t) => {
  const [one, two] = [endpoint("10.1.0.1", forNodes("node-1")), endpoint("10.1.0.2", forNodes("node-2"))];
  t.is(chosen([one, two]), "1");
  t.is(chosen([two, endpoint("10.1.0.3", forNodes("node-3"))]), "2 3", "the zone of both");
  t.is(chosen([two, endpoint("10.1.0.4", zones("b"))]), "2", "not all name nodes, so that zones decide");
});

test("whoever serves and is not chosen is told, so that what was begun with it may go on", (t) => {
  const [a, b] = [endpoint("10.1.0.1", zones("a")), endpoint("10.1.0.2", zones("b"))];
  const gone = endpoint("10.1.0.3", { ...zones("a"), ready: false, serving: false });
  const rows = tables({ services: [service("web")], nodes, endpointSlices: [slice("s", [a, b, gone])] });
  const [frontend] = computeFrontends(rows, options).frontends;
  t.deepEqual(
    frontend?.others?.map(({ address: { text } }) => text),
    ["10.1.0.2"],
  );
});

test("Local does not look at hints", (t) => {
  t.is(
    chosen(
      [endpoint("10.1.0.1", { ...here, ...zones("b") }), endpoint("10.1.0.2", { ...there, ...zones("a") })],
      local,
    ),
    "1",
  );
});

test("when the node moves to another zone its services follow", (t) => {
  const endpointSlices = [slice("s", [endpoint("10.1.0.1", zones("a")), endpoint("10.1.0.2", zones("b"))])];
  const services = [service("web")];
  const compute = createFrontends();
  const zone = (name: string) => [node("node-1", [], { "topology.kubernetes.io/zone": name })];
  const first = tables({ services, endpointSlices, nodes: zone("a") });
  t.deepEqual(lines(compute(first, options)), ["10.96.0.1 80/6 -> 10.1.0.1:8080"]);
  const second = { ...first, nodes: new Map(zone("b").map((row) => [row.name, row])) };
  t.deepEqual(lines(compute(second, options)), ["10.96.0.1 80/6 -> 10.1.0.2:8080"]);
});
