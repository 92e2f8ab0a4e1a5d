/** Direct server return: the node that a client came to passes its packets on as they are, the backend's node answers the client itself. */
import { bytesOf, icmpError, ip, Protocol, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { ipv4Number } from "../../support/programs-maps.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { mapped, putIdentity, putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({}, {}, ["tc", "xdp"]);

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const router = { ipv4: "192.0.2.254", ipv6: "2001:db8:f::fe" } as const;
const room = { ipv4: 8, ipv6: 24 } as const;

interface Served {
  readonly id?: number;
  readonly backends?: readonly string[];
  readonly protocol?: number;
  readonly address?: string;
  readonly port?: number;
}

function serve(node: ProgramNode, family: Family, options: Served = {}): void {
  const { id = 5, backends = [who.r[family]], protocol = Protocol.tcp, address = vip[family], port = 80 } = options;
  const table = backends.map((each) => ({ address: each, port: 8080 }));
  putService(node.maps, { id, address, port, protocol, backends: table, outside: true, dsr: true });
}

/** From now on the backend is a pod of this node: what the other node passed on arrives at its own. */
function becomeBackend(node: ProgramNode): void {
  const pod = node.putPod("a", { ipv4: ipv4Number(who.r.ipv4), ipv6: bytesOf(who.r.ipv6) });
  for (const family of ["ipv4", "ipv6"] as const)
    node.maps.put("endpoint_addr", { address: mapped(who.r[family]) }, pod);
}

const asks = (node: ProgramNode, family: Family, transport: Transport, to: string = vip[family]) =>
  node.run("from_network", wireFrame(who.w[family], to, transport));

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

for (const [what, protocol, make] of [
  ["TCP", Protocol.tcp, (letters: string) => tcp(40000, 80, letters)],
  ["UDP", Protocol.udp, () => udp(40000, 80)],
] as const) {
  both(
    `${what}: on as it is, with the service's address; the backend's node answers with it`,
    async (t, node, family) => {
      serve(node, family, { protocol });
      const sent = wireFrame(who.w[family], vip[family], make("S"));
      const passed = await node.run("from_network", sent);
      isPassed(t, node, passed, "redirect", "ingress");
      t.is(way(passed), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
      t.is(passed.frame.length, sent.length + room[family]);

      becomeBackend(node);
      const arrived = await node.run("from_network", passed.frame);
      isPassed(t, node, arrived, "redirect", "ingress");
      t.is(way(arrived), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
      t.is(arrived.frame.length, sent.length, "the pod sees a plain packet");
      t.is(arrived.parsed.destinationMac, who.a.mac.toString("hex"));
      const reply = protocol === Protocol.tcp ? tcp(8080, 40000, "SA") : udp(8080, 40000);
      const answered = await node.fromPod("a", podFrame("a", who.r[family], who.w[family], reply));
      t.is(answered.verdict, "redirect");
      t.is(way(answered), `${vip[family]}:80 > ${who.w[family]}:40000`);
      t.deepEqual(wrongChecksums(answered.frame), []);
      const plain = await node.run(
        "from_network",
        wireFrame(who.w[family], who.r[family], protocol === Protocol.tcp ? tcp(40000, 8080, "A") : udp(40000, 8080)),
      );
      t.is(plain.verdict, "redirect", "later packets come without it");
    },
  );
}

both("only what begins a connection carries the address; the flow stays with its backend", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  const other = family === "ipv4" ? "10.0.2.21" : "fd00:2::21";
  serve(node, family, { id: 6, backends: [other] });
  const later = await asks(node, family, tcp(40000, 80, "A"));
  t.is(way(later), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
  t.is(later.frame.length, wireFrame(who.w[family], vip[family], tcp(40000, 80, "A")).length);
  t.is(way(await asks(node, family, tcp(40001, 80, "S"))), `${who.w[family]}:40001 > ${other}:8080`);
});

both("a connection that comes to another node in the middle goes on", async (t, node, family) => {
  serve(node, family);
  const moved = await asks(node, family, tcp(40000, 80, "A"));
  t.is(moved.verdict, "redirect");
  t.is(way(moved), `${who.w[family]}:40000 > ${who.r[family]}:8080`);
});

both("one that began at the node of its backend goes on when another node sends it there", async (t, node, family) => {
  becomeBackend(node);
  serve(node, family);
  isPassed(t, node, await asks(node, family, tcp(40000, 80, "S")), "redirect", "ingress");
  const from = (letters: string) =>
    node.fromPod("a", podFrame("a", who.r[family], who.w[family], tcp(8080, 40000, letters)));
  t.is(way(await from("SA")), `${vip[family]}:80 > ${who.w[family]}:40000`);
  await asks(node, family, tcp(40000, 80, "A"));
  const moved = await node.run("from_network", wireFrame(who.w[family], who.r[family], tcp(40000, 8080, "A")));
  t.is(moved.verdict, "redirect");
  t.is(way(await from("A")), `${vip[family]}:80 > ${who.w[family]}:40000`, "and is answered as the service");
});

both(
  "a pod of another node is answered by way of this one: the backend may be on its own node",
  async (t, node, family) => {
    serve(node, family);
    putIdentity(node.maps, who.w[family], 1234);
    const passed = await asks(node, family, tcp(40000, 80, "S"));
    isPassed(t, node, passed, "redirect", "ingress");
    t.is(passed.parsed.ip?.source, who.host[family]);
    t.is(passed.parsed.ip?.destination, who.r[family]);
  },
);

both("datagrams that would grow too long go in the node's name, as all do without it", async (t, node, family) => {
  serve(node, family, { protocol: Protocol.udp });
  const headers = family === "ipv4" ? 28 : 48;
  const fits = await asks(node, family, udp(40000, 80, { data: Buffer.alloc(1280 - headers - room[family]) }));
  t.is(fits.parsed.ip?.source, who.w[family]);
  const long = await asks(node, family, udp(40001, 80, { data: Buffer.alloc(1281 - headers - room[family]) }));
  t.is(long.parsed.ip?.source, who.host[family]);
  const later = await asks(node, family, udp(40000, 80, { data: Buffer.alloc(1400) }));
  t.is(way(later), `${who.w[family]}:40000 > ${who.r[family]}:8080`, "its node knows the flow");
});

both("the pod's policy judges the client by its own address", async (t, node, family) => {
  serve(node, family);
  const passed = await asks(node, family, tcp(40000, 80, "S"));
  becomeBackend(node);
  const ports = [{ protocol: 6, port: 8080, groups: [0] }];
  const stranger = family === "ipv4" ? "203.0.114.0/24" : "2001:db8:77::/48";
  putPolicy(node.maps, { set: 1, direction: "ingress", allows: 1, prefixes: { [stranger]: [0] }, ports });
  const closed = node.enforce("a", "ingress", { ipv4: ipv4Number(who.r.ipv4), ipv6: bytesOf(who.r.ipv6) });
  node.maps.put("endpoint_addr", { address: mapped(who.r[family]) }, closed);
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await node.run("from_network", passed.frame), "policy", "ingress");
});

both("nobody makes a pod show an address that no service has", async (t, node, family) => {
  serve(node, family);
  const passed = await asks(node, family, tcp(40000, 80, "S"));
  becomeBackend(node);
  await node.maps.clear("service4", "service6");
  const arrived = await node.run("from_network", passed.frame);
  t.is(arrived.frame.length, passed.frame.length, "for the pod it is an option like others");
  const answered = await node.fromPod("a", podFrame("a", who.r[family], who.w[family], tcp(8080, 40000, "SA")));
  t.is(way(answered), `${who.r[family]}:8080 > ${who.w[family]}:40000`);
});

both("a port of another node is shown: the client came there", async (t, node, family) => {
  serve(node, family, { address: who.host[family], port: 30080 });
  const passed = await asks(node, family, tcp(40000, 30080, "S"), who.host[family]);
  becomeBackend(node);
  await node.maps.clear("service4", "service6");
  const arrived = await node.run("from_network", passed.frame);
  t.is(arrived.verdict, "redirect");
  const answered = await node.fromPod("a", podFrame("a", who.r[family], who.w[family], tcp(8080, 40000, "SA")));
  t.is(way(answered), `${who.host[family]}:30080 > ${who.w[family]}:40000`);
});

both("a router's error about an answer goes on to the backend's node", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  node.takeMetrics();
  const data = Buffer.alloc(100, 7);
  const error = icmpError("tooBig", ip(vip[family], who.w[family], tcp(80, 40000, "A", { data })));
  const told = await node.run("from_network", wireFrame(router[family], vip[family], error));
  isPassed(t, node, told, "redirect", "ingress");
  t.is(told.parsed.ip?.destination, who.r[family]);
  t.is(`${told.parsed.ip?.inner?.source}:${told.parsed.ip?.inner?.sourcePort}`, `${who.r[family]}:8080`);
});
