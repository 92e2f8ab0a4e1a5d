/**
 * What a service address is to everything around it: conntrack (entries, tuples in use, connections that are older than the
 * service), policy, affinity's table, headers of unusual length, and the last look at what leaves.
 * (Over 400 lines: one subject, whose helpers and service table all of its tests share.)
 */
import {
  echo,
  extension,
  icmpError,
  type IpOptions,
  ip,
  Protocol,
  raw,
  sctp,
  tcp,
  type Transport,
  udp,
} from "../../support/packets.ts";
import { type Family, hostMac, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { mapped, putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";
import { upFor } from "../../support/uptime.ts";

const { check, both } = programTests();

const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;
const loopback = { ipv4: "169.254.42.1", ipv6: "fd74:616e:6465:6d00::1" } as const;

interface Served {
  readonly id?: number;
  readonly protocol?: number;
  readonly port?: number;
  readonly affinitySeconds?: number;
}

/** The service has these backends from now on, at port 8080. */
function serve(node: ProgramNode, family: Family, backends: readonly string[], options: Served = {}): void {
  const { id = 1, protocol = Protocol.tcp, port = 80, affinitySeconds } = options;
  const table = backends.map((address) => ({ address, port: 8080 }));
  const service = { id, address: vip[family], port, protocol, backends: table };
  putService(node.maps, affinitySeconds === undefined ? service : { ...service, affinitySeconds });
}

const ask = (node: ProgramNode, family: Family, transport: Transport, options?: IpOptions): Promise<RunResult> =>
  node.fromPod("a", podFrame("a", who.a[family], vip[family], transport, options));

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

/** The node's flows as [who > whom, flags, translation], the services' choices first. */
async function tracked(node: ProgramNode, family: Family): Promise<readonly (readonly unknown[])[]> {
  const flows = await node.flows(family);
  return flows
    .map((flow) => [`${flow.initiator} > ${flow.responder}`, flow.flags.join(" "), flow.nat, flow.natId] as const)
    .sort((x, y) => Number(y[1] === "service") - Number(x[1] === "service") || x[0].localeCompare(y[0]));
}

const transports = [
  ["TCP", Protocol.tcp, (from: number, to: number, letters = "S") => tcp(from, to, letters), "syn "],
  ["UDP", Protocol.udp, (from: number, to: number) => udp(from, to), ""],
] as const;

for (const [what, protocol, make, opened] of transports) {
  for (const backend of ["b", "r"] as const) {
    const place = backend === "b" ? "on this node" : "on another node";
    both(`${what}: the way to a backend ${place} and back, and what is remembered of it`, async (t, node, family) => {
      const [client, server] = [who.a[family], who[backend][family]];
      serve(node, family, [server], { protocol, id: 7 });
      const asked = await ask(node, family, make(40000, 80));
      isPassed(t, node, asked, "redirect", "egress");
      t.is(way(asked), `${client}:40000 > ${server}:8080`);
      t.is(asked.parsed.destinationMac, backend === "b" ? who.b.mac.toString("hex") : asked.parsed.destinationMac);
      const local = backend === "b" ? " local" : "";
      t.deepEqual(await tracked(node, family), [
        [`${client}:40000 > ${vip[family]}:80`, "service", `${server}:8080`, 7],
        [`${client}:40000 > ${server}:8080`, `${opened}nat${local}`, `${vip[family]}:80`, 7],
      ]);

      await node.maps.clear("service4", "service6", "service_backend");
      const answer = make(8080, 40000, "SA");
      const answered =
        backend === "b"
          ? await node.fromPod("b", podFrame("b", server, client, answer))
          : await node.run("from_network", wireFrame(server, client, answer));
      isPassed(t, node, answered, "redirect", backend === "b" ? "egress" : "ingress");
      t.is(way(answered), `${vip[family]}:80 > ${client}:40000`, "also when the service has gone meanwhile");
      t.is(answered.parsed.destinationMac, who.a.mac.toString("hex"));
    });
  }

  both(`${what}: a pod that picks itself has one flow with the loopback address`, async (t, node, family) => {
    const self = who.a[family];
    serve(node, family, [self], { protocol });
    const asked = await ask(node, family, make(40000, 80));
    isPassed(t, node, asked, "redirect", "egress");
    t.is(way(asked), `${loopback[family]}:40000 > ${self}:8080`);
    t.is(asked.parsed.sourceMac, hostMac.toString("hex"));
    const answered = await node.fromPod("a", podFrame("a", self, loopback[family], make(8080, 40000, "SA")));
    isPassed(t, node, answered, "redirect", "egress");
    t.is(way(answered), `${vip[family]}:80 > ${self}:40000`);
    const again = await ask(node, family, make(40000, 80, "A"));
    t.is(way(again), `${loopback[family]}:40000 > ${self}:8080`);
    t.is((await tracked(node, family)).length, 2);
  });

  both(`${what}: a direct flow keeps its tuple, a service's beside it has another port`, async (t, node, family) => {
    const direct = (letters?: string) =>
      node.fromPod("a", podFrame("a", who.a[family], who.r[family], make(40000, 8080, letters)));
    await direct();
    serve(node, family, [who.r[family]], { protocol });
    t.not((await ask(node, family, make(40000, 80))).parsed.ip?.sourcePort, 40000);
    node.takeMetrics();
    isPassed(t, node, await direct("A"), "redirect", "egress");
    const answer = wireFrame(who.r[family], who.a[family], make(8080, 40000, "A"));
    t.is(way(await node.run("from_network", answer)), `${who.r[family]}:8080 > ${who.a[family]}:40000`);
    t.is((await ask(node, family, make(40001, 80))).verdict, "redirect", "another port of the client is free");
    await upFor(200);
    await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: entry.lastUsed - 200 }));
    t.is((await ask(node, family, make(40000, 80))).verdict, "redirect", "what has timed out is in nobody's way");
  });

  both(`${what}: a packet refreshes the choice, so that it lives as long as its flow`, async (t, node, family) => {
    serve(node, family, [who.r[family]], { protocol });
    await ask(node, family, make(40000, 80));
    const table = family === "ipv4" ? "ct4" : "ct6";
    const oldest = async () => Math.min(...(await node.maps.entries(table)).map(({ value }) => value.lastUsed));
    const before = await oldest();
    await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: entry.lastUsed - 5 }));
    await ask(node, family, make(40000, 80, "A"));
    t.true((await oldest()) >= before);
  });

  both(`${what}: an answered flow to an address that becomes a service stays as it is`, async (t, node, family) => {
    await ask(node, family, make(40000, 80));
    await node.run("from_network", wireFrame(vip[family], who.a[family], make(80, 40000, "SA")));
    serve(node, family, [who.r[family]], { protocol });
    t.is(way(await ask(node, family, make(40000, 80, "A"))), `${who.a[family]}:40000 > ${vip[family]}:80`);
    t.is(way(await ask(node, family, make(40001, 80))), `${who.a[family]}:40001 > ${who.r[family]}:8080`);
  });

  both(`${what}: what two pods ask from one port are two flows, each answered in its turn`, async (t, node, family) => {
    serve(node, family, [who.r[family]], { protocol });
    for (const pod of ["a", "b"] as const) {
      const asked = await node.fromPod(pod, podFrame(pod, who[pod][family], vip[family], make(40000, 80)));
      t.is(way(asked), `${who[pod][family]}:40000 > ${who.r[family]}:8080`);
    }
    for (const pod of ["b", "a"] as const) {
      const answer = wireFrame(who.r[family], who[pod][family], make(8080, 40000, "SA"));
      t.is(way(await node.run("from_network", answer)), `${vip[family]}:80 > ${who[pod][family]}:40000`);
    }
    t.is((await tracked(node, family)).length, 4);
  });

  both(`${what}: IPv4 options and IPv6 extension headers do not move what is translated`, async (t, node, family) => {
    serve(node, family, [who.b[family]], { protocol });
    const longer =
      family === "ipv4" ? { options: Buffer.from([1, 1, 1, 0]) } : { extensions: [extension(Protocol.destination, 1)] };
    const asked = await ask(node, family, make(40000, 80), longer);
    isPassed(t, node, asked, "redirect", "egress");
    t.is(way(asked), `${who.a[family]}:40000 > ${who.b[family]}:8080`);
  });
}

