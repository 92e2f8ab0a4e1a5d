/** ICMP errors: those about a live flow follow it in both directions, translated ones too; all others are packets as any. */
import { echo, icmpError, ip, Protocol, raw, tcp, type Transport, udp, extension } from "../../support/packets.ts";
import { type Family, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putPolicy, putService } from "../../support/programs-maps.ts";
import { isPassed, programTests } from "../../support/programs-test.ts";
import { upFor } from "../../support/uptime.ts";

const { check, both } = programTests();

/** Pod a may open TCP, UDP and echo outwards; ICMP errors are allowed to nobody by themselves. */
function guarded(node: ProgramNode): void {
  const ports = [
    { protocol: 6, groups: [0] },
    { protocol: 17, groups: [0] },
    { protocol: 1, port: 0x0800, length: 8, groups: [0] },
    { protocol: 58, port: 0x8000, length: 8, groups: [0] },
  ];
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports });
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
  node.enforce("a", "both");
}

const router = { ipv4: "203.0.113.77", ipv6: "2001:db8:77::1" } as const;
const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;

/** The packet that pod a sent, as its way's routers saw it. */
const sent = (family: Family, transport: Transport, to: string = who.r[family]) => ip(who.a[family], to, transport);

const errors = ["unreachable", "port", "tooBig", "expired"] as const;
const flows: readonly (readonly [string, (family: Family) => Transport])[] = [
  ["TCP", () => tcp(40000, 80, "S", { data: Buffer.alloc(40) })],
  ["UDP", () => udp(40000, 53)],
  ["echo", (family) => echo(who.a[family], "request", 5)],
];

for (const [what, transport] of flows) {
  for (const error of errors) {
    both(
      `"${error}" about a ${what} packet reaches its sender, from a router and from the stack`,
      async (t, node, family) => {
        guarded(node);
        await node.fromPod("a", podFrame("a", who.a[family], who.r[family], transport(family)));
        node.takeMetrics();
        const carried = icmpError(error, sent(family, transport(family)));
        const fromRouter = await node.run("from_network", wireFrame(router[family], who.a[family], carried));
        isPassed(t, node, fromRouter, "redirect", "ingress");
        const fromStack = await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], carried));
        isPassed(t, node, fromStack, "stack", "ingress");
        t.is((await node.flows(family)).length, 1, "an error is no flow");
      },
    );
  }
}

both("an error about a flow that nobody has is judged as a packet of its own", async (t, node, family) => {
  guarded(node);
  const carried = icmpError("port", sent(family, udp(40000, 53)));
  const refused = await node.run("from_network", wireFrame(router[family], who.a[family], carried));
  t.is(refused.verdict, "drop");
  const type = family === "ipv4" ? { protocol: 1, port: 0x0303 } : { protocol: 58, port: 0x0104 };
  putPolicy(node.maps, {
    set: 1,
    direction: "ingress",
    allows: 1,
    peers: { 0: [0] },
    ports: [{ ...type, groups: [0] }],
  });
  const allowed = await node.run("from_network", wireFrame(router[family], who.a[family], carried));
  t.is(allowed.verdict, "redirect");
});

const lies: readonly (readonly [string, (family: Family) => Transport])[] = [
  ["whose packet was sent by somebody else", (f) => icmpError("port", ip(who.b[f], who.r[f], udp(40000, 53)))],
  ["about another port", (f) => icmpError("port", sent(f, udp(40001, 53)))],
  ["about another protocol", (f) => icmpError("port", sent(f, tcp(40000, 53, "S")))],
  ["about another peer", (f) => icmpError("port", sent(f, udp(40000, 53), who.w[f]))],
  ["about an ICMP error", (f) => icmpError("port", sent(f, icmpError("port", sent(f, udp(40000, 53)))))],
  ["that carries nothing", (f) => icmpError("port", sent(f, udp(40000, 53)), { keep: 0 })],
  ["that carries a cut off IP header", (f) => icmpError("port", sent(f, udp(40000, 53)), { keep: 16 })],
  [
    "that carries too few bytes of the ports",
    (f) => icmpError("port", sent(f, udp(40000, 53)), { keep: f === "ipv4" ? 27 : 47 }),
  ],
];
for (const [what, transport] of lies) {
  both(`an error ${what} is not related`, async (t, node, family) => {
    guarded(node);
    await node.fromPod("a", podFrame("a", who.a[family], who.r[family], udp(40000, 53)));
    const result = await node.run("from_network", wireFrame(router[family], who.a[family], transport(family)));
    t.is(result.verdict, "drop");
  });
}

