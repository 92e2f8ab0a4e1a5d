/** Whether a node has its place in the network. */
import test from "ava";
import { parseAddress, parsePrefix, type Prefix } from "../../../src/model/ip.ts";
import { TableStore } from "../../../src/model/store.ts";
import { type NetworkExpectation, networkState } from "../../../src/observe/network-readiness.ts";
import type { BgpKnowledge } from "../../../src/observe/route-reasons.ts";

const prefix = (text: string): Prefix =>
  parsePrefix(text) ??
  (() => {
    throw new Error(text);
  })();
const address = (text: string) =>
  parseAddress(text) ??
  (() => {
    throw new Error(text);
  })();

function cluster(nodes: number, families: readonly (4 | 6)[] = [4]): TableStore {
  const store = new TableStore();
  for (let at = 1; at <= nodes; at++) {
    store.upsert("nodes", `n${at}`, {
      name: `n${at}`,
      labels: {},
      addresses: [address(`192.0.2.${at}`)],
      podCidrs: families.map((family) => prefix(family === 4 ? `10.64.${at}.0/24` : `fd00:64:${at}::/64`)),
    });
  }
  return store;
}

function route(store: TableStore, text: string): void {
  store.upsert("routes", text, {
    destination: prefix(text),
    protocol: 17,
    metric: 0,
    since: 0,
    mtu: null,
    nextHops: [{ gateway: address("192.0.2.9"), device: "eth0", ifindex: 2, weight: 1 }],
  } as never);
}

function peer(store: TableStore, text: string, state: string): void {
  store.upsert("bgpPeers", text, { address: address(text), state, adminDown: false, since: null } as never);
}

function look(store: TableStore, bgp: BgpKnowledge["state"] = "synced", over: Partial<NetworkExpectation> = {}) {
  const families = new Set<4 | 6>([4]);
  return networkState(store.snapshot(), { nodeName: "n1", families, share: 100, ...over }, bgp);
}

test("all that is expected is there: complete, and nothing is said", (t) => {
  const store = cluster(3);
  peer(store, "192.0.2.2", "ESTABLISHED");
  peer(store, "192.0.2.3", "ACTIVE");
  for (const text of ["10.64.2.0/24", "10.64.3.0/24"]) route(store, text);
  t.deepEqual(look(store), { complete: true, expected: 2, present: 2, lack: "", text: "" });
});

test("a route that is missing is named, with how many there are; the lack itself has no number", (t) => {
  const store = cluster(3);
  peer(store, "192.0.2.2", "ESTABLISHED");
  route(store, "10.64.2.0/24");
  t.deepEqual(look(store), {
    complete: false,
    expected: 2,
    present: 1,
    lack: "routes to pods of other nodes are missing",
    text: "1 of 2 routes to pods of other nodes are there, without 10.64.3.0/24 (n3)",
  });
  t.is(look(cluster(1)).complete, true, "the only node");
  const many = cluster(9);
  peer(many, "192.0.2.2", "ESTABLISHED");
  t.true(look(many).text.endsWith("10.64.4.0/24 (n4) and 5 more"));
});

test("a share of the routes is enough, rounded up: of few all, and none with 0", (t) => {
  const store = cluster(11);
  peer(store, "192.0.2.2", "ESTABLISHED");
  for (let at = 2; at <= 9; at++) route(store, `10.64.${at}.0/24`);
  t.false(look(store, "synced", { share: 90 }).complete, "8 of 10");
  route(store, "10.64.10.0/24");
  t.true(look(store, "synced", { share: 90 }).complete, "9 of 10");
  const small = cluster(3);
  peer(small, "192.0.2.2", "ESTABLISHED");
  route(small, "10.64.2.0/24");
  t.false(look(small, "synced", { share: 90 }).complete, "1 of 2");
  t.true(look(small, "synced", { share: 0 }).complete);
});

test("a session has to stand: routes that kube-router left in the kernel are not enough", (t) => {
  const store = cluster(2);
  route(store, "10.64.2.0/24");
  for (const bgp of ["waiting", "stale"] as const)
    t.is(look(store, bgp).lack, "kube-router's BGP daemon does not answer", bgp);
  t.is(look(store).lack, "kube-router has no BGP peers");
  peer(store, "192.0.2.2", "OPENCONFIRM");
  t.is(look(store).lack, "no BGP session stands");
  t.is(look(store, "synced", { share: 0 }).lack, "no BGP session stands");
  peer(store, "192.0.2.2", "ESTABLISHED");
  t.true(look(store).complete);
});

test("without BGP the routes alone count, and the first node of a cluster waits for nobody", (t) => {
  const store = cluster(2);
  t.is(look(store, "off").lack, "routes to pods of other nodes are missing");
  route(store, "10.64.2.0/24");
  t.true(look(store, "off").complete);
  t.true(look(cluster(1)).complete, "no peers, and nobody to have a session with");
});

test("nodes that are silent, and families that pods do not have here, are not waited for", (t) => {
  const store = cluster(3, [4, 6]);
  peer(store, "192.0.2.2", "ESTABLISHED");
  route(store, "10.64.2.0/24");
  const silent = store.table("nodes").get("n3");
  if (silent === undefined) throw new Error("no n3");
  store.upsert("nodes", "n3", { ...silent, taints: ["node.kubernetes.io/unreachable"] });
  t.deepEqual([look(store).expected, look(store).complete], [1, true]);
  t.false(look(store, "synced", { families: new Set([4, 6]) }).complete);
});
