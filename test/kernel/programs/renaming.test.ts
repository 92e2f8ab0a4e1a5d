/** Clients outside whose backend is no pod of this node: the backend answers this node, and the client sees the service. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import test from "ava";
import { NatFlags } from "../../../src/native/layouts.gen.ts";
import { icmpError, ip, type IpOptions, Protocol, sctp, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, who, wireFrame } from "../../support/programs-frames.ts";
import { ProgramNode, type RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({}, {}, ["tc", "xdp"]);

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const other = { ipv4: "198.51.100.8", ipv6: "2001:db8:99::8" } as const;
const router = { ipv4: "192.0.2.254", ipv6: "2001:db8:f::fe" } as const;
const second = { ipv4: "10.0.2.21", ipv6: "fd00:2::21" } as const;

interface Served {
  readonly id?: number;
  readonly protocol?: number;
  readonly port?: number;
  readonly backendPort?: number;
  readonly address?: string;
}

/** From now on the service has these backends. */
function serve(node: ProgramNode, family: Family, backends: readonly string[], options: Served = {}): void {
  const { id = 5, protocol = Protocol.tcp, port = 80, backendPort = 8080, address = vip[family] } = options;
  const table = backends.map((each) => ({ address: each, port: backendPort }));
  putService(node.maps, { id, address, port, protocol, backends: table, outside: true });
}

const arrives = (node: ProgramNode, from: string, to: string, transport: Transport, options?: IpOptions) =>
  node.run("from_network", wireFrame(from, to, transport, options));

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

async function entries(node: ProgramNode, family: Family) {
  const all = family === "ipv4" ? await node.maps.entries("nat4") : await node.maps.entries("nat6");
  return all.map(({ value }) => value.flags);
}

for (const [what, protocol, make] of [
  ["TCP", Protocol.tcp, (from: number, to: number, letters = "S") => tcp(from, to, letters)],
  ["UDP", Protocol.udp, (from: number, to: number) => udp(from, to)],
] as const) {
  for (const [place, portOf] of [
    ["a service's address", 80],
    ["a port of the node", 30080],
  ] as const) {
    both(`${what} to ${place}: there in the node's name, and back in the service's`, async (t, node, family) => {
      const address = portOf === 80 ? vip[family] : who.host[family];
      serve(node, family, [who.r[family]], { protocol, address, port: portOf });
      const client = who.w[family];
      const asked = await arrives(node, client, address, make(40000, portOf));
      isPassed(t, node, asked, "redirect", "ingress");
      t.is(way(asked), `${who.host[family]}:40000 > ${who.r[family]}:8080`);
      t.is(asked.parsed.ip?.ttl, 63);
      const answered = await arrives(node, who.r[family], who.host[family], make(8080, 40000, "SA"));
      isPassed(t, node, answered, "redirect", "ingress");
      t.is(way(answered), `${address}:${portOf} > ${client}:40000`);
      t.deepEqual(wrongChecksums(answered.frame), []);
      t.is(way(await arrives(node, client, address, make(40000, portOf, "A"))), way(asked));
      t.deepEqual(await node.flows(family), [], "nothing is judged here, and nothing tracked");
      t.is((await entries(node, family)).length, 2);
    });
  }

  both(`${what}: flows with one backend never share a port`, async (t, node, family) => {
    serve(node, family, [who.r[family]], { protocol });
    const [one, two] = [who.w[family], other[family]];
    await arrives(node, one, vip[family], make(40000, 80));
    const asked = await arrives(node, two, vip[family], make(40000, 80));
    const port = asked.parsed.ip?.sourcePort ?? 0;
    t.not(port, 40000);
    t.true(port >= 1024 && (port < 30000 || port > 32767));
    t.is(way(asked), `${who.host[family]}:${port} > ${who.r[family]}:8080`);
    for (const [to, client] of [
      [40000, one],
      [port, two],
    ] as const) {
      const answered = await arrives(node, who.r[family], who.host[family], make(8080, to, "SA"));
      t.is(way(answered), `${vip[family]}:80 > ${client}:40000`);
    }
    const stranger = await arrives(node, second[family], who.host[family], make(8080, port, "SA"));
    t.is(stranger.verdict, "stack", "somebody else's packet to the port is the node's");
  });

  both(`${what}: a port that stands for a service, or below 1024, is not given`, async (t, node, family) => {
    serve(node, family, [who.r[family]], { protocol });
    for (const from of [30080, 53]) {
      const asked = await arrives(node, who.w[family], vip[family], make(from, 80));
      const port = asked.parsed.ip?.sourcePort ?? 0;
      t.not(port, from);
      t.true(port >= 1024 && (port < 30000 || port > 32767));
    }
  });
}

