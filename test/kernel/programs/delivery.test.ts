/** The last step of an allowed packet: into a pod of this node, to another node as routes say, or to the stack, which answers or routes. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";
import { echo, ip, isIpv6, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, hostMac, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { mapped, putPolicy } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const run = promisify(execFile);
const { check, both } = programTests();
const { both: bothByEgress } = programTests({ config_redirect_peer: 0 });

const MARK_JUDGED = 0x0d00;
const MARK_DELIVERED = 0x0e00;
/** Bits of skb->mark that are others' (kube-proxy, kube-router). */
const foreignMark = 0x1000_4001;
const syn = tcp(40000, 80, "S");

/** TCP whose packet is `length` bytes long, from the IP header on. */
function sized(family: Family, length: number): Transport {
  return tcp(40000, 80, "PA", { data: Buffer.alloc(length - 20 - (family === "ipv4" ? 20 : 40)) });
}

/** Passed to the stack as it came, but for the mark. */
function isGivenUp(t: ExecutionContext, node: ProgramNode, result: RunResult, sent: Buffer): void {
  isPassed(t, node, result, "stack", "egress");
  t.deepEqual(result.frame, sent);
  t.is(result.mark, MARK_JUDGED);
}

function macsAre(t: ExecutionContext, result: RunResult, source: Buffer, destination: Buffer): void {
  t.deepEqual(
    [result.parsed.sourceMac, result.parsed.destinationMac],
    [source.toString("hex"), destination.toString("hex")],
  );
}

both("a packet for a pod of this node goes into it, by its MAC and one hop on", async (t, node, family) => {
  const fromPod = podFrame("a", who.a[family], who.b[family], syn);
  const fromWire = wireFrame(who.r[family], who.b[family], syn);
  for (const [program, sent, direction] of [
    ["from_pod", fromPod, "egress"],
    ["from_network", fromWire, "ingress"],
  ] as const) {
    const result = await node.run(program, sent, { mark: foreignMark });
    isPassed(t, node, result, "redirect", direction);
    macsAre(t, result, hostMac, who.b.mac);
    t.is(result.parsed.ip?.ttl, 63);
    t.is(result.mark, foreignMark, "the peer device needs no mark");
  }
});

both("what a pod is sent is otherwise as it was", async (t, node, family) => {
  const sent = podFrame("a", who.a[family], who.b[family], udp(5000, 53), { tos: 0x28 });
  const result = await node.fromPod("a", sent);
  isPassed(t, node, result, "redirect", "egress");
  const expected = podFrame("a", who.a[family], who.b[family], udp(5000, 53), { tos: 0x28, ttl: 63 });
  t.deepEqual(result.frame.subarray(12), expected.subarray(12));
});

both("a packet for another node is redirected with the mark, one hop on", async (t, node, family) => {
  const sent = podFrame("a", who.a[family], who.r[family], syn);
  const result = await node.fromPod("a", sent, { mark: foreignMark });
  isPassed(t, node, result, "redirect", "egress");
  t.is(result.parsed.ip?.ttl, 63);
  t.is(result.mark, (foreignMark & ~0x0f00) | MARK_JUDGED, "bits of others stay");
});

both("what the mark tells is not judged again where it leaves", async (t, node, family) => {
  const left = await node.fromPod("a", podFrame("a", who.a[family], who.r[family], syn));
  node.takeMetrics();
  t.is((await node.run("to_network", left.frame, { mark: left.mark })).verdict, "stack");
  t.deepEqual([...node.takeMetrics()], []);
});

check("a next hop whose MAC is not known yet is no reason to give up (ipv4)", async (t, node) => {
  const result = await node.fromPod("a", podFrame("a", who.a.ipv4, "10.0.5.5", syn));
  isPassed(t, node, result, "redirect", "egress");
  t.is(result.mark, MARK_JUDGED);
});

both("the world is reached by the default route", async (t, node, family) => {
  const result = await node.fromPod("a", podFrame("a", who.a[family], who.w[family], syn));
  isPassed(t, node, result, "redirect", "egress");
  t.is(result.mark, MARK_JUDGED);
});

