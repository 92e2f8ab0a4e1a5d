/** When other nodes are asked, and what answers and silence make of them: with a clock and a network of the test's own. */
import { constants } from "node:os";
import test, { type ExecutionContext } from "ava";
import { type Asked, node, type Reaction, route, worldOf, type WorldOptions } from "./support.ts";

const n2 = node("n2", ["192.0.2.2"], ["10.0.2.0/24"]);
const n3 = node("n3", ["192.0.2.3"], ["10.0.3.0/24"]);
const toN2 = route("10.0.2.0/24", [["192.0.2.2", 2]]);
const toN3 = route("10.0.3.0/24", [["192.0.2.3", 2]]);

/** All is well: nodes reply, take TCP, and tell that nobody has the first address of their pod CIDR. */
const well = ({ kind, address }: Asked): Reaction => {
  if (kind === "tcp") return { event: "accepted" };
  const ofPods = /^10\.0\.(\d)\.0$/.exec(address);
  return ofPods === null ? { event: "reply" } : { event: "unreachable", from: `192.0.2.${ofPods[1]}` };
};

function begin(t: ExecutionContext, options: Partial<WorldOptions> = {}) {
  const world = worldOf({ nodes: [n2, n3], routes: [toN2, toN3], react: well, ...options });
  world.source.start();
  t.teardown(() => world.source.stop());
  return world;
}

const kindsOf = (silent: readonly { readonly kind: string }[] = []) => silent.map(({ kind }) => kind).sort();

test("nodes that answer are reachable, each asked by ICMP, TCP and at an address of its pods, seldom", async (t) => {
  const world = begin(t);
  await world.clock.advance(10_000);
  for (const name of ["n2", "n3"])
    t.like(world.health(name), { state: "reachable", silent: [], podsLost: [], agent: true });
  t.is(world.health("n1"), undefined, "nobody asks himself");
  world.asked.length = 0;
  await world.clock.advance(100_000);
  const small = world.asked.filter(({ size }) => size === 0);
  // 20 times each pod CIDR, 6 times each node by ICMP, 5 times by TCP; packets of size bring a small one with them.
  t.true(small.length >= 2 * 27 && small.length <= 2 * 40, String(small.length));
  const [report] = world.source.report();
  t.like(report, { node: "n2" });
  for (const path of report?.paths ?? [])
    t.like(path, { state: "answers", lost: 0, p50Us: 250, p99Us: 250, told: null });
});

test("a node that falls silent is unreachable within seconds, and reachable with its first answer", async (t) => {
  const world = begin(t);
  await world.clock.advance(20_000);
  world.react = (asked) => (asked.address.endsWith(".2") || asked.address === "10.0.2.0" ? null : well(asked));
  const from = world.clock.monotonicMs();
  while (world.health("n2")?.state !== "unreachable" && world.clock.monotonicMs() - from < 60_000)
    await world.clock.advance(100);
  const known = world.clock.monotonicMs() - from;
  // At most one interval with its jitter until it is asked, and three misses.
  t.true(known <= 6_000 + 3 * 700, `${known} ms`);
  t.like(world.health("n2"), { podsLost: [4] });
  t.deepEqual(kindsOf(world.health("n2")?.silent), ["icmp", "pods", "tcp"]);
  t.true((world.health("n2")?.silent[0]?.answered ?? 0) > 0);
  t.is(world.health("n3")?.state, "reachable");
  world.asked.length = 0;
  await world.clock.advance(60_000);
  const waits = world.asked.filter(({ address }) => address.endsWith(".2") || address.startsWith("10.0.2."));
  t.true(waits.length < 60, `who is silent is asked seldom again: ${waits.length}`);
  world.react = well;
  await world.clock.advance(7_000);
  t.like(world.health("n2"), { state: "reachable", silent: [], podsLost: [] });
});

test("one or two lost packets are no silence, and an answer that comes late is one", async (t) => {
  const world = begin(t);
  await world.clock.advance(20_000);
  let left = 2;
  world.react = (asked) => (asked.address === "10.0.2.0" && left-- > 0 ? null : well(asked));
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { state: "reachable", silent: [] });
  world.react = () => null;
  world.asked.length = 0;
  while (!world.asked.some(({ address }) => address === "192.0.2.2")) await world.clock.advance(100);
  const slow = () => world.asked.filter(({ kind, size }) => kind === "icmp" && size === 0);
  for (let i = 0; i < 60; i++) {
    await world.clock.advance(100);
    // 1.5 s after they were sent.
    for (const one of slow()) if (Math.abs(world.clock.monotonicMs() - one.atMs - 1_500) < 50) world.late(one);
  }
  t.deepEqual(kindsOf(world.health("n2")?.silent), ["tcp"]);
});

