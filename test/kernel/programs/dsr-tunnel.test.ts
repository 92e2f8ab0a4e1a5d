/** Direct server return in packets of the node's own: what routers between nodes see has neither options nor a client's address. */
import { bytesOf, ip, Protocol, tcp, type Transport, udp } from "../../support/packets.ts";
import { parseIp } from "../../support/packets-parse.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { ipv4Number } from "../../support/programs-maps.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { mapped, putService } from "../../support/programs-maps.ts";
import { isPassed, programTests } from "../../support/programs-test.ts";

const { both, check } = programTests({ config_dsr_tunnel: 1 }, {}, ["tc", "xdp"]);

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const outer = { ipv4: 20, ipv6: 40 } as const;
const room = { ipv4: 8, ipv6: 24 } as const;
const inside = { ipv4: 4, ipv6: 41 } as const;

/** The packets that this node makes have another one's address, so that it takes them for that one's when they come back. */
function serve(node: ProgramNode, family: Family, protocol: number = Protocol.tcp): void {
  const backends = [{ address: who.r[family], port: 8080 }];
  putService(node.maps, { id: 5, address: vip[family], port: 80, protocol, backends, outside: true, dsr: true });
  const own = { ipv4: ipv4Number(who.node2.ipv4), ipv6: bytesOf(who.node2.ipv6) };
  node.maps.put("device_address", { ifindex: node.index.up }, own);
}

/** From now on the backend is a pod of this node. */
function becomeBackend(node: ProgramNode): void {
  const pod = node.putPod("a", { ipv4: ipv4Number(who.r.ipv4), ipv6: bytesOf(who.r.ipv6) });
  for (const family of ["ipv4", "ipv6"] as const)
    node.maps.put("endpoint_addr", { address: mapped(who.r[family]) }, pod);
}

const asks = (node: ProgramNode, family: Family, transport: Transport) =>
  node.run("from_network", wireFrame(who.w[family], vip[family], transport));

const way = ({ parsed: { ip: seen } }: RunResult) =>
  `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;

for (const [what, protocol, make] of [
  ["TCP", Protocol.tcp, (letters: string) => tcp(40000, 80, letters)],
  ["UDP", Protocol.udp, () => udp(40000, 80)],
] as const) {
  both(
    `${what}: there in a packet of the node's, out of it into the pod, back as the service`,
    async (t, node, family) => {
      serve(node, family, protocol);
      const sent = wireFrame(who.w[family], vip[family], make("S"));
      const passed = await node.run("from_network", sent);
      isPassed(t, node, passed, "redirect", "ingress");
      t.is(passed.frame.length, sent.length + outer[family] + room[family]);
      t.is(passed.parsed.ip?.source, who.node2[family]);
      t.is(passed.parsed.ip?.destination, who.r[family]);
      t.is(passed.parsed.ip?.protocol, inside[family]);
      t.is(passed.parsed.ip?.ttl, 63);
      t.is(passed.frame[14], family === "ipv4" ? 0x45 : 0x60, "no options outside");
      const inner = parseIp(passed.frame.subarray(14 + outer[family]));
      t.is(`${inner.source}:${inner.sourcePort} > ${inner.destination}`, `${who.w[family]}:40000 > ${who.r[family]}`);
      t.is(inner.ttl, 63);

      const later = await asks(node, family, make("A"));
      const carries = protocol === Protocol.udp ? room[family] : 0;
      t.is(later.frame.length, sent.length + outer[family] + carries, "all of its packets go so");

      becomeBackend(node);
      for (const [frame, length] of [
        [passed.frame, sent.length],
        [later.frame, sent.length],
      ] as const) {
        node.takeMetrics();
        const arrived = await node.run("from_network", frame);
        isPassed(t, node, arrived, "redirect", "ingress");
        t.is(way(arrived), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
        t.is(arrived.frame.length, length, "the pod sees a plain packet");
      }
      const reply = protocol === Protocol.tcp ? tcp(8080, 40000, "SA") : udp(8080, 40000);
      const answered = await node.fromPod("a", podFrame("a", who.r[family], who.w[family], reply));
      t.is(way(answered), `${vip[family]}:80 > ${who.w[family]}:40000`);
      t.deepEqual(wrongChecksums(answered.frame), []);
    },
  );
}

/* Those that fit are sent in e2e/services-narrow.test.ts: test runs make no segments that a kernel would wrap. */
both("segments that are still to be cut leave room for the packet around each", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  const headers = (family === "ipv4" ? 20 : 40) + 20;
  const sent = wireFrame(who.w[family], vip[family], tcp(40000, 80, "A", { data: Buffer.alloc(2400, 3) }));
  const large = await node.run("from_network", sent, { gsoSize: 1501 - outer[family] - headers, gsoSegments: 2 });
  t.is(large.parsed.ip?.destination, who.w[family]);
  t.is(large.parsed.ip?.payload.readUInt32BE(4), 1500 - outer[family], "the client is told");
});

both(
  "what would be too large with the packet around it: the client is told how large it may be",
  async (t, node, family) => {
    serve(node, family);
    await asks(node, family, tcp(40000, 80, "S"));
    const headers = (family === "ipv4" ? 20 : 40) + 20;
    const most = 1500 - outer[family] - headers;
    const large = wireFrame(who.w[family], vip[family], tcp(40000, 80, "A", { data: Buffer.alloc(most + 1, 3) }));
    const answer = await node.run("from_network", large);
    t.is(answer.verdict, "redirect");
    t.is(answer.parsed.ip?.destination, who.w[family]);
    t.is(answer.parsed.ip?.source, vip[family]);
    t.is(answer.parsed.ip?.payload.readUInt32BE(4), 1500 - outer[family]);
    t.deepEqual(answer.parsed.ip?.payload.subarray(8), large.subarray(14, 14 + 512));
    t.deepEqual(wrongChecksums(answer.frame), []);
    const fits = await asks(node, family, tcp(40000, 80, "A", { data: Buffer.alloc(most, 3) }));
    t.is(fits.frame.length, 14 + 1500);
  },
);

both("only what another node sent is taken out, and only for the pod that it was sent to", async (t, node, family) => {
  serve(node, family);
  const inner = ip(who.w[family], who.r[family], tcp(40000, 8080, "A"));
  const elsewhere = ip(who.w[family], who.b[family], tcp(40000, 8080, "A"));
  becomeBackend(node);
  const around = (packet: Buffer): Transport => ({ protocol: inside[family], bytes: () => packet });
  for (const [what, source, packet] of [
    ["a host outside", who.w[family], inner],
    ["a pod", who.b[family], inner],
    ["a node, for another pod", who.node2[family], elsewhere],
  ] as const) {
    const frame = wireFrame(source, who.r[family], around(packet));
    const { verdict, frame: left } = await node.run("from_network", frame);
    t.true(verdict === "drop" || left.length === frame.length, what);
  }
  const cut = wireFrame(who.node2[family], who.r[family], around(inner.subarray(0, 12)));
  t.is((await node.run("from_network", cut)).verdict, "drop", "cut off");
});

check("the pod's policy judges the client, not the node that brings him", async (t, node) => {
  serve(node, "ipv4");
  const passed = await asks(node, "ipv4", tcp(40000, 80, "S"));
  becomeBackend(node);
  await node.run("from_network", passed.frame);
  const [flow] = await node.flows("ipv4").then((all) => all.filter(({ flags }) => flags.includes("dsr")));
  t.is(flow?.initiator, `${who.w.ipv4}:40000`);
  t.is(flow?.nat, `${vip.ipv4}:80`);
});