for (const [what, protocol, transport] of [
  ["a connection", Protocol.tcp, tcp(40000, 80, "S")],
  ["a packet in the middle of a forgotten connection", Protocol.tcp, tcp(40000, 80, "A")],
  ["a datagram", Protocol.udp, udp(40000, 80)],
  ["an SCTP association", Protocol.sctp, sctp(40000, 80)],
] as const) {
  both(`no backend: ${what} is dropped, and leaves no entry`, async (t, node, family) => {
    serve(node, family, [], { protocol });
    await isDropped(t, node, await ask(node, family, transport), "noBackend", "egress");
    t.deepEqual(await tracked(node, family), []);
  });
}

both("no backend: a table whose slots have gone counts as empty", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  await node.maps.clear("service_backend");
  await isDropped(t, node, await ask(node, family, tcp(40000, 80, "S")), "noBackend", "egress");
});

both("a connection under way goes on without backends, a datagram does not", async (t, node, family) => {
  for (const [, protocol, make] of transports) {
    serve(node, family, [who.r[family]], { protocol });
    await ask(node, family, make(40000, 80));
    serve(node, family, [], { protocol, id: 2 });
  }
  t.is(way(await ask(node, family, tcp(40000, 80, "A"))), `${who.a[family]}:40000 > ${who.r[family]}:8080`);
  node.takeMetrics();
  await isDropped(t, node, await ask(node, family, udp(40000, 80)), "noBackend", "egress");
});

