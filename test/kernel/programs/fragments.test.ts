/** Fragments: all of a datagram are judged by the ports of its first one, and none hides them. */
import type { ExecutionContext } from "ava";
import { echo, ethernet, EtherType, extension, ip, Protocol, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, podMacs, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { check, both } = programTests();

const data = Buffer.alloc(100, 7);
const question = (port: number) => udp(40000, port, { data });
const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;

/** Datagrams of 108 bytes in three parts. */
const parts = [
  { offset: 0, length: 40 },
  { offset: 40, length: 40 },
  { offset: 80, length: 28 },
] as const;

function only53(node: ProgramNode, direction: "egress" | "ingress"): void {
  putPolicy(node.maps, {
    set: 1,
    direction,
    allows: 1,
    peers: { 0: [0] },
    ports: [
      { protocol: 17, port: 53, groups: [0] },
      { protocol: 1, port: 0x0800, length: 8, groups: [0] },
      { protocol: 58, port: 0x8000, length: 8, groups: [0] },
    ],
  });
  node.enforce("a", direction);
}

const send = (
  node: ProgramNode,
  family: Family,
  transport: Transport,
  part: (typeof parts)[number],
  id: number,
): Promise<RunResult> => node.fromPod("a", podFrame("a", who.a[family], who.r[family], transport, { part, id }));

for (const [what, transport] of [
  ["UDP", () => question(53)],
  [
    "an echo request",
    (f: Family) => ({
      ...echo(who.a[f], "request", 9),
      bytes: (s: Uint8Array, d: Uint8Array) => Buffer.concat([echo(who.a[f], "request", 9).bytes(s, d), data]),
    }),
  ],
] as const) {
  both(
    `every fragment of ${what} passes that the first one's ports allow, and they are one flow`,
    async (t, node, family) => {
      only53(node, "egress");
      for (const part of parts)
        isPassed(t, node, await send(node, family, transport(family), part, 1), "redirect", "egress");
      t.is((await node.flows(family)).length, 1);
      t.is((await node.maps.entries("fragment")).length, 1);
    },
  );
}

both("every fragment is dropped whose first one's ports are not allowed", async (t, node, family) => {
  only53(node, "egress");
  for (const part of parts)
    await isDropped(t, node, await send(node, family, question(54), part, 1), "policy", "egress");
});

both("a fragment that comes before the first one is dropped, and passes afterwards", async (t, node, family) => {
  only53(node, "egress");
  await isDropped(t, node, await send(node, family, question(53), parts[1], 1), "fragment", "egress");
  await send(node, family, question(53), parts[0], 1);
  t.is((await send(node, family, question(53), parts[2], 1)).verdict, "redirect");
  t.is((await send(node, family, question(53), parts[1], 1)).verdict, "redirect");
});

both("a fragment of another datagram does not borrow the ports", async (t, node, family) => {
  only53(node, "egress");
  await send(node, family, question(53), parts[0], 1);
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await send(node, family, question(53), parts[1], 2), "fragment", "egress");
  const other = podFrame("a", who.a[family], who.w[family], question(53), { part: parts[1], id: 1 });
  await isDropped(t, node, await node.fromPod("a", other), "fragment", "egress");
  const protocol = podFrame(
    "a",
    who.a[family],
    who.r[family],
    { ...tcp(40000, 53, "A", { data }), protocol: 6 },
    { part: parts[1], id: 1 },
  );
  await isDropped(t, node, await node.fromPod("a", protocol), "fragment", "egress");
});

both("fragments from the network and from the stack are judged alike", async (t, node, family) => {
  only53(node, "ingress");
  const from = async (make: typeof wireFrame, run: (frame: Buffer) => Promise<RunResult>, id: number) => {
    for (const port of [53, 54]) {
      for (const part of parts) {
        const result = await run(make(who.r[family], who.a[family], question(port), { part, id: id + port }));
        t.is(result.verdict === "drop", port === 54);
      }
    }
  };
  await from(wireFrame, (frame) => node.run("from_network", frame), 100);
  await from(
    (s, d, x, o) => stackFrame("a", s, d, x, o),
    (frame) => node.run("to_pod", frame),
    200,
  );
});

