/** Services per packet: for what skips the socket hook. Choice, stickiness, the way back, hairpin, and what cannot be translated. */
import { EndpointFlags } from "../../../src/native/layouts.gen.ts";
import { bytesOf, echo, sctp, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putPolicy, putService } from "../../support/programs-maps.ts";
import { isDropped, programTests } from "../../support/programs-test.ts";

const { check, both } = programTests();

const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;
const other = { ipv4: "10.96.0.11", ipv6: "fd00:96::11" } as const;
const remote = {
  ipv4: Array.from({ length: 8 }, (_, i) => `10.0.2.${i + 1}`),
  ipv6: Array.from({ length: 8 }, (_, i) => `fd00:2::${i + 1}`),
} as const;

interface Served {
  readonly id?: number;
  readonly address?: string;
  readonly protocol?: number;
  readonly of?: readonly string[];
  readonly port?: number;
  readonly affinitySeconds?: number;
}

function serve(node: ProgramNode, family: Family, options: Served = {}): void {
  putService(node.maps, {
    id: options.id ?? 1,
    address: options.address ?? vip[family],
    port: 80,
    protocol: options.protocol ?? 6,
    backends: (options.of ?? remote[family]).map((address) => ({ address, port: options.port ?? 8080 })),
    ...(options.affinitySeconds !== undefined && { affinitySeconds: options.affinitySeconds }),
  });
}

const send = (node: ProgramNode, family: Family, transport: Transport, to: string = vip[family]): Promise<RunResult> =>
  node.fromPod("a", podFrame("a", who.a[family], to, transport));

const kinds = [
  ["TCP", 6, (source: number, destination: number, letters = "S") => tcp(source, destination, letters)],
  ["UDP", 17, (source: number, destination: number) => udp(source, destination)],
] as const;

for (const [what, protocol, make] of kinds) {
  both(`${what} to a service goes to a backend, and every backend is used`, async (t, node, family) => {
    serve(node, family, { protocol });
    const seen = new Set<string | undefined>();
    for (let port = 40_000; port < 40_060; port++) {
      const result = await send(node, family, make(port, 80));
      t.is(result.verdict, "redirect");
      t.deepEqual(wrongChecksums(result.frame), []);
      t.is(result.parsed.ip?.source, who.a[family]);
      t.is(result.parsed.ip?.sourcePort, port);
      t.is(result.parsed.ip?.destinationPort, 8080);
      seen.add(result.parsed.ip?.destination);
    }
    t.deepEqual([...seen].sort(), [...remote[family]].sort());
  });

  both(
    `${what}: the packets of a client stay with its backend, and the answer shows the service`,
    async (t, node, family) => {
      serve(node, family, { protocol });
      const first = (await send(node, family, make(40000, 80))).parsed.ip?.destination ?? "";
      for (let i = 0; i < 5; i++) t.is((await send(node, family, make(40000, 80, "A"))).parsed.ip?.destination, first);
      const answer = wireFrame(first, who.a[family], make(8080, 40000, "SA"));
      for (const result of [
        await node.run("from_network", answer),
        await node.run("to_pod", stackFrame("a", first, who.a[family], make(8080, 40000, "SA"))),
      ]) {
        t.not(result.verdict, "drop");
        t.deepEqual(wrongChecksums(result.frame), []);
        t.is(result.parsed.ip?.source, vip[family]);
        t.is(result.parsed.ip?.sourcePort, 80);
        t.is(result.parsed.ip?.destination, who.a[family]);
        t.is(result.parsed.ip?.destinationPort, 40000);
      }
      const flows = await node.flows(family);
      t.deepEqual(
        flows
          .map((flow) => [flow.responder, flow.nat, flow.flags.includes("service")])
          .sort((x, y) => Number(x[2]) - Number(y[2])),
        [
          [`${first}:8080`, `${vip[family]}:80`, false],
          [`${vip[family]}:80`, `${first}:8080`, true],
        ],
      );
    },
  );
}

