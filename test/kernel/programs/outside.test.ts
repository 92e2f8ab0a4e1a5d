/** Clients outside of the node who come to a service's address by an uplink: pods of this node answer them, with their own addresses kept. */
import { icmpError, ip, Protocol, sctp, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests, reasonNumber } from "../../support/programs-test.ts";

const { both } = programTests();

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const router = { ipv4: "192.0.2.254", ipv6: "2001:db8:f::fe" } as const;
const data = Buffer.alloc(100, 7);

interface Served {
  readonly id?: number;
  readonly protocol?: number;
  readonly port?: number;
  readonly address?: string;
  readonly outside?: boolean;
  readonly affinitySeconds?: number;
}

/** From now on the service has these backends, at port 8080. */
function serve(node: ProgramNode, family: Family, backends: readonly string[], options: Served = {}): void {
  const { id = 5, protocol = Protocol.tcp, port = 80, address = vip[family], outside = true } = options;
  const table = backends.map((each) => ({ address: each, port: 8080 }));
  const affinity = options.affinitySeconds === undefined ? {} : { affinitySeconds: options.affinitySeconds };
  putService(node.maps, { id, address, port, protocol, backends: table, outside, ...affinity });
}

const asks = (node: ProgramNode, family: Family, transport: Transport, to: string = vip[family]): Promise<RunResult> =>
  node.run("from_network", wireFrame(who.w[family], to, transport));

const answers = (node: ProgramNode, family: Family, name: "a" | "b", transport: Transport): Promise<RunResult> =>
  node.fromPod(name, podFrame(name, who[name][family], who.w[family], transport));

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

for (const [what, protocol, make] of [
  ["TCP", Protocol.tcp, (from: number, to: number, letters = "S") => tcp(from, to, letters)],
  ["UDP", Protocol.udp, (from: number, to: number) => udp(from, to)],
] as const) {
  both(
    `${what}: the way to a pod and back, the client's address kept, the service's shown`,
    async (t, node, family) => {
      serve(node, family, [who.a[family]], { protocol });
      const client = who.w[family];
      const asked = await asks(node, family, make(40000, 80));
      isPassed(t, node, asked, "redirect", "ingress");
      t.is(way(asked), `${client}:40000 > ${who.a[family]}:8080`);
      t.is(asked.parsed.destinationMac, who.a.mac.toString("hex"));
      const answered = await answers(node, family, "a", make(8080, 40000, "SA"));
      t.is(answered.verdict, "redirect");
      t.deepEqual(wrongChecksums(answered.frame), []);
      t.is(way(answered), `${vip[family]}:80 > ${client}:40000`);
      const flows = await node.flows(family);
      t.deepEqual(
        flows.map(({ initiator, responder, nat }) => `${initiator} > ${responder} ${nat}`).sort(),
        [
          `${client}:40000 > ${who.a[family]}:8080 ${vip[family]}:80`,
          `${client}:40000 > ${vip[family]}:80 ${who.a[family]}:8080`,
        ].sort(),
      );
    },
  );

  both(`${what}: a port of the node's own address`, async (t, node, family) => {
    serve(node, family, [who.a[family]], { protocol, address: who.host[family], port: 30080 });
    const asked = await asks(node, family, make(40000, 30080), who.host[family]);
    isPassed(t, node, asked, "redirect", "ingress");
    t.is(way(asked), `${who.w[family]}:40000 > ${who.a[family]}:8080`);
    t.is(
      way(await answers(node, family, "a", make(8080, 40000, "SA"))),
      `${who.host[family]}:30080 > ${who.w[family]}:40000`,
    );
    node.takeMetrics();
    const other = await asks(node, family, make(40000, 30081), who.host[family]);
    t.is(other.verdict, "stack", "other ports are the node's");
    t.deepEqual([...node.takeMetrics()], []);
  });
}