both("TCP: a connection whose choice was forgotten gets a backend again", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  for (const letters of ["S", "A"]) await ask(node, family, tcp(40000, 80, letters));
  await node.maps.clear("ct4", "ct6");
  t.is(way(await ask(node, family, tcp(40000, 80, "A"))), `${who.a[family]}:40000 > ${who.r[family]}:8080`);
});

both("TCP: a SYN sent again stays with its backend, which the new table has too", async (t, node, family) => {
  const many = [who.r[family], who.b[family], who.new[family]];
  serve(node, family, [who.r[family]]);
  await ask(node, family, tcp(40000, 80, "S"));
  serve(node, family, many, { id: 2 });
  for (let i = 0; i < 12; i++)
    t.is(way(await ask(node, family, tcp(40000, 80, "S"))), `${who.a[family]}:40000 > ${who.r[family]}:8080`);
  t.is((await tracked(node, family))[0]?.[3], 2, "the choice is one of the new table");
});

both("what has no ports, another port and another protocol pass untranslated", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  serve(node, family, [who.r[family]], { protocol: 47, port: 0, id: 2 });
  for (const transport of [
    raw(47),
    raw(Protocol.esp),
    echo(vip[family], "request", 5),
    tcp(40000, 8080, "S"),
    udp(40000, 80),
    sctp(40000, 80),
  ]) {
    const passed = await ask(node, family, transport);
    isPassed(t, node, passed, "redirect", "egress");
    t.is(passed.parsed.ip?.destination, vip[family]);
    t.is((await node.run("to_network", wireFrame(who.a[family], vip[family], transport))).verdict, "stack");
  }
  t.false((await tracked(node, family)).some(([, flags]) => String(flags).includes("service")));
});

