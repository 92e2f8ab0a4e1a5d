import test from "ava";
import { type Peer, peersOfNode, peersOfRouter } from "../../../src/lab/bgp-peers.ts";
import { planLab, topologies } from "../../../src/lab/plan.ts";

const plans = topologies.map((topology) =>
  planLab({ name: "demo", index: 2, nodes: 3, externals: [], topology }, "/c"),
);

test("both ends of every session agree on addresses, AS numbers and families", (t) => {
  for (const plan of plans) {
    const ends: { readonly as: number; readonly peer: Peer }[] = [];
    for (const node of plan.nodes) for (const peer of peersOfNode(plan, node)) ends.push({ as: node.as, peer });
    for (const router of plan.routers) {
      const peers = peersOfRouter(plan, router);
      const as = plan.topology === "reflectors" ? 64512 : 65000;
      for (const peer of peers) ends.push({ as, peer });
    }
    t.true(ends.length > 0);
    for (const { as, peer } of ends) {
      const other = ends.filter(
        (end) => end.peer.address === peer.localAddress && end.peer.localAddress === peer.address,
      );
      t.is(other.length, 1, `${plan.topology}: ${peer.localAddress} - ${peer.address}`);
      t.is(other[0]?.peer.as, as);
      t.is(other[0]?.as, peer.as);
      t.deepEqual(other[0]?.peer.families, peer.families);
    }
  }
});

test("names of peers are unique in each configuration, and no two hosts of a lab share an address", (t) => {
  for (const plan of plans) {
    for (const peers of [
      ...plan.nodes.map((node) => peersOfNode(plan, node)),
      ...plan.routers.map((router) => peersOfRouter(plan, router)),
    ])
      t.is(new Set(peers.map(({ name }) => name)).size, peers.length);
    const hosts = [...plan.nodes.flatMap(({ uplinks }) => uplinks), ...plan.routers, plan.api];
    t.is(new Set(hosts.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])).size, 2 * hosts.length, plan.topology);
  }
});

test("only reflectors have clients, and clients peer with reflectors alone", (t) => {
  for (const plan of plans) {
    const clients = plan.nodes.flatMap((node) => peersOfNode(plan, node)).filter(({ client }) => client);
    t.is(clients.length, plan.topology === "reflectors" ? 2 : 0);
    if (plan.topology !== "reflectors") continue;
    const [, second] = plan.nodes;
    t.deepEqual(second && peersOfNode(plan, second).map(({ address }) => address), [
      plan.nodes[0]?.ipv4,
      plan.tor.ipv4,
    ]);
  }
});
