/**
 * A client's port that leads to one backend by two services: the second flow gets another port towards the backend, both go on, and each is answered as
 * the service that it asked. For pods per packet and for clients outside, wherever the backend is; and what cannot be helped is dropped and counted.
 * (Over 400 lines: one subject, whose places all of its tests share.)
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { icmpError, ip, type IpOptions, Protocol, sctp, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { mapped, putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({}, {}, ["tc", "xdp"]);

const one = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const two = { ipv4: "203.0.113.11", ipv6: "2001:db8:aa::11" } as const;
const router = { ipv4: "192.0.2.254", ipv6: "2001:db8:f::fe" } as const;
const loopback = { ipv4: "169.254.42.1", ipv6: "fd74:616e:6465:6d00::1" } as const;
type Make = (from: number, to: number, letters?: string) => Transport;

/** Both services have this backend from now on, at port 8080. */
function serve(
  node: ProgramNode,
  family: Family,
  backend: string,
  options: { outside: boolean; protocol?: number; dsr?: boolean; id?: number },
): void {
  const { protocol = Protocol.tcp, id = 1, outside, dsr = false } = options;
  const rest = { port: 80, protocol, backends: [{ address: backend, port: 8080 }], outside, dsr };
  putService(node.maps, { id, address: one[family], ...rest });
  putService(node.maps, { id: id + 1, address: two[family], ...rest });
}

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

const portOf = (result: RunResult): number => result.parsed.ip?.sourcePort ?? 0;

/** Who asks whom, and how packets of both come to the node. */
interface Place {
  readonly name: string;
  readonly outside: boolean;
  readonly dsr?: boolean;
  readonly client: (family: Family) => string;
  readonly server: (family: Family) => string;
  /** The client's address, as the server sees it. */
  readonly seen?: (family: Family) => string;
  readonly ask: (
    node: ProgramNode,
    family: Family,
    to: string,
    transport: Transport,
    options?: IpOptions,
  ) => Promise<RunResult>;
  readonly answer: (node: ProgramNode, family: Family, transport: Transport, options?: IpOptions) => Promise<RunResult>;
}

const fromPod: Place["ask"] = (node, family, to, transport, options) =>
  node.fromPod("a", podFrame("a", who.a[family], to, transport, options));
const fromOutside: Place["ask"] = (node, family, to, transport, options) =>
  node.run("from_network", wireFrame(who.w[family], to, transport, options));

const places: readonly Place[] = [
  {
    name: "a pod, its backend on another node",
    outside: false,
    client: (family) => who.a[family],
    server: (family) => who.r[family],
    ask: fromPod,
    answer: (node, family, transport, options) =>
      node.run("from_network", wireFrame(who.r[family], who.a[family], transport, options)),
  },
  {
    name: "a pod, its backend's answers brought by the stack",
    outside: false,
    client: (family) => who.a[family],
    server: (family) => who.r[family],
    ask: fromPod,
    answer: (node, family, transport, options) =>
      node.run("to_pod", stackFrame("a", who.r[family], who.a[family], transport, options)),
  },
  {
    name: "a pod, its backend on this node",
    outside: false,
    client: (family) => who.a[family],
    server: (family) => who.b[family],
    ask: fromPod,
    answer: (node, family, transport, options) =>
      node.fromPod("b", podFrame("b", who.b[family], who.a[family], transport, options)),
  },
  {
    name: "a pod that picks itself",
    outside: false,
    client: (family) => who.a[family],
    server: (family) => who.a[family],
    seen: (family) => loopback[family],
    ask: fromPod,
    answer: (node, family, transport, options) =>
      node.fromPod("a", podFrame("a", who.a[family], loopback[family], transport, options)),
  },
  ...[false, true].map(
    (dsr): Place => ({
      name: `a client outside, a pod of this node${dsr ? ", direct return" : ""}`,
      outside: true,
      dsr,
      client: (family) => who.w[family],
      server: (family) => who.b[family],
      ask: fromOutside,
      answer: (node, family, transport, options) =>
        node.fromPod("b", podFrame("b", who.b[family], who.w[family], transport, options)),
    }),
  ),
  {
    name: "a client outside, a server of the node itself",
    outside: true,
    client: (family) => who.w[family],
    server: (family) => who.host[family],
    ask: fromOutside,
    answer: (node, family, transport, options) =>
      node.run("to_network", wireFrame(who.host[family], who.w[family], transport, options), { ownStack: true }),
  },
  {
    name: "a client outside, in the node's name",
    outside: true,
    client: (family) => who.w[family],
    server: (family) => who.r[family],
    seen: (family) => who.host[family],
    ask: fromOutside,
    answer: (node, family, transport, options) =>
      node.run("from_network", wireFrame(who.r[family], who.host[family], transport, options)),
  },
];

