import test from "ava";
import { address, Bench, node, pod } from "../support.ts";

function holder(result: ReturnType<Bench["compute"]>, text: string) {
  return result.desired.identities.get(text);
}

function told(result: ReturnType<Bench["compute"]>) {
  return result.problems.map(({ code, object }) => `${code} ${object}`);
}

const at = (...texts: readonly string[]) => ({ addresses: texts.map(address) });

test("this node is host, other nodes are remote nodes, pods have the identity of their labels", (t) => {
  const result = new Bench()
    .pods(pod("a", { node: "n2", ...at("10.1.2.9") }), pod("net", { hostNetwork: true, ...at("192.168.0.1") }))
    .compute();
  t.like(holder(result, "192.168.0.1"), { identity: 1, localNode: true, node: true });
  t.like(holder(result, "192.168.0.2"), { identity: 6, localNode: false, node: true });
  t.like(holder(result, "10.1.2.9"), { identity: result.identityOfPod.get("shop/a") ?? 0, node: false });
  t.false(result.identityOfPod.has("shop/net"), "a pod of the host network is its node");
  t.deepEqual(result.problems, []);
});

test("a finished pod has no identity, and its address belongs to the next", (t) => {
  const result = new Bench()
    .pods(
      pod("done", { node: "n2", phase: "Succeeded", ...at("10.1.2.9") }),
      pod("failed", { node: "n2", phase: "Failed", ...at("10.1.2.8") }),
      pod("next", { node: "n2", ...at("10.1.2.9") }),
    )
    .compute();
  t.is(holder(result, "10.1.2.9")?.identity, result.identityOfPod.get("shop/next"));
  t.is(holder(result, "10.1.2.8"), undefined);
  t.deepEqual([...result.identityOfPod.keys()], ["shop/next"]);
  t.deepEqual(result.problems, []);
});

test("of two pods with one address the one on the node of the pod CIDR keeps it, and the other is told", (t) => {
  const result = new Bench()
    .pods(pod("a", { node: "n1", ...at("10.1.2.9") }), pod("b", { node: "n2", ...at("10.1.2.9") }))
    .compute();
  t.is(holder(result, "10.1.2.9")?.identity, result.identityOfPod.get("shop/b"));
  t.deepEqual(told(result), ["POD_ADDRESS_IN_USE Pod shop/a"]);
  t.regex(result.problems[0]?.message ?? "", /10\.1\.2\.9 is an address of Pod shop\/b too/);
});

test("an endpoint of this node keeps its address against whatever a Pod object claims", (t) => {
  const own = pod("own", at("10.1.1.9"));
  const result = new Bench()
    .local(own)
    .pods(pod("another", at("10.1.1.9")))
    .compute();
  t.is(holder(result, "10.1.1.9")?.identity, result.identityOfPod.get("shop/own"));
  t.deepEqual(told(result), ["POD_ADDRESS_IN_USE Pod shop/another"]);
});

test("of equal claims the first by name wins, in any order of the tables", (t) => {
  for (const names of [
    ["a", "b"],
    ["b", "a"],
  ]) {
    const bench = new Bench();
    for (const name of names) bench.pods(pod(name, { node: "n2", ...at("10.1.2.9") }));
    const result = bench.compute();
    t.is(holder(result, "10.1.2.9")?.identity, result.identityOfPod.get("shop/a"));
    t.deepEqual(told(result), ["POD_ADDRESS_IN_USE Pod shop/b"]);
  }
});

test("a pod cannot take the address of a node", (t) => {
  const result = new Bench().pods(pod("a", at("192.168.0.2"))).compute();
  t.is(holder(result, "192.168.0.2")?.identity, 6);
  t.deepEqual(told(result), ["POD_ADDRESS_IN_USE Pod shop/a"]);
});

test("what the CNI gave counts, not what the Pod object says", (t) => {
  const result = new Bench()
    .local(pod("a", at("10.1.1.9")))
    .pods(pod("a", at("10.1.1.7")))
    .compute();
  t.is(holder(result, "10.1.1.9")?.identity, result.identityOfPod.get("shop/a"));
  t.is(holder(result, "10.1.1.7"), undefined);
  t.deepEqual(told(result), ["POD_ADDRESS_DIFFERS Pod shop/a"]);
});