both(
  "a backend on this node: both policies are asked about the backend, and its answer shows the service",
  async (t, node, family) => {
    serve(node, family, { of: [who.b[family]] });
    const web = { allows: 1, ports: [{ protocol: 6, port: 8080, groups: [0] }] } as const;
    putPolicy(node.maps, { ...web, set: 1, direction: "egress", peers: { [who.b.identity]: [0] } });
    putPolicy(node.maps, { ...web, set: 2, direction: "ingress", peers: { [who.a.identity]: [0] } });
    node.enforce("a", "egress");
    node.enforce("b", "ingress");
    const asked = await send(node, family, tcp(40000, 80, "S"));
    t.is(asked.verdict, "redirect");
    t.is(asked.parsed.ip?.destination, who.b[family]);
    t.is(asked.parsed.destinationMac, who.b.mac.toString("hex"));
    const answered = await node.fromPod("b", podFrame("b", who.b[family], who.a[family], tcp(8080, 40000, "SA")));
    t.is(answered.verdict, "redirect");
    t.deepEqual(wrongChecksums(answered.frame), []);
    t.is(answered.parsed.ip?.source, vip[family]);
    t.is(answered.parsed.ip?.sourcePort, 80);
    t.is(answered.parsed.destinationMac, who.a.mac.toString("hex"));

    putPolicy(node.maps, { ...web, set: 1, direction: "egress", peers: { [who.b.identity]: [] } });
    t.is((await send(node, family, tcp(40001, 80, "S"))).verdict, "drop", "the backend is what policy is about");
  },
);

both(
  "hairpin: a pod that picks itself sees a link-local client, and its answer is turned back",
  async (t, node, family) => {
    serve(node, family, { of: [who.a[family]], port: 8080 });
    putPolicy(node.maps, { set: 1, direction: "egress", ports: [] });
    putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
    node.enforce("a", "both");
    const asked = await send(node, family, tcp(40000, 80, "S"));
    t.is(asked.verdict, "redirect", "a pod may always talk to itself");
    t.deepEqual(wrongChecksums(asked.frame), []);
    const loopback = asked.parsed.ip?.source ?? "";
    t.not(loopback, who.a[family]);
    t.is(asked.parsed.ip?.destination, who.a[family]);
    t.is(asked.parsed.ip?.destinationPort, 8080);
    t.is(asked.parsed.destinationMac, who.a.mac.toString("hex"));
    const answered = await node.fromPod("a", podFrame("a", who.a[family], loopback, tcp(8080, 40000, "SA")));
    t.is(answered.verdict, "redirect");
    t.deepEqual(wrongChecksums(answered.frame), []);
    t.is(answered.parsed.ip?.source, vip[family]);
    t.is(answered.parsed.ip?.sourcePort, 80);
    t.is(answered.parsed.ip?.destination, who.a[family]);
    t.is(answered.parsed.ip?.destinationPort, 40000);
  },
);

both("hairpin: two pods with the same port are two flows", async (t, node, family) => {
  serve(node, family, { of: [who.a[family]] });
  serve(node, family, { id: 2, address: other[family], of: [who.b[family]] });
  await send(node, family, tcp(40000, 80, "S"));
  const second = await node.fromPod("b", podFrame("b", who.b[family], other[family], tcp(40000, 80, "S")));
  t.is(second.parsed.destinationMac, who.b.mac.toString("hex"));
  const loopback = second.parsed.ip?.source ?? "";
  const answered = await node.fromPod("a", podFrame("a", who.a[family], loopback, tcp(8080, 40000, "SA")));
  t.is(answered.parsed.destinationMac, who.a.mac.toString("hex"));
  t.is((await node.flows(family)).filter((flow) => flow.flags.includes("loopback")).length, 2);
});

both("a service without a backend refuses, and counts as that", async (t, node, family) => {
  serve(node, family, { of: [] });
  await isDropped(t, node, await send(node, family, tcp(40000, 80, "S")), "noBackend", "egress");
  t.deepEqual(await node.flows(family), []);
});

both("a connection keeps its backend when the service loses it, or goes", async (t, node, family) => {
  serve(node, family);
  const first = (await send(node, family, tcp(40000, 80, "S"))).parsed.ip?.destination;
  serve(node, family, { id: 2, of: remote[family].filter((address) => address !== first) });
  t.is((await send(node, family, tcp(40000, 80, "A"))).parsed.ip?.destination, first);
  await node.maps.clear("service4", "service6");
  t.is((await send(node, family, tcp(40000, 80, "A"))).parsed.ip?.destination, first);
  t.is(
    (await send(node, family, tcp(40001, 80, "S"))).parsed.ip?.destination,
    vip[family],
    "a new one is to a plain address",
  );
});

both(
  "datagrams stay with their backend while the service has it, and leave when it has not",
  async (t, node, family) => {
    const ask = async () => (await send(node, family, udp(40000, 80))).parsed.ip?.destination;
    serve(node, family, { protocol: 17 });
    const first = await ask();
    serve(node, family, { id: 2, protocol: 17, of: [...remote[family]].reverse() });
    for (let i = 0; i < 10; i++) t.is(await ask(), first);
    serve(node, family, { id: 3, protocol: 17, of: remote[family].filter((address) => address !== first) });
    const second = await ask();
    t.not(second, first);
    t.is(await ask(), second);
  },
);