both("eight bytes of the transport are enough (RFC 792)", async (t, node, family) => {
  guarded(node);
  await node.fromPod("a", podFrame("a", who.a[family], who.r[family], tcp(40000, 80, "S")));
  const carried = icmpError("tooBig", sent(family, tcp(40000, 80, "S")), { keep: family === "ipv4" ? 28 : 48 });
  t.is((await node.run("from_network", wireFrame(router[family], who.a[family], carried))).verdict, "redirect");
});

check("an error about a packet with IPv6 extension headers finds its flow", async (t, node) => {
  guarded(node);
  const options = { extensions: [extension(Protocol.destination, 2)] };
  await node.fromPod("a", podFrame("a", who.a.ipv6, who.r.ipv6, udp(40000, 53), options));
  const carried = icmpError("tooBig", ip(who.a.ipv6, who.r.ipv6, udp(40000, 53), options));
  t.is((await node.run("from_network", wireFrame(router.ipv6, who.a.ipv6, carried))).verdict, "redirect");
});

both("the network cannot complain in the name of what is here", async (t, node, family) => {
  await node.fromPod("a", podFrame("a", who.a[family], who.b[family], udp(40000, 53)));
  const carried = icmpError("port", sent(family, udp(40000, 53), who.b[family]));
  for (const source of [who.b[family], who.host[family]]) {
    const result = await node.run("from_network", wireFrame(source, who.a[family], carried));
    t.is(result.verdict, "drop");
  }
});

both("a pod may complain about what was sent to it, and about nothing else", async (t, node, family) => {
  putPolicy(node.maps, {
    set: 1,
    direction: "ingress",
    allows: 1,
    peers: { 0: [0] },
    ports: [{ protocol: 17, groups: [0] }],
  });
  putPolicy(node.maps, { set: 1, direction: "egress", ports: [] });
  node.enforce("a", "both");
  const question = ip(who.r[family], who.a[family], udp(5000, 53));
  await node.run("from_network", wireFrame(who.r[family], who.a[family], udp(5000, 53)));
  node.takeMetrics();
  const honest = await node.fromPod("a", podFrame("a", who.a[family], who.r[family], icmpError("port", question)));
  isPassed(t, node, honest, "redirect", "egress");

  // b and r have a flow; a knows its tuple and wants it to end
  await node.fromPod("b", podFrame("b", who.b[family], who.r[family], tcp(40000, 80, "S")));
  const forged = icmpError("port", ip(who.b[family], who.r[family], tcp(40000, 80, "S")));
  const result = await node.fromPod("a", podFrame("a", who.a[family], who.b[family], forged));
  t.is(result.verdict, "drop");
});

both("an error about a flow whose policy has changed waits for the flow to be judged", async (t, node, family) => {
  guarded(node);
  await node.fromPod("a", podFrame("a", who.a[family], who.r[family], udp(40000, 53)));
  const carried = icmpError("port", sent(family, udp(40000, 53)));
  node.enforce("a", "both", { policyRevision: 2 });
  t.is((await node.run("from_network", wireFrame(router[family], who.a[family], carried))).verdict, "drop");
  await node.fromPod("a", podFrame("a", who.a[family], who.r[family], udp(40000, 53)));
  t.is((await node.run("from_network", wireFrame(router[family], who.a[family], carried))).verdict, "redirect");
});

both("an error about a flow that has timed out is not related", async (t, node, family) => {
  guarded(node);
  await node.fromPod("a", podFrame("a", who.a[family], who.r[family], udp(40000, 53)));
  await upFor(40);
  await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: entry.lastUsed - 40 }));
  const carried = icmpError("port", sent(family, udp(40000, 53)));
  t.is((await node.run("from_network", wireFrame(router[family], who.a[family], carried))).verdict, "drop");
});