for (const [what, destinations] of [
  ["without a route", { ipv4: "10.0.9.1", ipv6: "fd00:9::1" }],
  ["by a device without Ethernet (tun-*)", { ipv4: "10.0.3.5", ipv6: "fd00:3::5" }],
  ["by a device that is no uplink", { ipv4: "203.0.113.5", ipv6: "2001:db8:113::5" }],
  ["for an address of the node", { ipv4: who.host.ipv4, ipv6: who.host.ipv6 }],
  ["for an address of loopback", { ipv4: "127.0.0.1", ipv6: "::1" }],
] as const) {
  both(`a packet ${what} is the stack's, untouched and marked`, async (t, node, family) => {
    const sent = podFrame("a", who.a[family], destinations[family], syn);
    isGivenUp(t, node, await node.fromPod("a", sent), sent);
  });
}

for (const ttl of [0, 1]) {
  both(`a hop limit of ${ttl} is left to the stack, which answers`, async (t, node, family) => {
    for (const destination of ["b", "r"] as const) {
      const sent = podFrame("a", who.a[family], who[destination][family], syn, { ttl });
      isGivenUp(t, node, await node.fromPod("a", sent), sent);
    }
    const sent = wireFrame(who.r[family], who.b[family], syn, { ttl });
    const result = await node.run("from_network", sent);
    isPassed(t, node, result, "stack", "ingress");
    t.deepEqual(result.frame, sent);
    t.is(result.mark, MARK_JUDGED);
  });
}

both("a hop limit of 2 is enough for one hop", async (t, node, family) => {
  for (const destination of ["b", "r"] as const) {
    const result = await node.fromPod("a", podFrame("a", who.a[family], who[destination][family], syn, { ttl: 2 }));
    isPassed(t, node, result, "redirect", "egress");
    t.is(result.parsed.ip?.ttl, 1);
  }
});

check("the checksum of an IPv4 header stays right for every hop limit and any sum", async (t, node) => {
  for (let ttl = 2; ttl < 256; ttl++) {
    const sent = podFrame("a", who.a.ipv4, who.b.ipv4, syn, { ttl, id: (ttl * 257) & 0xffff });
    isPassed(t, node, await node.fromPod("a", sent), "redirect", "egress");
  }
});

/** An MTU of a route holds for what is forwarded only where it is locked: the kernel's rule, for its own forwarding too. */
async function lockMtu(node: ProgramNode): Promise<void> {
  for (const route of ["10.0.4.0/24 via 192.0.2.2", "fd00:4::/64 via 2001:db8:f::2"])
    await run("ip", ["-n", node.netns, "route", "replace", ...route.split(" "), "mtu", "lock", "1400"]);
}

const mtuRoutes = [
  [1400, { ipv4: "10.0.4.5", ipv6: "fd00:4::5" }],
  [1500, { ipv4: who.r.ipv4, ipv6: who.r.ipv6 }],
] as const;
for (const [mtu, destinations] of mtuRoutes) {
  both(
    `what is larger than a path of ${mtu} bytes is the stack's, which fragments or tells`,
    async (t, node, family) => {
      await lockMtu(node);
      const fits = podFrame("a", who.a[family], destinations[family], sized(family, mtu));
      isPassed(t, node, await node.fromPod("a", fits), "redirect", "egress");
      const large = podFrame("a", who.a[family], destinations[family], sized(family, mtu + 1));
      isGivenUp(t, node, await node.fromPod("a", large), large);
    },
  );

  both(`segments still to be cut are measured one by one (${mtu} bytes)`, async (t, node, family) => {
    await lockMtu(node);
    const headers = family === "ipv4" ? 40 : 60;
    const sent = podFrame("a", who.a[family], destinations[family], sized(family, 3200));
    const fits = await node.fromPod("a", sent, { gsoSize: mtu - headers, gsoSegments: 3 });
    t.is(fits.verdict, "redirect");
    const large = await node.fromPod("a", sent, { gsoSize: mtu - headers + 1, gsoSegments: 3 });
    t.is(large.verdict, "stack");
    t.is(large.parsed.ip?.ttl, 64);
  });
}

