/** Who may send what: a pod speaks for its own addresses and MAC only, and what a link says to find its neighbours stays honest. */
import { EndpointFlags } from "../../../src/native/layouts.gen.ts";
import type { ReasonName } from "../../../src/model/reasons.gen.ts";
import {
  arp,
  echo,
  EtherType,
  ethernet,
  extension,
  frame,
  icmp6,
  mac,
  neighbour,
  Protocol,
  tcp,
  udp,
} from "../../support/packets.ts";
import { podFrame, podMacs, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { Verdict } from "../../support/programs.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { check, both } = programTests();

both("a pod sends from its own address", async (t, node, family) => {
  const result = await node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(40000, 80, "S")));
  isPassed(t, node, result, "redirect", "egress");
});

for (const source of ["b", "r", "host", "w", "new"] as const) {
  both(`a pod cannot send from the address of ${source}`, async (t, node, family) => {
    const result = await node.fromPod("a", podFrame("a", who[source][family], who.r[family], tcp(40000, 80, "S")));
    await isDropped(t, node, result, "spoofedAddress", "egress");
    t.deepEqual(await node.flows(family), []);
  });
}

both("a pod without an address of a family cannot send in it", async (t, node, family) => {
  node.putPod("a", family === "ipv4" ? { ipv4: 0 } : { ipv6: new Uint8Array(16) });
  const zero = family === "ipv4" ? "0.0.0.0" : "::";
  for (const source of [who.a[family], zero]) {
    const result = await node.fromPod("a", podFrame("a", source, who.r[family], udp(68, 67)));
    await isDropped(t, node, result, "spoofedAddress", "egress");
  }
});

both("a pod cannot send from another MAC", async (t, node, family) => {
  const macs = { source: who.b.mac, destination: podMacs("a").destination };
  const result = await node.fromPod("a", frame(macs, who.a[family], who.r[family], tcp(40000, 80, "S")));
  await isDropped(t, node, result, "spoofedMac", "egress");
});

const senderCases: readonly (readonly [string, string, Buffer, Verdict, ReasonName | null])[] = [
  ["its own address", who.a.ipv4, who.a.mac, "stack", null],
  ["no address (a probe)", "0.0.0.0", who.a.mac, "stack", null],
  ["another pod's address", who.b.ipv4, who.a.mac, "drop", "spoofedAddress"],
  ["the node's address", who.host.ipv4, who.a.mac, "drop", "spoofedAddress"],
  ["its address at another MAC", who.a.ipv4, who.b.mac, "drop", "spoofedMac"],
];
for (const [what, sender, senderMac, verdict, reason] of senderCases) {
  check(`ARP of a pod that tells ${what}: ${verdict}`, async (t, node) => {
    for (const operation of ["request", "reply"] as const) {
      const packet = arp(podMacs("a"), { operation, senderMac, sender, target: "169.254.1.1" });
      const result = await node.fromPod("a", packet);
      if (reason === null) t.is(result.verdict, "stack");
      else await isDropped(t, node, result, reason, "egress");
    }
  });
}

check("ARP that is cut off or of another kind is dropped", async (t, node) => {
  const whole = arp(podMacs("a"), {
    operation: "request",
    senderMac: who.a.mac,
    sender: who.a.ipv4,
    target: "169.254.1.1",
  });
  for (let length = 14; length < 42; length++)
    t.is((await node.fromPod("a", whole.subarray(0, length))).verdict, "drop", `${length} bytes`);
  const odd = Buffer.from(whole);
  odd[18] = 8; // hardware address length: the fields behind it are elsewhere
  t.is((await node.fromPod("a", odd)).verdict, "drop");
});

const local = "fe80::a";
const discovery: readonly (readonly [string, string, ReturnType<typeof neighbour>, number, Verdict])[] = [
  ["a solicitation from its address", who.a.ipv6, neighbour(135, "fe80::1"), 255, "stack"],
  ["a solicitation from its link-local address", local, neighbour(135, "fe80::1"), 255, "stack"],
  ["a probe for its own address (DAD)", "::", neighbour(135, who.a.ipv6), 255, "stack"],
  ["an advertisement of its address", who.a.ipv6, neighbour(136, who.a.ipv6), 255, "stack"],
  ["an advertisement of its link-local address", local, neighbour(136, local), 255, "stack"],
  ["an advertisement of another pod's address", who.a.ipv6, neighbour(136, who.b.ipv6), 255, "drop"],
  ["an advertisement of the node's address", local, neighbour(136, who.host.ipv6), 255, "drop"],
  ["a solicitation from another pod's address", who.b.ipv6, neighbour(135, "fe80::1"), 255, "drop"],
  ["a solicitation that was routed", local, neighbour(135, "fe80::1"), 64, "drop"],
  ["a router solicitation", local, icmp6(133, 0), 255, "stack"],
  ["a router advertisement", local, icmp6(134, 0, 0x40000708, Buffer.alloc(8)), 255, "drop"],
  ["a redirect", local, icmp6(137, 0, 0, Buffer.alloc(32)), 255, "drop"],
  ["a multicast listener report", local, icmp6(143, 0, 1, Buffer.alloc(20)), 1, "stack"],
  ["a multicast listener query", local, icmp6(130, 0, 0, Buffer.alloc(16)), 1, "drop"],
  ["an echo request from its link-local address", local, echo("::1", "request", 7), 255, "drop"],
];
for (const [what, source, transport, ttl, verdict] of discovery) {
  check(`${what} of a pod: ${verdict}`, async (t, node) => {
    const report = transport.bytes(Buffer.alloc(16), Buffer.alloc(16))[0] === 143;
    const extensions = report ? [extension(Protocol.hopByHop)] : [];
    const result = await node.fromPod("a", podFrame("a", source, "ff02::1", transport, { ttl, extensions }));
    if (verdict === "stack") t.is(result.verdict, "stack");
    else await isDropped(t, node, result, "spoofedAddress", "egress");
    t.deepEqual(await node.flows("ipv6"), [], "what stays on the link is no flow");
  });
}