both("fragments to a service all go to one backend", async (t, node, family) => {
  const backends = Array.from({ length: 8 }, (_, i) => ({
    address: family === "ipv4" ? `10.0.2.${i + 1}` : `fd00:2::${i + 1}`,
    port: 5353,
  }));
  putService(node.maps, { id: 1, address: vip[family], port: 53, protocol: 17, backends });
  const seen = new Set<string | undefined>();
  for (const part of parts) {
    const result = await node.fromPod("a", podFrame("a", who.a[family], vip[family], question(53), { part, id: 1 }));
    t.is(result.verdict, "redirect");
    seen.add(result.parsed.ip?.destination);
    if (part.offset === 0) t.is(result.parsed.ip?.destinationPort, 5353);
    else t.deepEqual(result.parsed.ip?.payload.subarray(0, 8), data.subarray(0, 8), "no port is written into the data");
  }
  t.is(seen.size, 1);
});

both("a reassembled datagram through a service has a right checksum", async (t, node, family) => {
  putService(node.maps, {
    id: 1,
    address: vip[family],
    port: 53,
    protocol: 17,
    backends: [{ address: who.r[family], port: 5353 }],
  });
  const pieces: Buffer[] = [];
  for (const part of parts) {
    const result = await node.fromPod("a", podFrame("a", who.a[family], vip[family], question(53), { part, id: 1 }));
    pieces.push(result.parsed.ip?.payload ?? Buffer.alloc(0));
  }
  const expected = ip(who.a[family], who.r[family], udp(40000, 5353, { data })).subarray(family === "ipv4" ? 20 : 40);
  t.deepEqual(Buffer.concat(pieces), expected);
});

for (const length of [8, 16] as const) {
  both(
    `a first fragment of ${length} bytes that cuts the TCP header is malformed (RFC 1858)`,
    async (t, node, family) => {
      const transport = tcp(40000, 80, "S", { data });
      const tiny = podFrame("a", who.a[family], who.r[family], transport, { part: { offset: 0, length } });
      await isDropped(t, node, await node.fromPod("a", tiny), "malformed", "egress");
    },
  );
}

check("IPv6: a fragment header that is all of the packet (an atomic fragment) is no fragment", async (t, node) => {
  only53(node, "egress");
  const atomic = (port: number) =>
    podFrame("a", who.a.ipv6, who.r.ipv6, question(port), { part: { offset: 0, length: 108 }, id: 1 });
  t.is((await node.fromPod("a", atomic(53))).verdict, "redirect");
  t.is((await node.fromPod("a", atomic(54))).verdict, "drop");
  t.is((await node.maps.entries("fragment")).length, 0);
});

check("IPv6: extension headers before and behind the fragment header of a first fragment", async (t, node) => {
  only53(node, "egress");
  const options = { extensions: [extension(Protocol.hopByHop)], innerExtensions: [extension(Protocol.destination)] };
  const first = (port: number) =>
    podFrame("a", who.a.ipv6, who.r.ipv6, question(port), { ...options, part: { offset: 0, length: 48 }, id: 1 });
  t.is((await node.fromPod("a", first(53))).verdict, "redirect");
  t.is((await node.fromPod("a", first(54))).verdict, "drop");
});

check("IPv6: a first fragment that ends before its ports is malformed (RFC 7112)", async (t, node) => {
  const options = { innerExtensions: [extension(Protocol.destination, 4)] };
  const hidden = podFrame("a", who.a.ipv6, who.r.ipv6, question(53), { ...options, part: { offset: 0, length: 40 } });
  await isDropped(t, node, await node.fromPod("a", hidden), "malformed", "egress");
});

check("IPv6: a second fragment header, which would hide the ports, is refused", async (t, node) => {
  await twiceFragmented(t, node, 1, "extensionHeaders");
});

async function twiceFragmented(
  t: ExecutionContext,
  node: ProgramNode,
  outerMore: 0 | 1,
  reason: "extensionHeaders",
): Promise<void> {
  const outer = Buffer.alloc(8);
  outer.writeUInt16BE(outerMore, 2);
  const inner = Buffer.alloc(8);
  inner.writeUInt16BE(8, 2); // a later fragment of another datagram
  const packet = ip(who.a.ipv6, who.r.ipv6, question(53), {
    extensions: [
      { protocol: Protocol.fragment, bytes: outer },
      { protocol: Protocol.fragment, bytes: inner },
    ],
  });
  await isDropped(t, node, await node.fromPod("a", ethernet(podMacs("a"), EtherType.ipv6, packet)), reason, "egress");
}

check("IPv6: neighbour discovery does not come in fragments (RFC 6980)", async (t, node) => {
  const solicitation = {
    protocol: 58,
    bytes: () => Buffer.concat([Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(64)]),
  };
  const packet = podFrame("a", "fe80::a", "ff02::1", solicitation, { ttl: 255, part: { offset: 0, length: 40 } });
  await isDropped(t, node, await node.fromPod("a", packet), "spoofedAddress", "egress");
});