both("an error on an unchanged flow of a protocol without ports", async (t, node, family) => {
  await node.fromPod("a", podFrame("a", who.a[family], who.r[family], raw(47)));
  const carried = icmpError("tooBig", sent(family, raw(47)));
  t.is((await node.run("from_network", wireFrame(router[family], who.a[family], carried))).verdict, "redirect");
});

/** Pod a asks the service, which has one backend. */
async function asks(node: ProgramNode, family: Family, backend: string, transport: Transport): Promise<RunResult> {
  const backends = [{ address: backend, port: 8080 }];
  putService(node.maps, { id: 1, address: vip[family], port: 80, protocol: transport.protocol, backends });
  return node.fromPod("a", podFrame("a", who.a[family], vip[family], transport));
}

for (const [what, make] of [
  ["TCP", (source: number, destination: number) => tcp(source, destination, "S")],
  ["UDP", (source: number, destination: number) => udp(source, destination)],
] as const) {
  both(
    `an error about a translated ${what} packet speaks of the service that its sender knows`,
    async (t, node, family) => {
      guarded(node);
      const translated = await asks(node, family, who.r[family], make(40000, 80));
      t.is(translated.verdict, "redirect");
      node.takeMetrics();
      const carried = icmpError("tooBig", sent(family, make(40000, 8080)));
      for (const result of [
        await node.run("from_network", wireFrame(router[family], who.a[family], carried)),
        await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], carried)),
      ]) {
        t.not(result.verdict, "drop");
        t.deepEqual(wrongChecksums(result.frame), []);
        const told = result.parsed.ip;
        t.is(told?.destination, who.a[family]);
        t.is(told?.inner?.source, who.a[family]);
        t.is(told?.inner?.destination, vip[family]);
        t.is(told?.inner?.sourcePort, 40000);
        t.is(told?.inner?.destinationPort, 80);
      }
    },
  );
}

both("a backend's own error reaches the client in the service's terms", async (t, node, family) => {
  await asks(node, family, who.b[family], udp(40000, 80));
  const carried = icmpError("port", ip(who.a[family], who.b[family], udp(40000, 8080)));
  const result = await node.fromPod("b", podFrame("b", who.b[family], who.a[family], carried));
  t.is(result.verdict, "redirect");
  t.deepEqual(wrongChecksums(result.frame), []);
  t.is(result.parsed.ip?.inner?.destination, vip[family]);
  t.is(result.parsed.ip?.inner?.destinationPort, 80);
});

both("a client's error about a service's reply reaches the backend in the backend's terms", async (t, node, family) => {
  guarded(node);
  await asks(node, family, who.r[family], udp(40000, 80));
  const reply = ip(vip[family], who.a[family], udp(80, 40000));
  const result = await node.fromPod("a", podFrame("a", who.a[family], vip[family], icmpError("port", reply)));
  t.is(result.verdict, "redirect");
  t.deepEqual(wrongChecksums(result.frame), []);
  const told = result.parsed.ip;
  t.is(told?.destination, who.r[family]);
  t.is(told?.inner?.source, who.r[family]);
  t.is(told?.inner?.sourcePort, 8080);
  t.is(told?.inner?.destination, who.a[family]);
});

both("a pod's error about what it sent to itself through its service comes back to it", async (t, node, family) => {
  const sentToSelf = await asks(node, family, who.a[family], udp(40000, 80));
  const loopback = sentToSelf.parsed.ip?.source ?? "";
  t.not(loopback, who.a[family]);
  const carried = icmpError("port", ip(loopback, who.a[family], udp(40000, 8080)));
  const result = await node.fromPod("a", podFrame("a", who.a[family], loopback, carried));
  t.is(result.verdict, "redirect");
  t.deepEqual(wrongChecksums(result.frame), []);
  const told = result.parsed.ip;
  t.is(told?.source, vip[family]);
  t.is(told?.destination, who.a[family]);
  t.is(told?.inner?.source, who.a[family]);
  t.is(told?.inner?.destination, vip[family]);
  t.is(told?.inner?.destinationPort, 80);
});