both("a new connection from the same port goes to a backend that is there", async (t, node, family) => {
  serve(node, family);
  const first = (await send(node, family, tcp(40000, 80, "S"))).parsed.ip?.destination;
  await send(node, family, tcp(40000, 80, "R"));
  const rest = remote[family].filter((address) => address !== first);
  serve(node, family, { id: 2, of: rest });
  const second = await send(node, family, tcp(40000, 80, "S"));
  t.is(second.verdict, "redirect");
  t.true(rest.includes(second.parsed.ip?.destination ?? ""));
});

both(
  "a flow that began before its service is translated, once it is there and nobody has answered",
  async (t, node, family) => {
    for (const [, protocol, make] of kinds) {
      t.is((await send(node, family, make(40000, 80))).parsed.ip?.destination, vip[family]);
      serve(node, family, { protocol });
      t.true(remote[family].includes((await send(node, family, make(40000, 80))).parsed.ip?.destination ?? ""));
    }
  },
);

both("affinity: a client's connections go to one backend", async (t, node, family) => {
  await node.maps.clear("affinity");
  serve(node, family, { affinitySeconds: 60 });
  const first = (await send(node, family, tcp(40000, 80, "S"))).parsed.ip?.destination;
  for (let port = 40_001; port < 40_020; port++)
    t.is((await send(node, family, tcp(port, 80, "S"))).parsed.ip?.destination, first);
  const seen = new Set<string | undefined>();
  for (let port = 41_000; port < 41_040; port++) {
    await node.ageAffinity(65);
    seen.add((await send(node, family, tcp(port, 80, "S"))).parsed.ip?.destination);
  }
  t.true(seen.size > 1, "after its time every backend may be picked");
  serve(node, family, { id: 2, affinitySeconds: 60, of: remote[family].slice(0, 1) });
  t.is((await send(node, family, tcp(42_000, 80, "S"))).parsed.ip?.destination, remote[family][0]);
});

both("affinity is each client's own", async (t, node, family) => {
  serve(node, family, { affinitySeconds: 60 });
  const seen = new Set<string | undefined>();
  for (let i = 0; i < 12; i++) {
    await node.maps.clear("affinity");
    seen.add((await send(node, family, tcp(40_000 + i, 80, "S"))).parsed.ip?.destination);
  }
  t.true(seen.size > 1);
});

both(
  "a direct connection is refused while a service has its tuple (clash.test.ts: two services)",
  async (t, node, family) => {
    serve(node, family, { of: [who.r[family]] });
    await send(node, family, tcp(40000, 80, "S"));
    node.takeMetrics();
    await isDropped(t, node, await send(node, family, tcp(40000, 8080, "S"), who.r[family]), "ctCollision", "egress");
    t.is((await send(node, family, tcp(40000, 80, "A"))).verdict, "redirect", "the service's goes on");
    await send(node, family, tcp(40000, 80, "R"));
    t.is(
      (await send(node, family, tcp(40000, 8080, "S"), who.r[family])).verdict,
      "redirect",
      "a closed one is in nobody's way",
    );
  },
);

both("a backend cannot turn a client's flow into one of its own", async (t, node, family) => {
  serve(node, family, { of: [who.r[family]] });
  await send(node, family, tcp(40000, 80, "S"));
  node.takeMetrics();
  const opened = await node.run("from_network", wireFrame(who.r[family], who.a[family], tcp(8080, 40000, "S")));
  await isDropped(t, node, opened, "ctCollision", "ingress");
});

check("UDP over IPv4 without a checksum stays without one", async (t, node) => {
  serve(node, "ipv4", { protocol: 17 });
  const result = await send(node, "ipv4", udp(40000, 80, { checksum: 0 }));
  t.is(result.parsed.ip?.payload.readUInt16BE(6), 0);
});

both("UDP whose new checksum would be 0 has 0xffff (RFC 768)", async (t, node, family) => {
  serve(node, family, { protocol: 17, of: remote[family].slice(0, 1) });
  let met = 0;
  for (let word = 0; word < 65_536 && met === 0; word += 1) {
    // the one word of data that makes the sum of the translated datagram 0
    const data = Buffer.alloc(2);
    data.writeUInt16BE(word);
    if (
      udp(40000, 8080, { data })
        .bytes(bytesOf(who.a[family]), bytesOf(remote[family][0] ?? ""))
        .readUInt16BE(6) !== 0xffff
    )
      continue;
    met++;
    const result = await send(node, family, udp(40000, 80, { data }));
    t.is(result.parsed.ip?.payload.readUInt16BE(6), 0xffff);
  }
  t.is(met, 1);
});