both("a port that a server of the node listens on is not given", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  const code = `require("net").createServer().listen(40000, ${JSON.stringify(who.host[family])}, () => console.log("up"))`;
  const server = spawn("ip", ["netns", "exec", node.netns, process.execPath, "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => server.kill());
  await once(server.stdout, "data");
  const asked = await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
  t.is(asked.verdict, "redirect");
  t.not(asked.parsed.ip?.sourcePort, 40000);
});

both("a connection keeps its backend, whatever becomes of the service; a new one does not", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
  await arrives(node, who.r[family], who.host[family], tcp(8080, 40000, "SA"));
  serve(node, family, [second[family]], { id: 6 });
  const later = () => arrives(node, who.w[family], vip[family], tcp(40000, 80, "A"));
  t.is(way(await later()), `${who.host[family]}:40000 > ${who.r[family]}:8080`);
  serve(node, family, [], { id: 7 });
  t.is(way(await later()), `${who.host[family]}:40000 > ${who.r[family]}:8080`);
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(
    t,
    node,
    await arrives(node, who.w[family], vip[family], tcp(40001, 80, "S")),
    "noBackend",
    "ingress",
  );
  serve(node, family, [second[family]], { id: 8 });
  const anew = await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
  t.is(way(anew), `${who.host[family]}:40000 > ${second[family]}:8080`, "a new connection under the old one's ports");
  const late = await arrives(node, who.r[family], who.host[family], tcp(8080, 40000, "A"));
  t.is(late.verdict, "stack", "the old backend's flow is forgotten");
});

both(
  "datagrams go on with a backend that the service still has, and to another when it has left",
  async (t, node, family) => {
    const protocol = Protocol.udp;
    serve(node, family, [who.r[family]], { protocol });
    const send = () => arrives(node, who.w[family], vip[family], udp(40000, 80));
    const first = way(await send());
    serve(node, family, [second[family], who.r[family]], { protocol, id: 6 });
    t.is(way(await send()), first);
    serve(node, family, [second[family]], { protocol, id: 7 });
    t.is(way(await send()), `${who.host[family]}:40000 > ${second[family]}:8080`);
  },
);

both("a server of this node's own as the backend: its answers show the service", async (t, node, family) => {
  serve(node, family, [who.host[family]]);
  const asked = await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
  t.is(asked.verdict, "stack");
  t.is(way(asked), `${who.w[family]}:40000 > ${who.host[family]}:8080`);
  t.deepEqual(wrongChecksums(asked.frame), []);
  const answer = wireFrame(who.host[family], who.w[family], tcp(8080, 40000, "SA"));
  const answered = await node.run("to_network", answer, { ownStack: true });
  t.is(answered.verdict, "stack");
  t.is(way(answered), `${vip[family]}:80 > ${who.w[family]}:40000`);
  t.deepEqual(wrongChecksums(answered.frame), []);
});

both(
  "a router on either side is understood by who sent the packet that it complains about",
  async (t, node, family) => {
    serve(node, family, [who.r[family]]);
    await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
    await arrives(node, who.r[family], who.host[family], tcp(8080, 40000, "SA"));
    node.takeMetrics();
    const data = Buffer.alloc(100, 7);
    const towards = icmpError("tooBig", ip(who.host[family], who.r[family], tcp(40000, 8080, "A", { data })));
    const toClient = await arrives(node, router[family], who.host[family], towards);
    isPassed(t, node, toClient, "redirect", "ingress");
    t.is(toClient.parsed.ip?.destination, who.w[family]);
    t.is(toClient.parsed.ip?.source, router[family]);
    const { inner } = toClient.parsed.ip ?? {};
    t.is(
      `${inner?.source}:${inner?.sourcePort} > ${inner?.destination}:${inner?.destinationPort}`,
      `${who.w[family]}:40000 > ${vip[family]}:80`,
    );
    const back = icmpError("tooBig", ip(vip[family], who.w[family], tcp(80, 40000, "A", { data })));
    const toBackend = await arrives(node, router[family], vip[family], back);
    isPassed(t, node, toBackend, "redirect", "ingress");
    const told = toBackend.parsed.ip;
    t.is(told?.destination, who.r[family]);
    t.is(
      `${told?.inner?.source}:${told?.inner?.sourcePort} > ${told?.inner?.destination}:${told?.inner?.destinationPort}`,
      `${who.r[family]}:8080 > ${who.host[family]}:40000`,
    );
    await node.takeEvents();
    const spoofed = await arrives(node, who.a[family], who.host[family], towards);
    await isDropped(t, node, spoofed, "spoofedAddress", "ingress");
  },
);