both(
  "a connection stays with its pod while it lives, whatever becomes of the table; a new one does not",
  async (t, node, family) => {
    serve(node, family, [who.a[family]]);
    await asks(node, family, tcp(40000, 80, "S"));
    await answers(node, family, "a", tcp(8080, 40000, "SA"));
    serve(node, family, [who.b[family]], { id: 6 });
    t.is(way(await asks(node, family, tcp(40000, 80, "A"))), `${who.w[family]}:40000 > ${who.a[family]}:8080`);
    t.is(way(await asks(node, family, tcp(40001, 80, "S"))), `${who.w[family]}:40001 > ${who.b[family]}:8080`);
    serve(node, family, [], { id: 7 });
    t.is(way(await asks(node, family, tcp(40000, 80, "A"))), `${who.w[family]}:40000 > ${who.a[family]}:8080`);
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await asks(node, family, tcp(40002, 80, "S")), "noBackend", "ingress");
  },
);

both(
  "a pod that has left although the table still names it: its address is closed by a route",
  async (t, node, family) => {
    serve(
      node,
      family,
      ["10.0.9.77", "fd00:9::77"].filter((address) => address.includes(":") === (family === "ipv6")),
    );
    await isDropped(t, node, await asks(node, family, tcp(40000, 80, "S")), "noRoute", "ingress");
  },
);

both(
  "what is for clients of the node alone is not translated for others, nor the other way round",
  async (t, node, family) => {
    serve(node, family, [who.a[family]], { outside: false });
    t.is((await asks(node, family, tcp(40000, 80, "S"))).verdict, "stack");
    t.deepEqual([...node.takeMetrics()], []);
    await node.maps.clear("service4", "service6");
    serve(node, family, [who.b[family]]);
    const own = await node.fromPod("a", podFrame("a", who.a[family], vip[family], tcp(40000, 80, "S")));
    t.is(own.parsed.ip?.destination, vip[family], "a pod's packet goes where it was sent");
  },
);

both("the pod's policy judges the client by its own address", async (t, node, family) => {
  serve(node, family, [who.a[family]]);
  const world = family === "ipv4" ? "198.51.100.0/24" : "2001:db8:99::/48";
  const ports = [{ protocol: 6, port: 8080, groups: [0] }];
  putPolicy(node.maps, { set: 1, direction: "ingress", allows: 1, prefixes: { [world]: [0] }, ports });
  node.enforce("a", "ingress");
  isPassed(t, node, await asks(node, family, tcp(40000, 80, "S")), "redirect", "ingress");
  await node.takeEvents();
  const stranger = family === "ipv4" ? "198.18.0.7" : "2001:db8:98::7";
  const denied = await node.run("from_network", wireFrame(stranger, vip[family], tcp(40000, 80, "S")));
  await isDropped(t, node, denied, "policy", "ingress");
});

both("nobody outside has an address of what is here, or one that nobody has", async (t, node, family) => {
  serve(node, family, [who.a[family]]);
  const nobody = family === "ipv4" ? "127.0.0.1" : "::1";
  for (const source of [who.a[family], who.b[family], who.host[family], nobody]) {
    const spoofed = await node.run("from_network", wireFrame(source, vip[family], tcp(40000, 80, "S")));
    await isDropped(t, node, spoofed, "spoofedAddress", "ingress");
    t.deepEqual(await node.flows(family), [], "and nothing is remembered of it");
  }
});

both("a packet to the pod's own address does not join a service's flow of the same ports", async (t, node, family) => {
  serve(node, family, [who.a[family]]);
  await asks(node, family, tcp(40000, 80, "S"));
  node.takeMetrics();
  const direct = await node.run("from_network", wireFrame(who.w[family], who.a[family], tcp(40000, 8080, "A")));
  await isDropped(t, node, direct, "ctCollision", "ingress");
});

both("sessionAffinity keeps a client with its pod, by its address", async (t, node, family) => {
  serve(node, family, [who.a[family], who.b[family]], { affinitySeconds: 60 });
  const first = (await asks(node, family, tcp(40000, 80, "S"))).parsed.ip?.destination;
  for (let port = 40001; port < 40020; port++)
    t.is((await asks(node, family, tcp(port, 80, "S"))).parsed.ip?.destination, first);
});

both("a closed pod is closed for them", async (t, node, family) => {
  serve(node, family, [who.a[family]]);
  node.putPod("a", { flags: 1 });
  await isDropped(t, node, await asks(node, family, tcp(40000, 80, "S")), "notReady", "ingress");
});