check("neighbour discovery of the node reaches a pod, even a closed one", async (t, node) => {
  node.putPod("a", { flags: EndpointFlags.closed });
  for (const type of [135, 136] as const) {
    const packet = stackFrame("a", "fe80::1", who.a.ipv6, neighbour(type, type === 135 ? who.a.ipv6 : "fe80::1"), {
      ttl: 255,
    });
    t.is((await node.run("to_pod", packet)).verdict, "stack");
  }
});

for (const [what, type] of [
  ["LLDP", EtherType.lldp],
  ["a VLAN tag inside of the frame", EtherType.vlan],
  ["an IEEE 802.3 length", 60],
] as const) {
  check(`${what} is neither sent by a pod nor to it`, async (t, node) => {
    const payload = Buffer.alloc(60);
    await isDropped(
      t,
      node,
      await node.fromPod("a", ethernet(podMacs("a"), type, payload)),
      "unsupportedProtocol",
      "egress",
    );
    const toPod = ethernet({ source: podMacs("a").destination, destination: who.a.mac }, type, payload);
    await isDropped(t, node, await node.run("to_pod", toPod), "unsupportedProtocol", "ingress");
  });
}

both("a device without an endpoint drops both ways", async (t, node, family) => {
  const out = podFrame("a", who.a[family], who.r[family], tcp(40000, 80, "S"));
  await isDropped(t, node, await node.run("from_pod", out, { device: "other" }), "unknownEndpoint", "egress");
  const back = stackFrame("a", who.r[family], who.a[family], tcp(80, 40000, "SA"));
  await isDropped(t, node, await node.run("to_pod", back, { device: "other" }), "unknownEndpoint", "ingress");
});

both("a closed endpoint neither sends nor gets anything", async (t, node, family) => {
  node.putPod("a", { flags: EndpointFlags.closed });
  const mine = who.a[family];
  await isDropped(
    t,
    node,
    await node.fromPod("a", podFrame("a", mine, who.r[family], tcp(40000, 80, "S"))),
    "notReady",
    "egress",
  );
  const fromStack = stackFrame("a", who.host[family], mine, tcp(40000, 80, "S"));
  await isDropped(t, node, await node.run("to_pod", fromStack), "notReady", "ingress");
  const fromWire = wireFrame(who.r[family], mine, tcp(40000, 80, "S"));
  await isDropped(t, node, await node.run("from_network", fromWire), "notReady", "ingress");
  const fromB = podFrame("b", who.b[family], mine, tcp(40000, 80, "S"));
  await isDropped(t, node, await node.fromPod("b", fromB), "notReady", "egress");
  t.deepEqual(await node.flows(family), []);
});

for (const source of ["b", "a", "host"] as const) {
  both(`the network cannot send from the address of ${source}, which is here`, async (t, node, family) => {
    const packet = wireFrame(who[source][family], who.a[family], tcp(40000, 80, "S"));
    await isDropped(t, node, await node.run("from_network", packet), "spoofedAddress", "ingress");
  });
}

both("the network cannot slip into a flow that has both ends here", async (t, node, family) => {
  await node.fromPod("b", podFrame("b", who.b[family], who.a[family], tcp(40000, 80, "S")));
  await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], tcp(50000, 80, "S")));
  t.is((await node.flows(family)).length, 2);
  node.takeMetrics();
  for (const [source, port] of [
    [who.b, 40000],
    [who.host, 50000],
  ] as const) {
    const packet = wireFrame(source[family], who.a[family], tcp(port, 80, "A"));
    await isDropped(t, node, await node.run("from_network", packet), "spoofedAddress", "ingress");
  }
});

for (const [family, source] of [
  ["ipv4", "127.0.0.1"],
  ["ipv4", "224.0.0.5"],
  ["ipv4", "255.255.255.255"],
  ["ipv4", "0.0.0.0"],
  ["ipv6", "::1"],
  ["ipv6", "::"],
  ["ipv6", "ff02::1"],
] as const) {
  check(`the network cannot send to a pod from ${source}, which is nobody's`, async (t, node) => {
    const packet = wireFrame(source, who.a[family], udp(40000, 80));
    await isDropped(t, node, await node.run("from_network", packet), "spoofedAddress", "ingress");
  });
}

check("ff: the MAC of nobody is not a pod's", async (t, node) => {
  const macs = { source: mac("ff:ff:ff:ff:ff:ff"), destination: podMacs("a").destination };
  const result = await node.fromPod("a", frame(macs, who.a.ipv4, who.r.ipv4, udp(1, 2)));
  await isDropped(t, node, result, "spoofedMac", "egress");
});