test("a busy agent takes no silence for one: answers that waited as long as its timer are heard first", async (t) => {
  const world = begin(t);
  await world.clock.advance(20_000);
  for (let i = 0; i < 20; i++) {
    world.react = () => null;
    world.asked.length = 0;
    while (world.asked.length === 0) await world.clock.advance(100);
    const waiting = [...world.asked];
    await world.clock.late(5_000, () => {
      for (const one of waiting) world.late(one);
      world.react = well;
    });
    await world.clock.advance(3_000);
  }
  for (const { paths } of world.source.report())
    t.deepEqual(
      paths.map(({ lost }) => lost),
      [0, 0, 0],
    );
});

test("an error of a router, or of this node, is no answer and is told", async (t) => {
  const world = begin(t);
  await world.clock.advance(20_000);
  world.react = (asked) => {
    if (!(asked.address.endsWith(".2") || asked.address === "10.0.2.0")) return well(asked);
    if (asked.kind === "tcp") return { event: "failed", value: constants.errno.EHOSTUNREACH };
    return { event: "unreachable", from: asked.address === "10.0.2.0" ? "192.0.2.254" : "192.0.2.1" };
  };
  await world.clock.advance(9_000);
  t.is(world.health("n2")?.state, "unreachable");
  const [report] = world.source.report();
  t.deepEqual(
    report?.paths.map(({ kind, told }) => [kind, told]),
    [
      ["icmp", "192.0.2.1 says that it is unreachable"],
      ["tcp", "it cannot be asked: EHOSTUNREACH"],
      ["pods", "192.0.2.254 says that it is unreachable"],
    ],
  );
});

test("without an agent TCP is refused, which is an answer; pods that were never reached are not lost", async (t) => {
  const world = begin(t, {
    react: (asked) =>
      asked.kind === "tcp" ? { event: "refused" } : asked.address.startsWith("10.") ? null : { event: "reply" },
  });
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { state: "partly", agent: false, podsLost: [] });
  t.deepEqual(kindsOf(world.health("n2")?.silent), ["pods"]);
});

test("where nobody tells that an address is nobody's, a pod is asked before its node is called silent", async (t) => {
  const world = begin(t);
  const [address] = node("", ["10.0.2.9"], []).addresses;
  if (address === undefined) throw new Error("no address");
  const pod = {
    ...{ namespace: "a", uid: "", labels: {}, serviceAccount: "", hostNetwork: false, ports: [], ready: true },
    ...{ name: "b", node: "n2", phase: "Running", addresses: [address] },
  };
  world.store.upsert("pods", "a/b", pod);
  await world.clock.advance(20_000);
  world.react = (asked) => (asked.address === "10.0.2.0" ? null : well(asked));
  await world.clock.advance(60_000);
  t.like(world.health("n2"), { state: "reachable", silent: [] });
  t.true(world.asked.some((asked) => asked.address === "10.0.2.9"));
  world.store.delete("pods", "a/b");
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { state: "partly", podsLost: [4] });
});

test("each device of a route is tried by itself, and what is silent is named", async (t) => {
  const both = route("10.0.2.0/24", [
    ["192.0.2.2", 2],
    ["198.51.100.2", 3],
  ]);
  const world = begin(t, { routes: [both, toN3] });
  await world.clock.advance(20_000);
  t.is(world.health("n2")?.state, "reachable");
  world.react = (asked) => (asked.ifindex === 3 ? null : well(asked));
  await world.clock.advance(9_000);
  t.like(world.health("n2"), { state: "partly", podsLost: [] });
  t.deepEqual(
    world.health("n2")?.silent.map(({ kind, device }) => [kind, device?.name]),
    [["pods", "eth3"]],
  );
  world.store.upsert("routes", "10.0.2.0/24", toN2);
  await world.clock.advance(9_000);
  t.like(world.health("n2"), { state: "reachable", silent: [] }, "the path is not one any more");
});

test("packets of the route's size that are lost are told, with the size that arrives; over when they pass", async (t) => {
  const world = begin(t);
  const limited = (most: number) => (asked: Asked) =>
    asked.size > most && asked.address === "192.0.2.2" ? null : well(asked);
  await world.clock.advance(10_000);
  t.deepEqual(world.health("n2")?.mtu, []);
  world.react = limited(1372);
  await world.clock.advance(35_000);
  t.like(world.health("n2")?.mtu[0], { family: 4, claimed: 1500 });
  await world.clock.advance(30_000);
  t.deepEqual(world.health("n2")?.mtu, [{ family: 4, claimed: 1500, carried: 1372 }]);
  t.is(world.health("n2")?.state, "reachable");
  t.deepEqual(world.health("n3")?.mtu, []);
  world.store.upsert("routes", "10.0.2.0/24", { ...toN2, mtu: 1372 });
  await world.clock.advance(3_000);
  t.deepEqual(world.health("n2")?.mtu, [], "the route claims no more than what passes");
});