both(
  "SCTP: address and port are translated, and its CRC is right; not in fragments, over all of which it goes",
  async (t, node, family) => {
    serve(node, family, { protocol: 132, port: 80, of: [who.r[family]] });
    const sent = sctp(40000, 80);
    const result = await send(node, family, sent);
    t.is(result.verdict, "redirect");
    t.is(result.parsed.ip?.destination, who.r[family]);
    t.deepEqual(result.parsed.ip?.payload, sent.bytes(Buffer.alloc(0), Buffer.alloc(0)));
    const answered = await node.run("from_network", wireFrame(who.r[family], who.a[family], sctp(80, 40000)));
    t.is(answered.parsed.ip?.source, vip[family]);
    serve(node, family, { id: 2, address: other[family], protocol: 132, port: 81, of: [who.r[family]] });
    for (const more of [0, 1, 7, 500, 1396]) {
      const moved = await send(node, family, sctp(40001, 80, more), other[family]);
      t.is(moved.parsed.ip?.destinationPort, 81);
      t.deepEqual(wrongChecksums(moved.frame), [], `${more} bytes more`);
      const back = await node.run("from_network", wireFrame(who.r[family], who.a[family], sctp(81, 40001, more)));
      t.is(`${back.parsed.ip?.source}:${back.parsed.ip?.sourcePort}`, `${other[family]}:80`);
      t.deepEqual(wrongChecksums(back.frame), [], `${more} bytes more, back`);
    }
    node.takeMetrics();
    await node.takeEvents();
    const part = podFrame("a", who.a[family], other[family], sctp(40002, 80, 64), { part: { offset: 0, length: 48 } });
    await isDropped(t, node, await node.fromPod("a", part), "natFailed", "egress");
    const same = podFrame("a", who.a[family], vip[family], sctp(40003, 80, 64), { part: { offset: 0, length: 48 } });
    t.is((await node.fromPod("a", same)).parsed.ip?.destination, who.r[family], "a port that stays changes no CRC");
  },
);

both("another port, another protocol and ICMP of a service's address are not the service", async (t, node, family) => {
  serve(node, family);
  for (const transport of [tcp(40000, 81, "S"), udp(40000, 80), echo(vip[family], "request", 1)])
    t.is((await send(node, family, transport)).parsed.ip?.destination, vip[family]);
});

both("a backend whose pod is still closed gets nothing", async (t, node, family) => {
  serve(node, family, { of: [who.b[family]] });
  node.putPod("b", { flags: EndpointFlags.closed });
  await isDropped(t, node, await send(node, family, tcp(40000, 80, "S")), "notReady", "egress");
});

both(
  "a backend that is the node itself is reached by the stack, and its answer shows the service",
  async (t, node, family) => {
    serve(node, family, { of: [who.host[family]], port: 6443 });
    const asked = await send(node, family, tcp(40000, 80, "S"));
    t.is(asked.verdict, "stack");
    t.is(asked.parsed.ip?.destination, who.host[family]);
    const answered = await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], tcp(6443, 40000, "SA")));
    t.is(answered.verdict, "stack");
    t.deepEqual(wrongChecksums(answered.frame), []);
    t.is(answered.parsed.ip?.source, vip[family]);
    t.is(answered.parsed.ip?.sourcePort, 80);
  },
);

both("nothing leaves the node for a service's address; everything else does", async (t, node, family) => {
  serve(node, family);
  const mine = who.host[family];
  await isDropped(
    t,
    node,
    await node.run("to_network", wireFrame(mine, vip[family], tcp(40000, 80, "S"))),
    "noBackend",
    "egress",
  );
  t.is((await node.run("to_network", wireFrame(mine, vip[family], tcp(40000, 81, "S")))).verdict, "stack");
  t.is((await node.run("to_network", wireFrame(mine, who.r[family], tcp(40000, 80, "S")))).verdict, "stack");
  const judged = await node.run("to_network", wireFrame(mine, vip[family], tcp(40000, 80, "S")), { mark: 0x0d00 });
  t.is(judged.verdict, "stack", "what a program of ours has judged is not looked at again");
});