test("two nodes with one address: this node keeps it, else the first by name", (t) => {
  const result = new Bench().nodes(node("n0", ["192.168.0.1"]), node("n3", ["192.168.0.2"])).compute();
  t.like(holder(result, "192.168.0.1"), { identity: 1, localNode: true });
  t.like(holder(result, "192.168.0.2"), { identity: 6 });
  t.deepEqual(told(result), ["NODE_ADDRESS_IN_USE Node n0", "NODE_ADDRESS_IN_USE Node n3"]);
});

test("a pod address in no pod CIDR is told where pod CIDRs of the family are known", (t) => {
  const pods = [pod("a", { node: "n2", ...at("172.16.0.9", "fd00::9") })];
  t.deepEqual(told(new Bench().pods(...pods).compute()), ["POD_ADDRESS_OUTSIDE Pod shop/a"]);
  const without = new Bench().nodes(node("n1", ["192.168.0.1"]), node("n2", ["192.168.0.2"]));
  t.deepEqual(told(without.pods(...pods).compute()), []);
});

test("pod CIDRs of two nodes that overlap are told with both, and are in the state once", (t) => {
  const result = new Bench().nodes(node("n3", ["192.168.0.3"], ["10.1.2.0/24", "10.1.1.128/25"])).compute();
  t.deepEqual(
    result.problems.map(({ code, object, message }) => [code, object, message.replace(/:.*/, "")]),
    [
      ["POD_CIDR_OVERLAP", "Node n3", "10.1.1.128/25 overlaps 10.1.1.0/24 of Node n1"],
      ["POD_CIDR_OVERLAP", "Node n3", "10.1.2.0/24 overlaps 10.1.2.0/24 of Node n2"],
    ],
  );
  t.deepEqual(
    result.desired.clusterPrefixes.map(({ text }) => text),
    ["10.1.1.0/24", "10.1.1.128/25", "10.1.2.0/24"],
  );
});

function own(bench: Bench, device: string, ...texts: readonly string[]): Bench {
  for (const text of texts) bench.store.upsert("localAddresses", text, { address: address(text), device });
  return bench;
}

test("an address that this node has on a device is its own, although its Node object does not list it, until it leaves", (t) => {
  const bench = own(new Bench(), "docker0", "172.17.0.1", "fd00:172::1", "192.168.0.1");
  const result = bench.compute();
  for (const text of ["172.17.0.1", "fd00:172::1", "192.168.0.1"]) {
    t.deepEqual(holder(result, text), { address: address(text), identity: 1, localNode: true, node: true });
  }
  t.deepEqual(result.problems, []);
  bench.store.delete("localAddresses", "172.17.0.1");
  bench.store.delete("localAddresses", "192.168.0.1");
  const after = bench.compute();
  t.is(holder(after, "172.17.0.1"), undefined);
  t.like(holder(after, "192.168.0.1"), { identity: 1 }, "the Node object still lists it");
});

test("an address inside of the node's own pod CIDR, of a bridge say, is the node and no unknown pod", (t) => {
  const result = own(new Bench(), "kube-bridge", "10.1.1.1").compute();
  t.like(holder(result, "10.1.1.1"), { identity: 1, localNode: true });
});

test("an address on this node that is another node's or a pod's stays theirs, and it is told", (t) => {
  const bench = own(new Bench().local(pod("a", at("10.1.1.9"))), "br0", "192.168.0.2", "10.1.1.9");
  bench.pods(pod("far", { node: "n2", ...at("10.1.2.9") }));
  const result = own(bench, "br0", "10.1.2.9").compute();
  t.like(holder(result, "192.168.0.2"), { identity: 6, localNode: false });
  t.like(holder(result, "10.1.1.9"), { identity: result.identityOfPod.get("shop/a") ?? 0, localNode: false });
  t.like(holder(result, "10.1.2.9"), { identity: result.identityOfPod.get("shop/far") ?? 0 });
  t.deepEqual(told(result), Array(3).fill("LOCAL_ADDRESS_IN_USE device br0"));
});