both("all fragments of a datagram go to one pod; those of others are the stack's", async (t, node, family) => {
  serve(node, family, [who.a[family], who.b[family]], { protocol: Protocol.udp, port: 53 });
  const send = (id: number, offset: number, length: number) =>
    node.run(
      "from_network",
      wireFrame(who.w[family], vip[family], udp(40000, 53, { data }), { part: { offset, length }, id }),
    );
  t.is((await send(1, 40, 40)).verdict, "stack", "nobody knows whose it is");
  const first = await send(2, 0, 40);
  t.is(first.verdict, "redirect");
  const pod = first.parsed.ip?.destination;
  t.true(pod === who.a[family] || pod === who.b[family]);
  for (const [offset, length] of [
    [40, 40],
    [80, 28],
  ] as const) {
    const later = await send(2, offset, length);
    t.is(later.verdict, "redirect");
    t.is(later.parsed.ip?.destination, pod);
  }
});

both(
  "a router's error about an answer reaches the pod in the pod's terms; about other flows it is the stack's",
  async (t, node, family) => {
    serve(node, family, [who.a[family]]);
    await asks(node, family, tcp(40000, 80, "S"));
    await answers(node, family, "a", tcp(8080, 40000, "SA"));
    node.takeMetrics();
    const about = (port: number) => icmpError("tooBig", ip(vip[family], who.w[family], tcp(80, port, "A", { data })));
    const told = await node.run("from_network", wireFrame(router[family], vip[family], about(40000)));
    isPassed(t, node, told, "redirect", "ingress");
    const { ip: seen } = told.parsed;
    t.is(seen?.destination, who.a[family]);
    t.is(seen?.inner?.source, who.a[family]);
    t.is(seen?.inner?.sourcePort, 8080);
    t.is(seen?.inner?.destination, who.w[family]);
    t.is((await node.run("from_network", wireFrame(router[family], vip[family], about(40001)))).verdict, "stack");
    t.deepEqual([...node.takeMetrics()], []);
    const spoofed = await node.run("from_network", wireFrame(who.b[family], vip[family], about(40000)));
    await isDropped(t, node, spoofed, "spoofedAddress", "ingress");
    node.putPod("a", { policyRevision: 2 });
    const later = await node.run("from_network", wireFrame(router[family], vip[family], about(40000)));
    await isDropped(t, node, later, "natFailed", "ingress");
  },
);

both("SCTP: a backend of the same port, and of another one", async (t, node, family) => {
  for (const port of [8080, 81]) {
    serve(node, family, [who.a[family]], { protocol: Protocol.sctp, port });
    node.takeMetrics();
    isPassed(t, node, await asks(node, family, sctp(40000 + port, port)), "redirect", "ingress");
  }
});

both(
  "the client of a service that nobody serves is told so by the stack; where pods are elsewhere nothing is said",
  async (t, node, family) => {
    serve(node, family, []);
    await isDropped(t, node, await asks(node, family, tcp(40000, 80, "S")), "noBackend", "ingress");
    serve(node, family, [who.b[family]], { outside: false });
    await isDropped(t, node, await asks(node, family, tcp(40001, 80, "S")), "noBackend", "ingress");
    serve(node, family, [], { outside: false });
    const told = await asks(node, family, tcp(40002, 80, "S"));
    t.is(told.verdict, "stack");
    t.is(way(told), `${who.w[family]}:40002 > ${vip[family]}:80`);
    t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("noBackend")}/ingress`]);
  },
);

both(
  "a node port that nobody serves is the stack's, which refuses; a connection that began goes on",
  async (t, node, family) => {
    const place = { address: who.host[family], port: 30080 };
    const everywhere = (backends: readonly string[], id: number) => {
      serve(node, family, backends, { ...place, id });
      serve(node, family, backends, { ...place, id: id + 1, outside: false });
    };
    const ask = (from: number, letters: string) => asks(node, family, tcp(from, 30080, letters), who.host[family]);
    everywhere([who.a[family]], 5);
    await ask(40000, "S");
    await answers(node, family, "a", tcp(8080, 40000, "SA"));
    everywhere([], 7);
    node.takeMetrics();
    t.is((await ask(40001, "S")).verdict, "stack");
    t.deepEqual([...node.takeMetrics()], []);
    t.is(way(await ask(40000, "A")), `${who.w[family]}:40000 > ${who.a[family]}:8080`);
    serve(node, family, [who.b[family]], { ...place, id: 9, outside: false });
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await ask(40002, "S"), "noBackend", "ingress");
  },
);