both("fragments of a datagram go one way", async (t, node, family) => {
  serve(node, family, [who.r[family], second[family]], { protocol: Protocol.udp });
  const data = Buffer.alloc(100, 1);
  const send = (offset: number, length: number) =>
    arrives(node, who.w[family], vip[family], udp(40000, 80, { data }), { part: { offset, length }, id: 77 });
  const first = await send(0, 40);
  t.is(first.verdict, "redirect");
  const backend = first.parsed.ip?.destination;
  for (const [offset, length] of [
    [40, 40],
    [80, 28],
  ] as const) {
    const later = await send(offset, length);
    t.is(later.verdict, "redirect");
    t.is(later.parsed.ip?.source, who.host[family]);
    t.is(later.parsed.ip?.destination, backend);
  }
});

both("SCTP keeps its client's port; the service's may be another one", async (t, node, family) => {
  serve(node, family, [who.r[family]], { protocol: Protocol.sctp });
  const asked = await arrives(node, who.w[family], vip[family], sctp(40000, 80));
  t.deepEqual(wrongChecksums(asked.frame), []);
  t.is(way(asked), `${who.host[family]}:40000 > ${who.r[family]}:8080`);
  node.takeMetrics();
  await node.takeEvents();
  const taken = await arrives(node, other[family], vip[family], sctp(40000, 80));
  await isDropped(t, node, taken, "natFull", "ingress");
});

both("no way to the backend; no address to send from", async (t, node, family) => {
  const nowhere = family === "ipv4" ? "10.0.9.9" : "fd00:9::9";
  serve(node, family, [nowhere]);
  const syn = () => arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
  await isDropped(t, node, await syn(), "noRoute", "ingress");
  serve(node, family, [who.r[family]], { id: 6 });
  t.is((await syn()).verdict, "redirect");
  node.takeMetrics();
  await node.takeEvents();
  await node.maps.clear("device_address", "nat4", "nat6");
  await isDropped(t, node, await syn(), "noRoute", "ingress");
});

both(
  "whose hops are used up is told by the stack, and an answer is not taken for the node's own",
  async (t, node, family) => {
    serve(node, family, [who.r[family]]);
    const last = await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"), { ttl: 1 });
    t.is(last.verdict, "stack");
    t.is(last.parsed.ip?.destination, vip[family]);
    await arrives(node, who.w[family], vip[family], tcp(40000, 80, "S"));
    const answer = await arrives(node, who.r[family], who.host[family], tcp(8080, 40000, "SA"), { ttl: 1 });
    t.is(answer.verdict, "drop");
  },
);

test("a full table refuses new flows and keeps those that it has", async (t) => {
  t.timeout(180_000);
  const node = await ProgramNode.create({}, { nat4: 8 });
  try {
    serve(node, "ipv4", [who.r.ipv4]);
    const ask = (port: number, letters: string) => arrives(node, who.w.ipv4, vip.ipv4, tcp(port, 80, letters));
    for (let port = 40000; port < 40004; port++) t.is((await ask(port, "S")).verdict, "redirect");
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await ask(40004, "S"), "natFull", "ingress");
    for (let port = 40000; port < 40004; port++) t.is((await ask(port, "A")).verdict, "redirect");
    const flags = await entries(node, "ipv4");
    t.is(flags.filter((each) => (each & NatFlags.back) !== 0).length, 4, "no claim is left of what was refused");
    t.is(flags.length, 8);
  } finally {
    await node.remove();
  }
});

test("60,000 flows to one backend have 60,000 ports", async (t) => {
  t.timeout(300_000);
  const flows = 60_000;
  const node = await ProgramNode.create({}, { nat4: 2 * flows + 16 }, { events: false });
  try {
    serve(node, "ipv4", [who.r.ipv4]);
    const ports = new Set<number>();
    for (let i = 0; i < flows; i++) {
      const client = `198.18.${i >> 8}.${i & 255}`;
      const asked = await arrives(node, client, vip.ipv4, tcp(40_000 + (i % 7), 80, "S"));
      if (asked.verdict !== "redirect") return t.fail(`flow ${i}: ${asked.verdict}`);
      ports.add(asked.parsed.ip?.sourcePort ?? 0);
    }
    t.is(ports.size, flows);
    t.true([...ports].every((port) => port >= 1024 && (port < 30_000 || port > 32_767)));
    for (const i of [0, 1, 255, 256, 30_000, 59_999]) {
      const client = `198.18.${i >> 8}.${i & 255}`;
      const again = await arrives(node, client, vip.ipv4, tcp(40_000 + (i % 7), 80, "A"));
      const port = again.parsed.ip?.sourcePort ?? 0;
      const answer = await arrives(node, who.r.ipv4, who.host.ipv4, tcp(8080, port, "A"));
      t.is(way(answer), `${vip.ipv4}:80 > ${client}:${40_000 + (i % 7)}`);
    }
  } finally {
    await node.remove();
  }
});