const transports: readonly (readonly [string, number, Make])[] = [
  ["TCP", Protocol.tcp, (from, to, letters = "S") => tcp(from, to, letters)],
  ["UDP", Protocol.udp, (from, to) => udp(from, to)],
  ["SCTP", Protocol.sctp, (from, to) => sctp(from, to)],
];

for (const place of places) {
  const { outside, client, server, seen = client, ask, answer } = place;
  for (const [what, protocol, make] of transports) {
    if (protocol === Protocol.sctp && place.name.endsWith("node's name")) continue; // SCTP keeps its port: renaming.test.ts
    both(`${place.name}: two flows of ${what} by two services`, async (t, node, family) => {
      serve(node, family, server(family), { outside, protocol, dsr: place.dsr ?? false });
      const first = await ask(node, family, one[family], make(40000, 80));
      t.is(way(first), `${seen(family)}:40000 > ${server(family)}:8080`);
      const second = await ask(node, family, two[family], make(40000, 80));
      t.not(second.verdict, "drop");
      t.deepEqual(wrongChecksums(second.frame), []);
      const port = second.parsed.ip?.sourcePort ?? 0;
      t.not(port, 40000);
      t.true(port >= 1024);
      t.is(
        way(second),
        `${seen(family)}:${port} > ${server(family)}:8080`,
        "its address stays, or is the node's as ever",
      );

      for (const [to, service] of [
        [40000, one],
        [port, two],
        [40000, one],
      ] as const) {
        const answered = await answer(node, family, make(8080, to, "SA"));
        t.not(answered.verdict, "drop");
        t.deepEqual(wrongChecksums(answered.frame), []);
        t.is(way(answered), `${service[family]}:80 > ${client(family)}:40000`);
        t.is(
          way(await ask(node, family, service[family], make(40000, 80, "A"))),
          `${seen(family)}:${to} > ${server(family)}:8080`,
        );
      }

      // The second one does not depend on the first.
      for (const letters of ["FA", "R"]) await ask(node, family, one[family], make(40000, 80, letters));
      for (const table of ["ct4", "ct6"] as const)
        for (const { key } of await node.maps.entries(table))
          if (Object.values(key).includes(40000) && !Object.values(key).includes(80))
            node.maps.delete(table, key as never);
      t.is(
        way(await ask(node, family, two[family], make(40000, 80, "A"))),
        `${seen(family)}:${port} > ${server(family)}:8080`,
      );
      t.is(way(await answer(node, family, make(8080, port, "A"))), `${two[family]}:80 > ${client(family)}:40000`);
    });
  }

  if (place.name.endsWith("node's name") || place.name.endsWith("itself")) continue; // renaming.test.ts, and no router is on the way

  both(
    `${place.name}: errors about packets of the second flow speak of what their receiver knows`,
    async (t, node, family) => {
      serve(node, family, server(family), { outside, dsr: place.dsr ?? false });
      await ask(node, family, one[family], tcp(40000, 80, "S"));
      const port = portOf(await ask(node, family, two[family], tcp(40000, 80, "S")));
      await answer(node, family, tcp(8080, port, "SA"));
      const data = Buffer.alloc(100, 7);
      // About an answer: for the backend, whom a pod asked or a client outside.
      const about = icmpError("tooBig", ip(two[family], client(family), tcp(80, 40000, "A", { data })));
      const back = await (outside
        ? node.run("from_network", wireFrame(router[family], two[family], about))
        : ask(node, family, two[family], about));
      t.not(back.verdict, "drop");
      t.deepEqual(wrongChecksums(back.frame), []);
      t.is(back.parsed.ip?.destination, server(family));
      const inner = (of: RunResult) => {
        const { source, sourcePort, destination, destinationPort } = of.parsed.ip?.inner ?? {};
        return `${source}:${sourcePort} > ${destination}:${destinationPort}`;
      };
      t.is(inner(back), `${server(family)}:8080 > ${client(family)}:${port}`);
      // About what the client sent: for the client.
      const sent = icmpError("tooBig", ip(client(family), server(family), tcp(port, 8080, "A", { data })));
      const told = await (place.server(family) === who.r[family]
        ? node.run("from_network", wireFrame(router[family], client(family), sent))
        : node.fromPod("b", podFrame("b", server(family), client(family), sent)));
      t.not(told.verdict, "drop");
      t.deepEqual(wrongChecksums(told.frame), []);
      t.is(told.parsed.ip?.destination, client(family));
      t.is(inner(told), `${client(family)}:40000 > ${two[family]}:80`);
    },
  );

  both(`${place.name}: fragments of the second flow stay together, both ways`, async (t, node, family) => {
    const data = Buffer.alloc(100, 1);
    serve(node, family, server(family), { outside, protocol: Protocol.udp, dsr: place.dsr ?? false });
    await ask(node, family, one[family], udp(40000, 80));
    let port = 0;
    for (const [offset, length] of [
      [0, 40],
      [40, 40],
      [80, 28],
    ] as const) {
      const asked = await ask(node, family, two[family], udp(40000, 80, { data }), {
        part: { offset, length },
        id: 77,
      });
      t.is(asked.verdict, "redirect");
      t.is(asked.parsed.ip?.destination, server(family));
      if (offset === 0) port = asked.parsed.ip?.sourcePort ?? 0;
    }
    t.true(port !== 40000 && port >= 1024);
    for (const [offset, length] of [
      [0, 40],
      [40, 40],
      [80, 28],
    ] as const) {
      const answered = await answer(node, family, udp(8080, port, { data }), { part: { offset, length }, id: 78 });
      t.not(answered.verdict, "drop");
      t.is(answered.parsed.ip?.source, two[family]);
      if (offset === 0) t.is(answered.parsed.ip?.destinationPort, 40000);
    }
  });
}

