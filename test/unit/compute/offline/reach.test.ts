import test from "ava";
import { outsideParts } from "../../../../src/compute/offline/outside.ts";
import { amountOf, compareReach, type Reach, reachText } from "../../../../src/compute/offline/reach.ts";
import { flowText, portsText } from "../../../../src/compute/offline/text.ts";
import { groupsOf, lowest, vectorsOf } from "../../../../src/compute/offline/vectors.ts";
import { workloadName } from "../../../../src/compute/offline/workload-names.ts";
import type { CompiledDirection } from "../../../../src/compute/desired.ts";
import type { PodRow } from "../../../../src/model/tables.ts";
import { clusterOf } from "./support.ts";

const direction = (ports: CompiledDirection["ports"]): CompiledDirection => ({
  enforced: true,
  denies: 1,
  allows: 2,
  redirects: 1,
  outsideOnly: [],
  peers: new Map([[0, [0, 1, 2, 3]]]),
  prefixes: [],
  ports,
  origins: [["a"], ["b"], ["c"], ["d"]],
});

test("port prefixes become pieces: the longest prefix has the say, gaps have that of every protocol", (t) => {
  const vectors = vectorsOf(
    direction([
      { protocol: 0, port: 0, bits: 0, groups: [3] },
      { protocol: 6, port: 0, bits: 8, groups: [2, 3] },
      { protocol: 6, port: 80, bits: 23, groups: [1, 2, 3] },
      { protocol: 6, port: 80, bits: 24, groups: [0, 1, 2, 3] },
      { protocol: 17, port: 53, bits: 24, groups: [1, 3] },
    ]),
  );
  const pieces = (protocol: number) =>
    vectors.segments(protocol).map(({ first, last, vector }) => [first, last, groupsOf(vector).join()]);
  t.deepEqual(pieces(6), [
    [0, 79, "2,3"],
    [80, 80, "0,1,2,3"],
    [81, 81, "1,2,3"],
    [82, 65_535, "2,3"],
  ]);
  t.deepEqual(pieces(17), [
    [0, 52, "3"],
    [53, 53, "1,3"],
    [54, 65_535, "3"],
  ]);
  t.deepEqual(pieces(47), [[0, 65_535, "3"]]);
  t.is(vectors.verdictOf(vectors.where(6, 80)), "deny");
  t.is(vectors.verdictOf(vectors.where(6, 81)), "allow");
  t.is(vectors.verdictOf(vectors.where(17, 54)), "redirect");
  t.is(vectors.verdictOf(0n), "deny");
  t.is(lowest(0n), null);
  t.is(lowest(1n << 511n), 511);
});

const all = (
  verdict: "allow" | "deny",
  except: { protocol: number; first: number; last: number } | null = null,
): Reach =>
  [6, 17, 132, 1, 255].flatMap((protocol): Reach => {
    if (except === null || except.protocol !== protocol) return [{ protocol, first: 0, last: 65_535, verdict }];
    const other = verdict === "allow" ? "deny" : "allow";
    return [
      { protocol, first: 0, last: except.first - 1, verdict },
      { ...except, verdict: other },
      { protocol, first: except.last + 1, last: 65_535, verdict },
    ];
  });

test("what differs between two answers is told in the shorter way", (t) => {
  const one = { protocol: 6, first: 5432, last: 5432 };
  const closes = compareReach(all("allow"), all("deny", one));
  t.is(reachText(closes.closes, 4), "everything but TCP 5432");
  t.deepEqual([closes.opens, closes.narrows, closes.widens], [[], [], []]);
  t.is(reachText(compareReach(all("deny"), all("deny", one)).opens, 4), "TCP 5432");
  t.is(reachText(compareReach(null, all("allow")).opens, 4), "everything");
  t.is(reachText(compareReach(all("allow"), null).closes, 4), "everything");
  t.deepEqual([all("allow"), all("deny"), all("deny", one), null].map(amountOf), [
    "everything",
    "nothing",
    "some",
    "nothing",
  ]);
});

test("ports and types have the words that policies use", (t) => {
  t.is(flowText(6, 80), "TCP 80");
  t.is(flowText(1, 8 << 8), "ICMP 8 (EchoRequest)");
  t.is(flowText(58, 200 << 8), "ICMPv6 200");
  t.is(
    portsText([
      { protocol: 6, first: 0, last: 65_535 },
      { protocol: 17, first: 53, last: 60 },
    ]),
    "TCP any port; UDP 53-60",
  );
  t.is(portsText([]), "nothing");
});

test("each part of the outside has an address of its own, and what is inside of the cluster is none", (t) => {
  const cluster = clusterOf(`
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/16]}
status: {addresses: [{type: InternalIP, address: 203.0.113.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: a, image: b}]}
status: {podIP: 10.1.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: x}
spec:
  podSelector: {}
  ingress:
    - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9]}}, {ipBlock: {cidr: 10.1.0.0/24}}, {ipBlock: {cidr: 203.0.113.0/30}}, {ipBlock: {cidr: 198.51.100.7/32}}]
`);
  const parts = outsideParts([cluster]).map(({ prefix, address }) => [prefix.text, address.text]);
  t.deepEqual(parts, [
    ["0.0.0.0/0", "0.0.0.1"],
    ["10.0.0.0/8", "10.128.0.0"],
    // The exception; 10.1.0.0/24 is inside of the pods' prefix.
    ["10.0.0.0/9", "10.0.0.1"],
    ["198.51.100.7/32", "198.51.100.7"],
    // The first address is the node's.
    ["203.0.113.0/30", "203.0.113.2"],
    ["::/0", "::1"],
  ]);
});

test("pods of one workload are called by what their names share", (t) => {
  const pod = (name: string, labels: PodRow["labels"] = {}): PodRow => ({
    namespace: "shop",
    name,
    uid: "",
    labels,
    node: "n",
    serviceAccount: "default",
    hostNetwork: false,
    addresses: [],
    ports: [],
    phase: "Running",
    ready: true,
  });
  const hash = { "pod-template-hash": "7d9f8" };
  t.is(workloadName([pod("web-7d9f8-x2x4k", hash)]), "shop/web");
  t.is(workloadName([pod("web-7d9f8-x2x4k", hash), pod("web-7d9f8-9jkq5", hash)]), "shop/web");
  t.is(workloadName([pod("db-0"), pod("db-1")]), "shop/db");
  t.is(workloadName([pod("alone")]), "shop/alone");
  t.is(workloadName([pod("one"), pod("two")]), "shop/one, shop/two");
});
