/** What is seen from outside: counters, events, the budget of drop records, traces. */
import { cpus } from "node:os";
import { EventFlags } from "../../../src/native/layouts.gen.ts";
import { arp, echo, tcp, udp } from "../../support/packets.ts";
import { podFrame, podMacs, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { mapped, putPolicy } from "../../support/programs-maps.ts";
import { programTests, reasonNumber } from "../../support/programs-test.ts";

const { check, both } = programTests();

both("packets and bytes are counted by reason and direction", async (t, node, family) => {
  const sent = podFrame("a", who.a[family], who.r[family], tcp(40000, 80, "S"));
  const spoofed = podFrame("a", who.b[family], who.r[family], tcp(40000, 80, "S", { data: Buffer.alloc(11) }));
  const got = wireFrame(who.r[family], who.a[family], tcp(80, 40000, "SA"));
  for (let i = 0; i < 3; i++) {
    await node.fromPod("a", sent);
    await node.run("from_network", got);
  }
  await node.fromPod("a", spoofed);
  t.deepEqual(Object.fromEntries(node.takeMetrics()), {
    "0/egress": { packets: 3, bytes: 3 * sent.length },
    "0/ingress": { packets: 3, bytes: 3 * got.length },
    [`${reasonNumber("spoofedAddress")}/egress`]: { packets: 1, bytes: spoofed.length },
  });
});

both("what the stack has of a packet for nobody here is not counted", async (t, node, family) => {
  await node.run("from_network", wireFrame(who.w[family], who.host[family], udp(1, 2)));
  await node.run("to_network", wireFrame(who.host[family], who.w[family], udp(1, 2)));
  t.is(node.takeMetrics().size, 0);
});

both("a drop's event says what was dropped, where and when", async (t, node, family) => {
  const packet = podFrame("a", who.b[family], who.r[family], tcp(40000, 80, "S"));
  const before = process.hrtime.bigint();
  await node.fromPod("a", packet);
  const [event, ...others] = await node.takeEvents();
  t.is(others.length, 0);
  t.like(event, {
    type: 1,
    reason: reasonNumber("spoofedAddress"),
    direction: 0,
    protocol: 6,
    flags: family === "ipv6" ? EventFlags.ipv6 : 0,
    group: 0xffff,
    sourcePort: 40000,
    destinationPort: 80,
    ifindex: node.index.a,
    endpoint: 11,
    length: packet.length,
  });
  t.deepEqual(Buffer.from(event?.source ?? []), Buffer.from(mapped(who.b[family])));
  t.deepEqual(Buffer.from(event?.destination ?? []), Buffer.from(mapped(who.r[family])));
  t.true((event?.time ?? 0n) >= before && (event?.time ?? 0n) <= process.hrtime.bigint());
});

both("ICMP is told by type and code", async (t, node, family) => {
  await node.fromPod("a", podFrame("a", who.b[family], who.r[family], echo(who.a[family], "reply", 7)));
  t.like((await node.takeEvents())[0], { sourcePort: 0, destinationPort: family === "ipv4" ? 0 : 129 << 8 });
});

check("a drop of what is no IP has an event without addresses", async (t, node) => {
  await node.fromPod("b", podFrame("b", who.b.ipv4, who.r.ipv4, tcp(40000, 80, "S"))); // leaves its addresses nowhere
  await node.fromPod(
    "a",
    arp(podMacs("a"), { operation: "reply", senderMac: who.a.mac, sender: who.b.ipv4, target: who.r.ipv4 }),
  );
  const [event] = await node.takeEvents();
  t.like(event, { reason: reasonNumber("spoofedAddress"), protocol: 0, sourcePort: 0, destinationPort: 0 });
  t.true(Buffer.from(event?.source ?? []).equals(Buffer.alloc(16)));
});

both("records of drops have a budget for each second and CPU; the counters know all", async (t, node, family) => {
  node.maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 5 });
  const packet = podFrame("a", who.b[family], who.r[family], tcp(40000, 80, "S"));
  const drops = 20_000;
  const started = performance.now();
  await node.native.testRun(node.program("from_pod"), packet, context(node.index.a), drops, `/run/netns/${node.netns}`);
  // A second that had begun before, and one that began with the last of them.
  const seconds = Math.ceil((performance.now() - started) / 1000) + 1;
  const seen = (await node.takeEvents()).length;
  t.true(seen >= 5 && seen <= 5 * seconds * cpus().length, `${seen} records of ${drops} drops in ${seconds} s`);
  t.is(node.takeMetrics().get(`${reasonNumber("spoofedAddress")}/egress`)?.packets, drops);
});