/** The others ask as a pod does whose backend is on another node. */
const [{ ask, answer }] = places as readonly [Place];

both(
  "a connection that one end has closed goes on, and one that is over leaves the second its own port",
  async (t, node, family) => {
    serve(node, family, who.r[family], { outside: false });
    await ask(node, family, one[family], tcp(40000, 80, "S"));
    await answer(node, family, tcp(8080, 40000, "SA"));
    await ask(node, family, one[family], tcp(40000, 80, "FA"));
    const port = portOf(await ask(node, family, two[family], tcp(40000, 80, "S")));
    t.not(port, 40000);
    t.is(way(await answer(node, family, tcp(8080, 40000, "A"))), `${one[family]}:80 > ${who.a[family]}:40000`);
    await ask(node, family, two[family], tcp(40000, 80, "R"));
    const anew = await ask(node, family, two[family], tcp(40000, 80, "S"));
    t.is(portOf(anew), port, "the same service again: a new connection under the old one's ports");
    await node.maps.clear("ct4", "ct6", "nat4", "nat6");
    t.is(portOf(await ask(node, family, two[family], tcp(40000, 80, "S"))), 40000);
  },
);

both("in the middle of a connection no port is changed: such a packet is dropped", async (t, node, family) => {
  serve(node, family, who.r[family], { outside: false });
  await ask(node, family, one[family], tcp(40000, 80, "S"));
  node.takeMetrics();
  await isDropped(t, node, await ask(node, family, two[family], tcp(40000, 80, "A")), "ctCollision", "egress");
});

both(
  "a client below 1024 stays there, and no flow's port is given: when all are taken the flow is refused",
  async (t, node, family) => {
    serve(node, family, who.r[family], { outside: false });
    const direct = (port: number) =>
      node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(port, 8080, "S")));
    for (let port = 600; port < 1024; port++) if (port !== 777) await direct(port);
    const fresh = async (to: string) => {
      for (let i = 0; i < 200; i++) {
        const asked = await ask(node, family, to, tcp(700, 80, "S"));
        if (asked.verdict !== "drop") return asked;
      }
      return null;
    };
    t.is(portOf((await fresh(one[family])) as RunResult), 777, "its own one is a direct flow's");
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await ask(node, family, two[family], tcp(700, 80, "S")), "natFull", "egress");
    const left = family === "ipv4" ? await node.maps.entries("nat4") : await node.maps.entries("nat6");
    t.is(left.length, 2, "no claim is left of what was refused");
  },
);

both("datagrams whose backend leaves go to another one from their own port", async (t, node, family) => {
  const protocol = Protocol.udp;
  serve(node, family, who.r[family], { outside: false, protocol });
  await ask(node, family, one[family], udp(40000, 80));
  const port = portOf(await ask(node, family, two[family], udp(40000, 80)));
  serve(node, family, who.r[family], { outside: false, protocol, id: 3 });
  t.is(portOf(await ask(node, family, two[family], udp(40000, 80))), port, "another table with the same backend");
  serve(node, family, who.b[family], { outside: false, protocol, id: 5 });
  t.is(way(await ask(node, family, two[family], udp(40000, 80))), `${who.a[family]}:40000 > ${who.b[family]}:8080`);
  const again = await ask(node, family, one[family], udp(40000, 80));
  t.not(portOf(again), 40000, "and now the first one is in its way");
  t.is(again.parsed.ip?.destination, who.b[family]);
});

