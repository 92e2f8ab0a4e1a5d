import { ethernet, EtherType, extension, Protocol, raw, tcp, udp } from "../../support/packets.ts";
import { onlyWeb, seeds } from "../../support/packets-seeds.ts";
import { podFrame, podMacs, who, wireFrame } from "../../support/programs-frames.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { check, both } = programTests();

const l3 = 14;
/** What a test run needs of a packet. */
const ipHeader = (frame: Buffer) => (frame.readUInt16BE(12) === EtherType.ipv4 ? 20 : 40);

for (const [what, whole] of seeds) {
  check(
    `${what}: no prefix of the packet passes that does not carry its ports, and none of another length`,
    async (t, node) => {
      await node.fromPod("a", podFrame("a", who.a.ipv4, who.r.ipv4, udp(1, 80))); // a flow, so that something could be related
      for (let length = l3 + ipHeader(whole); length < whole.length; length++) {
        const result = await node.fromPod("a", whole.subarray(0, length));
        // the IP header tells of more than there is
        t.is(result.verdict, "drop", `${length} of ${whole.length} bytes`);
      }
    },
  );
}

for (const [what, whole] of seeds) {
  check(`${what}: cut off with a header that tells so, only whole ports get a verdict`, async (t, node) => {
    onlyWeb(node);
    const family = whole.readUInt16BE(12) === EtherType.ipv4 ? "ipv4" : "ipv6";
    const full = await node.fromPod("a", whole);
    for (let length = l3 + ipHeader(whole); length < whole.length; length++) {
      const cut = Buffer.from(whole.subarray(0, length));
      if (family === "ipv4") cut.writeUInt16BE(length - l3, l3 + 2);
      else cut.writeUInt16BE(length - l3 - 40, l3 + 4);
      await node.maps.clear(family === "ipv4" ? "ct4" : "ct6");
      const result = await node.fromPod("a", cut);
      t.true(["drop", full.verdict].includes(result.verdict), `${length} of ${whole.length} bytes`);
      if (result.verdict !== "drop" && full.parsed.ip?.destinationPort !== null)
        t.is(result.parsed.ip?.destinationPort, 80, `${length} bytes`);
    }
  });
}

both("what a link appends is no part of the packet: no header is read there", async (t, node, family) => {
  onlyWeb(node);
  const header = family === "ipv4" ? 20 : 40;
  const whole = podFrame("a", who.a[family], who.r[family], tcp(40000, 80, "S"));
  for (const told of [0, 4, 8, 19]) {
    const lie = Buffer.from(whole);
    if (family === "ipv4") lie.writeUInt16BE(header + told, l3 + 2);
    else lie.writeUInt16BE(told, l3 + 4);
    await isDropped(t, node, await node.fromPod("a", lie), "malformed", "egress");
  }
  const padded = Buffer.concat([whole, Buffer.alloc(10)]);
  t.is((await node.fromPod("a", padded)).verdict, "redirect");
});

const lies: readonly (readonly [string, Buffer])[] = [
  ["IPv4 with a total length of 0", podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { claimedLength: 0 })],
  [
    "IPv4 with a total length below its header",
    podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { claimedLength: 19 }),
  ],
  [
    "IPv4 with a total length beyond its end",
    podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { claimedLength: 37 }),
  ],
  ["IPv4 with a header of 16 bytes", podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { firstByte: 0x44 })],
  [
    "IPv4 with a header of 60 bytes that are not there",
    podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { firstByte: 0x4f }),
  ],
  ["IPv6 of version 4", podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), { firstByte: 0x40 })],
  ["IPv6 with a payload beyond its end", podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), { claimedLength: 17 })],
  [
    "IPv6 with no payload and ports behind it",
    podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), { claimedLength: 0 }),
  ],
  [
    "an IPv6 jumbogram",
    podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), {
      claimedLength: 0,
      extensions: [{ protocol: Protocol.hopByHop, bytes: Buffer.from([0, 0, 0xc2, 4, 0, 1, 0, 0]) }],
    }),
  ],
  ["IPv6 from an IPv4-mapped address", podFrame("a", "::ffff:10.0.1.10", who.r.ipv6, udp(40000, 80))],
  ["IPv6 to an IPv4-mapped address", podFrame("a", who.a.ipv6, "::ffff:10.0.1.11", udp(40000, 80))],
  ["TCP with a header of 16 bytes", podFrame("a", who.a.ipv4, who.r.ipv4, tcp(40000, 80, "S", { headerWords: 4 }))],
  [
    "TCP with a header beyond the packet",
    podFrame("a", who.a.ipv4, who.r.ipv4, tcp(40000, 80, "S", { headerWords: 6 })),
  ],
];
for (const [what, packet] of lies) {
  check(`${what} is malformed`, async (t, node) => {
    await isDropped(t, node, await node.fromPod("a", packet), "malformed", "egress");
    t.deepEqual([...(await node.flows("ipv4")), ...(await node.flows("ipv6"))], []);
  });
}