test("a router that tells its MTU is believed where that size passes", async (t) => {
  const world = begin(t, {
    react: (asked) =>
      asked.size > 1400 && asked.address === "192.0.2.2"
        ? { event: "too_large", value: 1400, from: "192.0.2.254" }
        : well(asked),
  });
  await world.clock.advance(10_000);
  t.deepEqual(world.health("n2")?.mtu, [{ family: 4, claimed: 1500, carried: 1400 }]);
  t.true(world.asked.filter(({ size }) => size > 0).length < 6);
});

test("a node that is silent has no wrong MTU", async (t) => {
  const world = begin(t);
  await world.clock.advance(10_000);
  world.react = (asked) => (asked.address.endsWith(".2") || asked.address === "10.0.2.0" ? null : well(asked));
  await world.clock.advance(120_000);
  t.like(world.health("n2"), { state: "unreachable", mtu: [] });
});

test("nodes come and go, and with them what is known of them", async (t) => {
  const world = begin(t);
  await world.clock.advance(10_000);
  world.store.delete("nodes", "n2");
  await world.clock.advance(2_000);
  t.is(world.health("n2"), undefined);
  t.deepEqual(
    world.source.report().map((each) => each.node),
    ["n3"],
  );
  world.store.upsert("nodes", "n2", n2);
  await world.clock.advance(10_000);
  t.is(world.health("n2")?.state, "reachable");
  world.store.delete("routes", "10.0.2.0/24");
  await world.clock.advance(2_000);
  t.deepEqual(
    world.source.report()[0]?.paths.map(({ kind }) => kind),
    ["icmp", "tcp"],
    "no route, no way to try",
  );
});

test("a port that somebody has is told, nodes are asked all the same, and it is had when it is free", async (t) => {
  let taken = true;
  const world = begin(t, { openFails: (port) => (port !== 0 && taken ? new Error("address in use") : null) });
  t.deepEqual(
    world.conditions.get("health-socket")?.map(({ code, object }) => [code, object]),
    [["HEALTH_PORT", "TCP port 4240"]],
  );
  await world.clock.advance(10_000);
  t.is(world.health("n2")?.state, "reachable");
  taken = false;
  await world.clock.advance(40_000);
  t.deepEqual(world.conditions.get("health-socket"), []);
  t.deepEqual([world.opened, world.closed], [[0, 4240], 1]);
  await world.source.stop();
  t.is(world.closed, 2);
});

test("without raw sockets nothing is known, and that is told", async (t) => {
  const world = begin(t, { openFails: () => new Error("EPERM") });
  await world.clock.advance(10_000);
  t.deepEqual(
    world.conditions.get("health-socket")?.map(({ code }) => code),
    ["HEALTH_PORT", "HEALTH_SOCKET"],
  );
  t.is(world.health("n2")?.state, "unknown");
  t.is(world.asked.length, 0);
});

test("both families are asked, and one of them may be lost", async (t) => {
  const dual = node("n2", ["192.0.2.2", "2001:db8::2"], ["10.0.2.0/24", "fd02::/64"]);
  const world = begin(t, {
    ipv6: true,
    nodes: [dual],
    routes: [toN2, route("fd02::/64", [["2001:db8::2", 2]])],
    react: (asked) => (asked.address === "fd02::" ? { event: "unreachable", from: "2001:db8::2" } : well(asked)),
  });
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { state: "reachable" });
  t.is(world.source.report()[0]?.paths.length, 6);
  world.react = (asked) => (asked.address.includes(":") ? null : well(asked));
  await world.clock.advance(10_000);
  t.like(world.health("n2"), { state: "partly", podsLost: [6] });
});

test("pods that are lost stay so when BGP takes the route away, until the way that comes back answers", async (t) => {
  const world = begin(t);
  await world.clock.advance(20_000);
  world.react = (asked) => (asked.address.endsWith(".2") || asked.address === "10.0.2.0" ? null : well(asked));
  await world.clock.advance(9_000);
  t.like(world.health("n2"), { state: "unreachable", podsLost: [4] });
  world.store.delete("routes", "10.0.2.0/24");
  await world.clock.advance(60_000);
  t.like(world.health("n2"), { state: "unreachable", podsLost: [4] });
  world.store.upsert("routes", "10.0.2.0/24", toN2);
  await world.clock.advance(20_000);
  t.like(world.health("n2"), { podsLost: [4] }, "the route alone is no answer");
  world.react = well;
  await world.clock.advance(7_000);
  t.like(world.health("n2"), { state: "reachable", podsLost: [] });
});