both(
  "policy judges the second flow by its client's address, again when it changes, and an answer too",
  async (t, node, family) => {
    serve(node, family, who.r[family], { outside: false });
    const ports = [{ protocol: 6, port: 8080, groups: [0] }];
    putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, ports, peers: { [who.r.identity]: [0] } });
    node.enforce("a", "egress");
    await ask(node, family, one[family], tcp(40000, 80, "S"));
    const port = portOf(await ask(node, family, two[family], tcp(40000, 80, "S")));
    t.is(way(await answer(node, family, tcp(8080, port, "SA"))), `${two[family]}:80 > ${who.a[family]}:40000`);
    await node.maps.clear("policy_peer");
    node.enforce("a", "egress", { policyRevision: 2 });
    t.is((await ask(node, family, two[family], tcp(40000, 80, "A"))).verdict, "drop");
    t.is((await answer(node, family, tcp(8080, port, "A"))).verdict, "drop");
  },
);

both(
  "a client that talks to the backend itself gets another port for the service, but none of it for the backend",
  async (t, node, family) => {
    serve(node, family, who.r[family], { outside: false });
    const direct = (letters: string) =>
      node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(40000, 8080, letters)));
    await direct("S");
    const port = portOf(await ask(node, family, one[family], tcp(40000, 80, "S")));
    t.not(port, 40000);
    t.is(way(await answer(node, family, tcp(8080, 40000, "SA"))), `${who.r[family]}:8080 > ${who.a[family]}:40000`);
    t.is(way(await answer(node, family, tcp(8080, port, "SA"))), `${one[family]}:80 > ${who.a[family]}:40000`);
    isNotDropped(t, await direct("A"));
    node.takeMetrics();
    const stranger = await node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(port, 8080, "S")));
    await isDropped(t, node, stranger, "ctCollision", "egress");
  },
);

function isNotDropped(t: { not: (one: unknown, other: unknown) => void }, result: RunResult): void {
  t.not(result.verdict, "drop");
}

both(
  "a server of the node that listens is in nobody's way; its clients below 1024 stay there, too",
  async (t, node, family) => {
    const code = `require("net").createServer().listen(8080, ${JSON.stringify(who.host[family])}, () => console.log("up"))`;
    const server = spawn("ip", ["netns", "exec", node.netns, process.execPath, "-e", code], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.teardown(() => server.kill());
    await once(server.stdout, "data");
    serve(node, family, who.host[family], { outside: true });
    for (const own of [40000, 700, 600]) {
      t.is(portOf(await fromOutside(node, family, one[family], tcp(own, 80, "S"))), own);
      const port = portOf(await fromOutside(node, family, two[family], tcp(own, 80, "S")));
      t.true(port !== own && port < 1024 === own < 1024, `${port} for ${own}`);
    }
  },
);

both("an answer that comes when nobody knows the client's own port any more is dropped", async (t, node, family) => {
  serve(node, family, who.r[family], { outside: false });
  await ask(node, family, one[family], tcp(40000, 80, "S"));
  const port = portOf(await ask(node, family, two[family], tcp(40000, 80, "S")));
  await node.maps.clear("nat4", "nat6");
  node.takeMetrics();
  await isDropped(t, node, await answer(node, family, tcp(8080, port, "SA")), "natFailed", "ingress");
  const anew = await ask(node, family, two[family], tcp(40000, 80, "S"));
  isPassed(t, node, anew, "redirect", "egress");
  t.true(portOf(anew) !== 40000);
});

both(
  "direct return by another node: that one alone knows the second service, so its flow is refused",
  async (t, node, family) => {
    serve(node, family, who.r[family], { outside: true, dsr: true });
    const passed = [];
    for (const to of [one, two]) passed.push(await fromOutside(node, family, to[family], tcp(40000, 80, "S")));
    const pod = node.putPod(
      "b",
      family === "ipv4" ? { ipv4: Buffer.from(mapped(who.r.ipv4)).readUInt32BE(12) } : { ipv6: mapped(who.r.ipv6) },
    );
    node.maps.put("endpoint_addr", { address: mapped(who.r[family]) }, pod);
    const [first, second] = passed as [RunResult, RunResult];
    t.is((await node.run("from_network", first.frame)).verdict, "redirect");
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await node.run("from_network", second.frame), "ctCollision", "ingress");
  },
);
