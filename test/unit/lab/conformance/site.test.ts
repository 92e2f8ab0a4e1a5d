import test from "ava";
import { isInside, planSites } from "../../../../src/lab/conformance/site.ts";
import { planLab } from "../../../../src/lab/plan.ts";
import { conformanceCase, node, pod, probe, shop } from "./support.ts";

const named = (name: string, ...rest: Parameters<typeof conformanceCase>) => ({ ...conformanceCase(...rest), name });
const names = (...cases: readonly ReturnType<typeof named>[]) =>
  planSites(cases).map((site) => site.cases.map(({ name }) => name));

test("cases whose nodes agree share a lab that has the nodes and address families of all", (t) => {
  const small = [...node("worker-2", "192.168.10.12", "fd00:10::12"), ...node("worker-3", "192.168.10.13")];
  const [first, ...others] = planSites([named("a", shop), named("b", small)]);
  t.deepEqual(others, []);
  t.deepEqual(first?.site.nodes, [
    {
      name: "worker-1",
      ipv4: "192.168.10.11",
      ipv6: "fd00:10::11",
      podCidr4: "10.244.1.0/24",
      podCidr6: "fd00:244:1::/64",
    },
    {
      name: "worker-2",
      ipv4: "192.168.10.12",
      ipv6: "fd00:10::12",
      podCidr4: "10.244.2.0/24",
      podCidr6: "fd00:244:2::/64",
    },
    {
      name: "worker-3",
      ipv4: "192.168.10.13",
      ipv6: "fd00:10::fd",
      podCidr4: "10.245.3.0/24",
      podCidr6: "fd00:245:0:3::/64",
    },
  ]);
  t.deepEqual(first?.site.router, { ipv4: "192.168.10.254", ipv6: "fd00:10::fe" });
});

test("cases that contradict each other get labs of their own, in order; a later one may join an earlier lab", (t) => {
  const other = node("worker-1", "192.168.20.11");
  t.deepEqual(names(named("a", shop), named("b", other), named("c", shop)), [["a", "c"], ["b"]]);
  const crossed = node("worker-9", "192.168.10.11");
  t.deepEqual(names(named("a", shop), named("b", crossed)), [["a"], ["b"]]);
  const moved = [...node("worker-1", "192.168.10.11"), ...pod("shop/x", "worker-1", ["10.250.0.5"])];
  t.deepEqual(names(named("a", shop), named("b", moved)), [["a"], ["b"]]);
});

test("a node of one case is not outside in another on the same lab", (t) => {
  const probes = [probe("192.168.10.12", "node/worker-1")];
  const alone = named("b", node("worker-1", "192.168.10.11"), { probes });
  t.deepEqual(names(named("a", shop), alone), [["a"], ["b"]]);
});

test("the router has no address that a case uses", (t) => {
  const probes = [probe("192.168.10.254", "shop/front"), probe("192.168.10.253", "shop/front")];
  const [first] = planSites([named("a", shop, { probes })]);
  t.is(first?.site.router.ipv4, "192.168.10.252");
});

test("a case that no lab can be says why", (t) => {
  const refused = (cluster: ReturnType<typeof node>) =>
    t.throws(() => planSites([named("odd", cluster)]), { message: /odd/ })?.message ?? "";
  t.regex(refused([]), /no Node/);
  t.regex(
    refused([...node("a", "192.168.10.11"), ...node("b", "192.168.11.12")]),
    /192\.168\.10\.0\/24 and 192\.168\.11/,
  );
  t.regex(refused([...node("a", "192.168.10.11"), ...pod("x/y", "b", ["10.0.0.5"])]), /on node "b"/);
  t.regex(refused(node("a", "fd00:10::11")), /no IPv4 address/);
});

test("a lab of a site has its names and addresses, and files and namespaces of its own", (t) => {
  const [first] = planSites([named("a", shop)]);
  if (first === undefined) throw new Error("no site");
  const plan = planLab({ name: "demo", index: 3, nodes: 2, externals: ["outside"], site: first.site }, "/cgroup");
  t.like(plan.nodes[0], {
    name: "worker-1",
    slot: "node-1",
    netns: "tandem-demo-node-1",
    ipv4: "192.168.10.11",
    podCidr6: "fd00:244:1::/64",
  });
  t.is(plan.tor.ipv4, "192.168.10.254");
  t.is(plan.externals[0]?.ipv4, "198.18.3.10");
});

test("isInside knows families and prefix lengths", (t) => {
  t.true(isInside("10.244.1.0/24", "10.244.1.250"));
  t.false(isInside("10.244.1.0/24", "10.244.2.1"));
  t.true(isInside("fd00:10::fe/64", "fd00:10::99"));
  t.false(isInside("0.0.0.0/0", "fd00::1"));
});