both("between pods of a node no packet is too large", async (t, node, family) => {
  const result = await node.fromPod("a", podFrame("a", who.a[family], who.b[family], sized(family, 3000)));
  isPassed(t, node, result, "redirect", "egress");
});

check("IPv4 options are the stack's to act on, unless the other end is here", async (t, node) => {
  const options = { options: Buffer.from([1, 1, 1, 0]) };
  const remote = podFrame("a", who.a.ipv4, who.r.ipv4, syn, options);
  isGivenUp(t, node, await node.fromPod("a", remote), remote);
  const local = podFrame("a", who.a.ipv4, who.b.ipv4, syn, options);
  isPassed(t, node, await node.fromPod("a", local), "redirect", "egress");
});

/** Nobody may open anything towards b. */
function closeB(node: ProgramNode): void {
  putPolicy(node.maps, { set: 2, direction: "ingress", ports: [] });
  node.enforce("b", "ingress");
}

bothByEgress("without redirect_peer a pod gets its packet by the host side, marked", async (t, node, family) => {
  for (const [program, sent, direction] of [
    ["from_pod", podFrame("a", who.a[family], who.b[family], syn), "egress"],
    ["from_network", wireFrame(who.r[family], who.b[family], syn), "ingress"],
  ] as const) {
    const result = await node.run(program, sent);
    isPassed(t, node, result, "redirect", direction);
    t.is(result.mark, MARK_DELIVERED);
    macsAre(t, result, hostMac, who.b.mac);
    t.is(result.parsed.ip?.ttl, 63);
  }
});

bothByEgress("what is marked as delivered passes to_pod without another judgement", async (t, node, family) => {
  closeB(node);
  const sent = stackFrame("b", who.r[family], who.b[family], syn);
  const result = await node.run("to_pod", sent, { device: "b", mark: MARK_DELIVERED });
  t.is(result.verdict, "stack");
  t.deepEqual([...node.takeMetrics()], [], "it was counted where it was judged");
  t.deepEqual(await node.flows(family), []);
});

for (const [what, mark] of [
  ["no mark", 0],
  ["the mark of what was given to the stack", MARK_JUDGED],
  ["another mark", 0x0f00],
] as const) {
  bothByEgress(`with ${what} to_pod judges`, async (t, node, family) => {
    closeB(node);
    const sent = stackFrame("b", who.r[family], who.b[family], syn);
    await isDropped(t, node, await node.run("to_pod", sent, { device: "b", mark }), "policy", "ingress");
  });
}

both("with redirect_peer no mark spares a packet its judgement by to_pod", async (t, node, family) => {
  closeB(node);
  const sent = stackFrame("b", who.r[family], who.b[family], syn);
  const result = await node.run("to_pod", sent, { device: "b", mark: MARK_DELIVERED });
  await isDropped(t, node, result, "policy", "ingress");
});

/**
 * A packet without an Ethernet header that the test run of the kernel takes: that reads the EtherType at offset 12 and the IP version at
 * 14, which here is inside of the source address.
 */
const l3Sender = { ipv4: "8.0.69.7", ipv6: "2001:db8:86dd:6000::7" } as const;

for (const [name, tests, mark] of [
  ["into the pod", both, 0],
  ["by the host side", bothByEgress, MARK_DELIVERED],
] as const) {
  tests(`what comes by an L3 device goes ${name} with an Ethernet header in front`, async (t, node, family) => {
    const packet = ip(l3Sender[family], who.a[family], syn);
    const result = await node.run("from_network", packet, { device: "tun" });
    isPassed(t, node, result, "redirect", "ingress");
    t.is(result.mark, mark);
    macsAre(t, result, hostMac, who.a.mac);
    t.is(result.parsed.type, family === "ipv4" ? 0x0800 : 0x86dd);
    t.deepEqual(result.frame.subarray(14), ip(l3Sender[family], who.a[family], syn, { ttl: 63 }));
    const [flow] = await node.flows(family);
    t.is(flow?.initiator, `${l3Sender[family]}:40000`);
  });
}

