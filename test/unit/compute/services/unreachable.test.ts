/** By setting, backends on nodes that do not answer leave services here: never the last ones, and not where this node is the one that is cut off. */
import test from "ava";
import fc from "fast-check";
import { explainEndpoints, endpointsOf } from "../../../../src/compute/services/explain.ts";
import { computeFrontends, createFrontends } from "../../../../src/compute/services/index.ts";
import { unreachableNodes } from "../../../../src/compute/services/unreachable.ts";
import type { NodeHealthRow } from "../../../../src/model/node-health.ts";
import { address, endpoint, node, pod, service, servicePort, slice, tables } from "./support.ts";

const nodes = ["node-1", "node-2", "node-3"].map((name, at) => node(name, [`172.18.0.${at + 1}`]));
const [one, two, three] = [
  endpoint("10.1.0.1", { node: "node-1" }),
  endpoint("10.1.0.2", { node: "node-2" }),
  endpoint("10.1.0.3", { node: "node-3" }),
];
const ending = { ready: false, terminating: true };

function chosen(endpoints: readonly ReturnType<typeof endpoint>[], unreachable: readonly string[]): string {
  const rows = tables({
    services: [service("web", { externalIps: [address("192.0.2.1")] })],
    nodes,
    endpointSlices: [slice("s", endpoints)],
  });
  const { frontends } = computeFrontends(rows, { nodeName: "node-1", unreachable });
  const text = (list: readonly { readonly address: { readonly bytes: Uint8Array } }[] = []) =>
    list.map((each) => each.address.bytes[3]).join(" ");
  const outside = frontends.find(({ external }) => external)?.outside;
  return `${text(frontends[0]?.backends)}|${text(frontends[0]?.others)}|${text(outside)}`;
}

test("a backend on a node that is lost leaves for all clients, in its family, and comes back", (t) => {
  t.is(chosen([one, two, three], []), "1 2 3||1 2 3");
  t.is(chosen([one, two, three], ["node-2 4"]), "1 3||1 3");
  t.is(chosen([one, two, three], ["node-2 6"]), "1 2 3||1 2 3");
  t.is(chosen([one, two, three], ["node-2 4", "node-3 4"]), "1||1");
});

test("the last ones stay: nobody that is ready must be left elsewhere for it", (t) => {
  t.is(chosen([two], ["node-2 4"]), "2||2");
  t.is(chosen([two, three], ["node-2 4", "node-3 4"]), "2 3||2 3");
  t.is(chosen([endpoint("10.1.0.1", { node: "node-1", ...ending }), two], ["node-2 4"]), "2|1|2");
  t.is(chosen([two, endpoint("10.1.0.4")], ["node-2 4"]), "4||4", "of no node that is known");
});

test("a service never has fewer than none because of probes, and all of its backends where nothing is lost", (t) => {
  const names = ["node-1", "node-2", "node-3"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...names), { maxLength: 6 }), fc.subarray(names), (places, lost) => {
      const endpoints = places.map((name, at) => endpoint(`10.1.0.${at + 1}`, { node: name }));
      const kept =
        chosen(
          endpoints,
          lost.map((name) => `${name} 4`),
        )
          .split("|")[0]
          ?.split(" ")
          .filter(Boolean) ?? [];
      const reachable = places.filter((name) => !lost.includes(name)).length;
      t.is(kept.length, reachable === 0 ? places.length : reachable);
    }),
  );
});

test("what changes step by step is what comes out from nothing", (t) => {
  const compute = createFrontends();
  const rows = tables({
    services: [service("web")],
    nodes,
    pods: [pod("a", ["10.1.0.1"]), pod("b", ["10.1.0.2"], { node: "node-2" })],
  });
  for (const unreachable of [[], ["node-2 4"], ["node-1 4", "node-2 4"], ["node-2 4"], []]) {
    const options = { nodeName: "node-1", unreachable };
    t.deepEqual(compute(rows, options), computeFrontends(rows, options));
  }
});

test("service trace says why it gets nothing", (t) => {
  const rows = tables({ services: [service("web")], nodes, endpointSlices: [slice("s", [one, two])] });
  const endpoints = endpointsOf(rows, service("web"), servicePort(), 4);
  const here = { node: "node-1", zone: null, unreachable: ["node-2 4"] };
  t.deepEqual(
    explainEndpoints(rows, endpoints, [{ address: address("10.1.0.1"), port: 8080 }], here, false).map(
      ({ leftOut }) => leftOut,
    ),
    [null, "node-2 does not answer this node, and others are left"],
  );
});

test("more than half of the nodes lost: it is rather this one that is, and nobody is left out", (t) => {
  const health = (...lost: readonly (readonly (4 | 6)[])[]) =>
    new Map(
      lost.map((podsLost, at): [string, NodeHealthRow] => [
        `n${at}`,
        { node: `n${at}`, state: "partly", since: 0, silent: [], agent: true, podsLost, mtu: [] },
      ]),
    );
  t.deepEqual(unreachableNodes(health([4], [], [])), ["n0 4"]);
  t.deepEqual(unreachableNodes(health([4], [4], [])), []);
  t.deepEqual(unreachableNodes(health([4, 6], [6], [], [6])), ["n0 4"]);
  t.deepEqual(unreachableNodes(health([4], [4], [], [])), ["n0 4", "n1 4"]);
  t.deepEqual(unreachableNodes(health([4])), ["n0 4"], "of one other node nobody can tell");
});