check(
  "the network's IPv6 packet to an IPv4-mapped address does not reach the pod that has that IPv4 address",
  async (t, node) => {
    const packet = wireFrame(who.r.ipv6, "::ffff:10.0.1.10", udp(40000, 80));
    await isDropped(t, node, await node.run("from_network", packet), "malformed", "ingress");
  },
);

check("IPv6 with no next header has no ports, and passes where every protocol may", async (t, node) => {
  const nothing = raw(Protocol.noNext, Buffer.alloc(0));
  isPassed(t, node, await node.fromPod("a", podFrame("a", who.a.ipv6, who.r.ipv6, nothing)), "redirect", "egress");
  await node.maps.clear("ct6");
  onlyWeb(node);
  t.is((await node.fromPod("a", podFrame("a", who.a.ipv6, who.r.ipv6, nothing))).verdict, "drop");
});

for (const count of [1, 5, 6, 7, 8]) {
  check(`${count} IPv6 extension headers are ${count <= 6 ? "followed" : "too many"}`, async (t, node) => {
    onlyWeb(node);
    const extensions = Array.from({ length: count }, (_, i) =>
      extension(i === 0 ? Protocol.hopByHop : Protocol.destination),
    );
    const packet = (port: number) => podFrame("a", who.a.ipv6, who.r.ipv6, tcp(40000, port, "S"), { extensions });
    if (count <= 6) {
      isPassed(t, node, await node.fromPod("a", packet(80)), "redirect", "egress");
      await node.takeEvents();
      await isDropped(t, node, await node.fromPod("a", packet(81)), "policy", "egress");
    } else await isDropped(t, node, await node.fromPod("a", packet(80)), "extensionHeaders", "egress");
  });
}

for (const [kind, words] of [
  [Protocol.hopByHop, 0],
  [Protocol.routing, 3],
  [Protocol.destination, 30],
  [Protocol.ah, 4],
  [Protocol.ah, 5],
] as const) {
  check(`the ports behind extension header ${kind} of length ${words} are found`, async (t, node) => {
    onlyWeb(node);
    const packet = (port: number) =>
      podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, port), { extensions: [extension(kind, words)] });
    t.is((await node.fromPod("a", packet(80))).verdict, "redirect");
    t.is((await node.fromPod("a", packet(81))).verdict, "drop");
  });
}

check("IPv6 extension headers of many hundred bytes are refused", async (t, node) => {
  for (const words of [120, 150, 255]) {
    const packet = podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), {
      extensions: [extension(Protocol.destination, words)],
    });
    await isDropped(t, node, await node.fromPod("a", packet), "extensionHeaders", "egress");
  }
});

check("an IPv6 extension header that tells of more than there is is malformed", async (t, node) => {
  const long = Buffer.from(extension(Protocol.destination).bytes);
  long[1] = 30;
  const packet = podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 80), {
    extensions: [{ protocol: Protocol.destination, bytes: long }],
  });
  await isDropped(t, node, await node.fromPod("a", packet), "malformed", "egress");
});

for (const bytes of [4, 20, 40]) {
  check(
    `the ports behind ${bytes} bytes of IPv4 options are found, and the stack acts on the options`,
    async (t, node) => {
      onlyWeb(node);
      const options = Buffer.alloc(bytes, 1);
      isPassed(
        t,
        node,
        await node.fromPod("a", podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 80), { options })),
        "stack",
        "egress",
      );
      await node.takeEvents();
      await isDropped(
        t,
        node,
        await node.fromPod("a", podFrame("a", who.a.ipv4, who.r.ipv4, udp(40000, 81), { options })),
        "policy",
        "egress",
      );
    },
  );
}

check("what is not for a pod of this node is the stack's, malformed or not", async (t, node) => {
  const foreign = wireFrame(who.w.ipv4, who.host.ipv4, udp(40000, 80), { claimedLength: 9 });
  t.is((await node.run("from_network", foreign)).verdict, "stack");
  t.is((await node.run("from_network", ethernet(podMacs("a"), EtherType.lldp, Buffer.alloc(46)))).verdict, "stack");
});