both(
  "what an L3 device brings for nobody here, or at its last hop, gets no Ethernet header",
  async (t, node, family) => {
    for (const packet of [
      ip(l3Sender[family], who.host[family], syn),
      ip(l3Sender[family], who.a[family], syn, { ttl: 1 }),
    ]) {
      const result = await node.run("from_network", packet, { device: "tun" });
      t.is(result.verdict, "stack");
      t.deepEqual(result.frame, packet);
    }
  },
);

both("from the network, what is for no pod of this node is the stack's, unseen", async (t, node, family) => {
  const many = isIpv6(who.a[family]) ? ["ff02::1", "ff0e::5"] : ["224.0.0.5", "239.1.1.1", "255.255.255.255"];
  const unused = family === "ipv4" ? "10.0.1.200" : "fd00:1::200"; // of this node's pod CIDR
  for (const destination of [...many, unused, who.host[family], who.r[family]]) {
    for (const transport of [udp(5000, 53), echo(destination, "request", 7)]) {
      const sent = wireFrame(who.w[family], destination, transport);
      const result = await node.run("from_network", sent, { mark: foreignMark });
      t.is(result.verdict, "stack", destination);
      t.deepEqual(result.frame, sent);
      t.is(result.mark, foreignMark, "it was not judged");
    }
  }
  t.deepEqual([...node.takeMetrics()], []);
  t.deepEqual(await node.flows(family), []);
});

both("a pod that is gone gets nothing more by the network", async (t, node, family) => {
  const sent = wireFrame(who.r[family], who.a[family], syn);
  isPassed(t, node, await node.run("from_network", sent), "redirect", "ingress");
  node.maps.delete("endpoint_addr", { address: mapped(who.a[family]) });
  const result = await node.run("from_network", sent);
  t.is(result.verdict, "stack");
  t.deepEqual(result.frame, sent);
});

both("what a pod sends to many never leaves the node by a route", async (t, node, family) => {
  const many =
    family === "ipv4"
      ? ["224.0.0.5", "239.1.1.1", "255.255.255.255", "192.0.2.255"]
      : ["ff02::5", "ff05::2", "ff0e::5"];
  for (const destination of many) {
    const sent = podFrame("a", who.a[family], destination, udp(5000, 53));
    isGivenUp(t, node, await node.fromPod("a", sent), sent);
  }
});

both("what the stack brought to a pod goes back through it, to a pod of this node too", async (t, node, family) => {
  for (const client of [who.r[family], who.b[family]]) {
    const opened = await node.run("to_pod", stackFrame("a", client, who.a[family], syn), { device: "a" });
    isPassed(t, node, opened, "stack", "ingress");
    const sent = podFrame("a", who.a[family], client, tcp(80, 40000, "SA"));
    isGivenUp(t, node, await node.fromPod("a", sent), sent);
  }
  // What the network brought does not: another flow of the same ends.
  isPassed(
    t,
    node,
    await node.run("from_network", wireFrame(who.r[family], who.a[family], tcp(40001, 80, "S"))),
    "redirect",
    "ingress",
  );
  const back = podFrame("a", who.a[family], who.r[family], tcp(80, 40001, "SA"));
  isPassed(t, node, await node.fromPod("a", back), "redirect", "egress");
});

both("bytes and packets are counted once for each direction", async (t, node, family) => {
  const out = podFrame("a", who.a[family], who.r[family], syn);
  const back = wireFrame(who.r[family], who.a[family], tcp(80, 40000, "SA"));
  const near = podFrame("a", who.a[family], who.b[family], syn);
  const own = stackFrame("a", who.host[family], who.a[family], tcp(50000, 80, "S"));
  await node.fromPod("a", out);
  await node.fromPod("a", near);
  await node.run("from_network", back);
  await node.run("to_pod", own, { ownStack: true });
  t.deepEqual(Object.fromEntries(node.takeMetrics()), {
    "0/egress": { packets: 2, bytes: out.length + near.length },
    "0/ingress": { packets: 2, bytes: back.length + own.length },
  });
});

both("a frame that the link padded is measured by its IP header", async (t, node, family) => {
  const padded = Buffer.concat([podFrame("a", who.a[family], who.r[family], sized(family, 1480)), Buffer.alloc(40)]);
  const result = await node.fromPod("a", padded);
  isPassed(t, node, result, "redirect", "egress");
});