both("policy drops are within the same budget, verdicts are not", async (t, node, family) => {
  putPolicy(node.maps, {
    set: 1,
    direction: "egress",
    allows: 1,
    peers: { 0: [0] },
    ports: [{ protocol: 6, port: 80, groups: [0] }],
  });
  node.enforce("a", "egress");
  node.maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 1 });
  const denied = podFrame("a", who.a[family], who.r[family], tcp(40000, 81, "S"));
  const drops = 20_000;
  const started = performance.now();
  await node.native.testRun(node.program("from_pod"), denied, context(node.index.a), drops, `/run/netns/${node.netns}`);
  const seconds = Math.ceil((performance.now() - started) / 1000) + 1;
  for (let i = 0; i < 30; i++) {
    await node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(40000 + i, 80, "S")));
  }
  const events = await node.takeEvents();
  t.is(events.filter(({ type }) => type === 2).length, 30);
  const dropped = events.filter(({ type }) => type === 1).length;
  t.true(dropped >= 1 && dropped <= seconds * cpus().length, `${dropped} records of ${drops} drops in ${seconds} s`);
});

both("traces: the first packet of every flow, while they are on", async (t, node, family) => {
  const flow = (port: number) => node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(port, 80, "S")));
  await flow(40000);
  t.is((await node.takeEvents()).length, 0);
  node.maps.put("settings", 0, { trace: 1, dropEventsPerSecond: 0 });
  await flow(40001);
  await flow(40001);
  await node.run("from_network", wireFrame(who.w[family], who.a[family], udp(1, 2)));
  await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], udp(1, 2)));
  await node.fromPod("a", podFrame("a", who.a[family], who.b[family], udp(1, 2)));
  const world = family === "ipv4" ? 9 : 10;
  t.deepEqual(
    (await node.takeEvents()).map((e) => [
      e.type,
      e.direction,
      e.sourceIdentity,
      e.destinationIdentity,
      e.flags & EventFlags.allowed,
    ]),
    [
      [3, 0, who.a.identity, who.r.identity, 1],
      [3, 1, world, who.a.identity, 1],
      [3, 1, 1, who.a.identity, 1],
      [3, 0, who.a.identity, who.b.identity, 1],
    ],
  );
});

check("a ring without room loses records, counts them, and changes no verdict", async (t, node) => {
  const packet = podFrame("a", who.b.ipv4, who.r.ipv4, tcp(40000, 80, "S"));
  const lost = () => node.maps.perCpu("events_lost", 0).reduce((sum, value) => sum + Number(value), 0);
  const before = lost();
  // a reader that JavaScript does not call back stops to read; more than what it holds then, and than the ring has room for
  const drops = 100_000;
  const running = node.native.testRun(
    node.program("from_pod"),
    packet,
    context(node.index.a),
    drops,
    `/run/netns/${node.netns}`,
  );
  const end = performance.now() + 60_000;
  while (lost() === before && performance.now() < end);
  t.is((await running).retval, 2);
  const seen = (await node.takeEvents()).length;
  const missing = lost() - before;
  t.true(missing > 0, "some were lost");
  t.is(seen + missing, drops);
  t.is(node.takeMetrics().get(`${reasonNumber("spoofedAddress")}/egress`)?.packets, drops);
});

function context(ifindex: number): Buffer {
  const bytes = Buffer.alloc(192);
  bytes.writeUInt32LE(ifindex, 36);
  bytes.writeUInt32LE(ifindex, 40);
  return bytes;
}