/** Rules for pod a's egress, and whether they let it connect to the service whose backend is r:8080. */
const rules: readonly (readonly [string, boolean, (family: Family) => Partial<Parameters<typeof putPolicy>[1]>])[] = [
  ["the backend's identity and port allow", true, () => ({ peers: { [who.r.identity]: [0] } })],
  [
    "the backend's address allows",
    true,
    (family) => ({ prefixes: { [`${who.r[family]}/${family === "ipv4" ? 32 : 128}`]: [0] } }),
  ],
  [
    "the service's port does not allow",
    false,
    () => ({ peers: { 0: [0] }, ports: [{ protocol: 6, port: 80, groups: [0] }] }),
  ],
  [
    "the service's address does not allow",
    false,
    (family) => ({ prefixes: { [`${vip[family]}/${family === "ipv4" ? 32 : 128}`]: [0] } }),
  ],
  ["what nobody knows of the service's address (world) does not allow", false, () => ({ peers: { 2: [0], 3: [0] } })],
];
for (const [what, allowed, policy] of rules) {
  both(`policy asks about the backend: ${what}`, async (t, node, family) => {
    serve(node, family, [who.r[family]]);
    const ports = [{ protocol: 6, port: 8080, groups: [0] }];
    putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, ports, ...policy(family) });
    node.enforce("a", "egress");
    const asked = await ask(node, family, tcp(40000, 80, "S"));
    if (allowed) isPassed(t, node, asked, "redirect", "egress");
    else {
      t.is(asked.verdict, "drop");
      const [event] = await node.takeEvents();
      t.is(event?.reason, 1);
      t.is(event?.destinationIdentity, who.r.identity, "the event names the backend");
      t.deepEqual(Buffer.from(event?.destination ?? []), Buffer.from(mapped(who.r[family])));
      t.is(event?.destinationPort, 8080);
    }
  });
}

both("policy that denies the service's address denies nobody who is asked through it", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  putPolicy(node.maps, {
    set: 1,
    direction: "egress",
    denies: 1,
    allows: 1,
    peers: { 0: [1] },
    prefixes: { [`${vip[family]}/${family === "ipv4" ? 32 : 128}`]: [0] },
    ports: [{ groups: [0, 1] }],
  });
  node.enforce("a", "egress");
  isPassed(t, node, await ask(node, family, tcp(40000, 80, "S")), "redirect", "egress");
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await ask(node, family, tcp(40000, 81, "S")), "policyDeny", "egress");
});

both("a policy that changes ends a translated connection, in both directions", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  const ports = [{ protocol: 6, port: 8080, groups: [0] }];
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, ports, peers: { [who.r.identity]: [0] } });
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
  node.enforce("a", "both");
  for (const letters of ["S", "A"]) t.is((await ask(node, family, tcp(40000, 80, letters))).verdict, "redirect");
  await node.maps.clear("policy_peer");
  node.enforce("a", "both", { policyRevision: 2 });
  t.is((await ask(node, family, tcp(40000, 80, "A"))).verdict, "drop");
  const answer = wireFrame(who.r[family], who.a[family], tcp(8080, 40000, "A"));
  t.is((await node.run("from_network", answer)).verdict, "drop");
});

check("UDP without a checksum has none on the whole way, also where a pod picks itself", async (t, node) => {
  for (const [source, backend] of [
    [who.a.ipv4, who.b.ipv4],
    [loopback.ipv4, who.a.ipv4],
  ] as const) {
    serve(node, "ipv4", [backend], { protocol: Protocol.udp });
    await node.maps.clear("ct4");
    const asked = await ask(node, "ipv4", udp(40000, 80, { checksum: 0 }));
    t.is(way(asked), `${source}:40000 > ${backend}:8080`);
    t.is(asked.parsed.ip?.payload.readUInt16BE(6), 0);
    t.deepEqual(wrongChecksums(asked.frame), []);
    const name = backend === who.b.ipv4 ? "b" : "a";
    const answered = await node.fromPod(name, podFrame(name, backend, source, udp(8080, 40000, { checksum: 0 })));
    t.is(way(answered), `${vip.ipv4}:80 > ${who.a.ipv4}:40000`);
    t.is(answered.parsed.ip?.payload.readUInt16BE(6), 0);
    t.deepEqual(wrongChecksums(answered.frame), []);
  }
});

/** Four, so that one that is met again and again is met on purpose. */
const backends = (family: Family): readonly string[] => [
  who.r[family],
  who.b[family],
  who.new[family],
  who.node2[family],
];
async function chosen(node: ProgramNode, family: Family, port: number): Promise<string | undefined> {
  return (await ask(node, family, udp(port, 80))).parsed.ip?.destination;
}

