/** What XDP sends on by itself, and what it leaves to tc. That both make the same of a packet is said by the tables that run over either. */
import type { ExecutionContext } from "ava";
import {
  bytesOf,
  checksum,
  echo,
  extension,
  type IpOptions,
  Protocol,
  pseudoHeader,
  tcp,
  type Transport,
  udp,
} from "../../support/packets.ts";
import { type Family, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putService } from "../../support/programs-maps.ts";
import { isPassed, programTests } from "../../support/programs-test.ts";

const { both, check } = programTests({}, {}, ["xdp"]);

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;

function serve(
  node: ProgramNode,
  family: Family,
  protocol: number,
  options: { id?: number; dsr?: boolean; backends?: readonly string[] } = {},
) {
  const { id = 5, dsr = false, backends = [who.r[family]] } = options;
  const table = backends.map((address) => ({ address, port: 8080 }));
  putService(node.maps, { id, address: vip[family], port: 80, protocol, backends: table, outside: true, dsr });
}

const asks = (node: ProgramNode, family: Family, transport: Transport, options?: IpOptions) =>
  node.run("from_network", wireFrame(who.w[family], vip[family], transport, options));

const answers = (node: ProgramNode, family: Family, transport: Transport) =>
  node.run("from_network", wireFrame(who.r[family], who.host[family], transport));

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

/** `work` sends one packet, which XDP sends on or not. */
async function byWire(
  t: ExecutionContext,
  node: ProgramNode,
  sent: boolean,
  work: () => Promise<RunResult>,
): Promise<RunResult> {
  node.takeMetrics();
  node.sentByWire = 0;
  const result = await work();
  t.is(node.sentByWire, sent ? 1 : 0);
  if (sent) isPassed(t, node, result, "redirect", "ingress");
  return result;
}

for (const [what, protocol, make] of [
  [
    "TCP",
    Protocol.tcp,
    (from: number, to: number, letters = "A") => tcp(from, to, letters, { data: Buffer.alloc(301, 7) }),
  ],
  ["UDP", Protocol.udp, (from: number, to: number) => udp(from, to, { data: Buffer.alloc(301, 7) })],
] as const) {
  both(`${what}: tc begins a flow in the node's name, XDP goes on with it, both ways`, async (t, node, family) => {
    serve(node, family, protocol);
    const first = await byWire(t, node, false, () => asks(node, family, make(40000, 80, "S")));
    const later = await byWire(t, node, true, () => asks(node, family, make(40000, 80)));
    t.is(way(later), way(first));
    t.is(later.parsed.ip?.ttl, 63);
    t.is(later.parsed.destinationMac, "020000000202", "the other node's");
    const answer = await byWire(t, node, true, () => answers(node, family, make(8080, 40000)));
    t.is(way(answer), `${vip[family]}:80 > ${who.w[family]}:40000`);
    t.is(answer.parsed.destinationMac, "0200000002fe", "the router's");
  });
}

both("a connection that is answered directly", async (t, node, family) => {
  serve(node, family, Protocol.tcp, { dsr: true });
  await byWire(t, node, false, () => asks(node, family, tcp(40000, 80, "S")));
  const later = await byWire(t, node, true, () => asks(node, family, tcp(40000, 80, "A")));
  t.is(way(later), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
  await byWire(t, node, false, () => asks(node, family, tcp(40001, 80, "A")));
  await byWire(t, node, true, () => asks(node, family, tcp(40001, 80, "A")));
  serve(node, family, Protocol.tcp, { id: 6 });
  await byWire(t, node, false, () => asks(node, family, tcp(40000, 80, "A")));
});

both("datagrams go on while their service is the same", async (t, node, family) => {
  serve(node, family, Protocol.udp);
  await asks(node, family, udp(40000, 80));
  await byWire(t, node, true, () => asks(node, family, udp(40000, 80)));
  serve(node, family, Protocol.udp, { id: 6 });
  await byWire(t, node, false, () => asks(node, family, udp(40000, 80)));
  await byWire(t, node, true, () => asks(node, family, udp(40000, 80)));
  const other = family === "ipv4" ? "10.0.2.21" : "fd00:2::21";
  serve(node, family, Protocol.udp, { id: 7, backends: [other] });
  const anew = await byWire(t, node, false, () => asks(node, family, udp(40000, 80)));
  t.is(anew.parsed.ip?.destination, other);
});

both("what the stack or tc must see is left to them", async (t, node, family) => {
  serve(node, family, Protocol.tcp);
  await asks(node, family, tcp(40000, 80, "S"));
  const data = Buffer.alloc(64, 7);
  const [source, destination] = [bytesOf(who.w[family]), bytesOf(vip[family])];
  const pending = ~checksum(pseudoHeader(source, destination, Protocol.tcp, 84)) & 0xffff;
  const headers: IpOptions =
    family === "ipv4" ? { options: Buffer.from([1, 1, 1, 1]) } : { extensions: [extension(Protocol.hopByHop)] };
  for (const [what, transport, options] of [
    ["it opens the connection anew", tcp(40000, 80, "S"), {}],
    ["no flow", tcp(40001, 80, "A"), {}],
    ["the last hop", tcp(40000, 80, "A"), { ttl: 1 }],
    ["options or extension headers", tcp(40000, 80, "A"), headers],
    ["a fragment", tcp(40000, 80, "A", { data }), { part: { offset: 0, length: 40 } }],
    ["another protocol", echo(vip[family], "request", 7), {}],
    ["a checksum that a device has still to complete", tcp(40000, 80, "A", { data, checksum: pending }), {}],
    ["larger than the way takes", tcp(40000, 80, "A", { data: Buffer.alloc(1470) }), {}],
    ["a header that is longer than the packet", tcp(40000, 80, "A", { headerWords: 9 }), {}],
  ] as const) {
    node.sentByWire = 0;
    await node.tryRun("from_network", wireFrame(who.w[family], vip[family], transport, options));
    t.is(node.sentByWire, 0, what);
  }
  await byWire(t, node, true, () => asks(node, family, tcp(40000, 80, "A")));
});

both("a way that is not known yet, and one by another device, are tc's", async (t, node, family) => {
  const unknown = family === "ipv4" ? "192.0.2.77" : "2001:db8:f::77";
  serve(node, family, Protocol.tcp, { backends: [unknown] });
  await asks(node, family, tcp(40000, 80, "S"));
  await byWire(t, node, false, () => asks(node, family, tcp(40000, 80, "A")));
  const tunnel = family === "ipv4" ? "10.0.3.9" : "fd00:3::9";
  serve(node, family, Protocol.tcp, { id: 6, backends: [tunnel] });
  await asks(node, family, tcp(40001, 80, "S"));
  const by = await byWire(t, node, false, () => asks(node, family, tcp(40001, 80, "A")));
  t.is(by.verdict, "redirect");
});

check("a datagram without a checksum keeps none", async (t, node) => {
  serve(node, "ipv4", Protocol.udp);
  await asks(node, "ipv4", udp(40000, 80, { checksum: 0 }));
  const later = await byWire(t, node, true, () => asks(node, "ipv4", udp(40000, 80, { checksum: 0 })));
  t.is(later.parsed.ip?.payload.readUInt16BE(6), 0);
  t.deepEqual(wrongChecksums(later.frame), []);
});