both("affinity: a use renews the time, and another port of the service is another choice", async (t, node, family) => {
  await node.maps.clear("affinity");
  const options = { protocol: Protocol.udp, affinitySeconds: 60 };
  serve(node, family, backends(family), options);
  const first = await chosen(node, family, 40_000);
  for (let port = 40_001; port < 40_020; port++) {
    await node.ageAffinity(40);
    t.is(await chosen(node, family, port), first);
  }
  serve(node, family, backends(family), { ...options, port: 81, id: 2 });
  await ask(node, family, udp(40_000, 81));
  await node.fromPod("b", podFrame("b", who.b[family], vip[family], udp(40_000, 80)));
  const hex = (address: Uint8Array) => Buffer.from(address).toString("hex");
  const keys = (await node.maps.entries("affinity")).map(({ key }) => `${hex(key.client)} ${key.port} ${key.kind}`);
  const [a, b] = [hex(mapped(who.a[family])), hex(mapped(who.b[family]))];
  t.deepEqual(keys.sort(), [`${a} 80 0`, `${a} 81 0`, `${b} 80 0`]);
});

both("affinity: a new table keeps a client at its backend, or gives it a new one for good", async (t, node, family) => {
  await node.maps.clear("affinity");
  const options = { protocol: Protocol.udp, affinitySeconds: 60 };
  serve(node, family, backends(family), options);
  const first = await chosen(node, family, 40_000);
  serve(node, family, [...backends(family)].reverse(), { ...options, id: 2 });
  for (let port = 40_001; port < 40_012; port++) t.is(await chosen(node, family, port), first);
  const rest = backends(family).filter((address) => address !== first);
  serve(node, family, rest, { ...options, id: 3 });
  const second = await chosen(node, family, 40_020);
  t.true(rest.includes(second ?? ""));
  for (let port = 40_021; port < 40_032; port++) t.is(await chosen(node, family, port), second);
});

both(
  "an ICMP error shows the service inside when the service has gone, and never for a direct flow",
  async (t, node, family) => {
    serve(node, family, [who.r[family]]);
    await ask(node, family, tcp(40000, 80, "S"));
    await node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(40001, 8080, "S")));
    await node.maps.clear("service4", "service6", "service_backend");
    for (const [port, shown] of [
      [40000, `${vip[family]}:80`],
      [40001, `${who.r[family]}:8080`],
    ] as const) {
      const about = ip(who.a[family], who.r[family], tcp(port, 8080, "S"));
      const told = await node.run(
        "from_network",
        wireFrame(who.node2[family], who.a[family], icmpError("tooBig", about)),
      );
      t.is(told.verdict, "redirect");
      t.deepEqual(wrongChecksums(told.frame), []);
      const inner = told.parsed.ip?.inner;
      t.is(`${inner?.destination}:${inner?.destinationPort}`, shown);
    }
  },
);

both(
  "nothing leaves for a service untranslated: first fragments too, of the node and of what it forwards",
  async (t, node, family) => {
    serve(node, family, [who.r[family]]);
    serve(node, family, [who.r[family]], { protocol: Protocol.udp });
    serve(node, family, [who.r[family]], { protocol: Protocol.sctp });
    const long = udp(40000, 80, { data: Buffer.alloc(80) });
    const part = { offset: 0, length: 40 };
    for (const [transport, options] of [
      [tcp(40000, 80, "S"), {}],
      [tcp(40000, 80, "A"), {}],
      [udp(40000, 80), {}],
      [sctp(40000, 80), {}],
      [long, { part }],
    ] as const) {
      for (const ownStack of [true, false]) {
        if (ownStack && transport.protocol === Protocol.sctp) continue; // node-client.test.ts
        const packet = wireFrame(who.host[family], vip[family], transport, options);
        await isDropped(t, node, await node.run("to_network", packet, { ownStack }), "noBackend", "egress");
      }
    }
    const answer = wireFrame(vip[family], who.r[family], tcp(80, 40000, "SA"));
    t.is(
      (await node.run("to_network", answer)).verdict,
      "stack",
      "what comes from a service's address is no matter of this",
    );
  },
);
