/**
 * Mutated packets, the same ones each time: none may pass that its sender or the policy forbids. What passes is read by the tests' own
 * reader of packets, not by the programs'. TANDEM_FUZZ sets how many there are.
 */
import type { ExecutionContext } from "ava";
import { arp, EtherType, extension, icmpError, ip, neighbour, Protocol, tcp, udp } from "../../support/packets.ts";
import { onlyWeb, seeds } from "../../support/packets-seeds.ts";
import { families, podFrame, podMacs, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putService } from "../../support/programs-maps.ts";
import { programTests } from "../../support/programs-test.ts";

const { check } = programTests();
const l3 = 14;

/** Numbers that are the same each time, so that a failure can be had again (xorshift32). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function mutate(packet: Buffer, next: (below: number) => number): Buffer {
  const copy = Buffer.from(packet);
  for (let i = next(6); i >= 0; i--) {
    const at = next(4) === 0 ? next(copy.length) : l3 + next(Math.min(80, copy.length - l3));
    copy[at] = next(3) === 0 ? ([0, 1, 0x7f, 0x80, 0xff][next(5)] ?? 0) : next(256);
  }
  const cut = next(5) === 0 ? next(copy.length) : copy.length;
  return copy.subarray(0, Math.max(14, cut));
}

const rounds = Number(process.env.TANDEM_FUZZ ?? 6000);

check(
  `${rounds} mutated packets of a pod: none passes from another source, MAC or to a port that is not allowed`,
  async (t, node) => {
    t.timeout(300_000);
    onlyWeb(node);
    const next = numbers(20_261_125);
    const all = [
      ...seeds.map(([, packet]) => packet),
      arp(podMacs("a"), { operation: "request", senderMac: who.a.mac, sender: who.a.ipv4, target: who.b.ipv4 }),
      podFrame("a", "fe80::a", "ff02::1", neighbour(135, "fe80::1"), { ttl: 255 }),
    ];
    let passed = 0;
    for (let i = 0; i < rounds; i++) {
      const packet = mutate(all[next(all.length)] ?? Buffer.alloc(14), next);
      const result = await node.tryRun("from_pod", packet);
      if (result !== null && result.verdict !== "drop") passed += allowedToPass(t, packet, result) ? 1 : 0;
      if (i % 500 === 0) await node.maps.clear("ct4", "ct6", "fragment");
    }
    t.true(passed > rounds / 50, `only ${passed} passed: the mutations are too wild to say anything`);
  },
);

/** What may pass by the rules above, judged by the reader of packets of the tests and not by the programs'. */
function allowedToPass(t: ExecutionContext, packet: Buffer, result: RunResult): boolean {
  const text = packet.toString("hex");
  t.is(packet.toString("hex", 6, 12), who.a.mac.toString("hex"), text);
  const type = packet.readUInt16BE(12);
  if (type === EtherType.arp) {
    t.true([who.a.ipv4, "0.0.0.0"].includes([...packet.subarray(28, 32)].join(".")), text);
    return true;
  }
  const family = type === EtherType.ipv4 ? "ipv4" : "ipv6";
  const before = result.parsed.ip;
  t.truthy(before, text);
  if (before === null) return false;
  if (before.protocol === Protocol.icmp6 && (before.type ?? 0) >= 130) {
    t.true(
      [who.a.ipv6, "::"].includes(before.source) || before.source.startsWith("fe8") || /^fe[9ab]/.test(before.source),
      text,
    );
    return true;
  }
  t.is(before.source, who.a[family], text);
  if (before.destinationPort !== null) {
    t.true(before.protocol === Protocol.tcp || before.protocol === Protocol.udp, text);
    t.is(before.destinationPort, 80, text);
  }
  return true;
}

for (const [program, make] of [
  ["from_network", wireFrame],
  [
    "to_pod",
    (s: string, d: string, x: Parameters<typeof wireFrame>[2], o?: Parameters<typeof wireFrame>[3]) =>
      stackFrame("a", s, d, x, o),
  ],
] as const) {
  check(
    `${rounds / 2} mutated packets to a pod by ${program}: none arrives at a port that is not allowed`,
    async (t, node) => {
      t.timeout(300_000);
      onlyWeb(node);
      const next = numbers(41);
      const all = families.flatMap((family) => [
        make(who.r[family], who.a[family], tcp(40000, 80, "S")),
        make(who.r[family], who.a[family], udp(40000, 80)),
        make(
          who.w[family],
          who.a[family],
          udp(40000, 80),
          family === "ipv6" ? { extensions: [extension(Protocol.destination)] } : { options: Buffer.alloc(4, 1) },
        ),
        make(who.r[family], who.a[family], icmpError("tooBig", ip(who.a[family], who.r[family], udp(5, 80)))),
        make(who.r[family], who.a[family], udp(40000, 80, { data: Buffer.alloc(64) }), {
          part: { offset: 0, length: 40 },
        }),
      ]);
      const verdicts = new Map<string, number>();
      for (let i = 0; i < rounds / 2; i++) {
        const packet = mutate(all[next(all.length)] ?? Buffer.alloc(14), next);
        const result = await node.tryRun(program, packet);
        if (result === null) continue;
        verdicts.set(result.verdict, (verdicts.get(result.verdict) ?? 0) + 1);
        const arrives = program === "to_pod" ? result.verdict === "stack" : result.verdict === "redirect";
        if (arrives) {
          const { ip: seen } = result.parsed;
          if (seen !== null && seen.destinationPort !== null) t.is(seen.destinationPort, 80, packet.toString("hex"));
        }
        if (i % 500 === 0) await node.maps.clear("ct4", "ct6", "fragment");
      }
      t.true((verdicts.get("drop") ?? 0) > 100 && verdicts.size > 1, JSON.stringify([...verdicts]));
    },
  );
}

check(
  `${rounds / 4} mutated packets past a service: what passes has right checksums, if it had them`,
  async (t, node) => {
    t.timeout(300_000);
    const next = numbers(7);
    putService(node.maps, {
      id: 1,
      address: "10.96.0.10",
      port: 80,
      protocol: 17,
      backends: [{ address: who.r.ipv4, port: 8080 }],
    });
    putService(node.maps, {
      id: 2,
      address: "fd00:96::10",
      port: 80,
      protocol: 17,
      backends: [{ address: who.r.ipv6, port: 8080 }],
    });
    let translated = 0;
    for (let i = 0; i < rounds / 4; i++) {
      const [mine, vip] = next(2) === 0 ? [who.a.ipv4, "10.96.0.10"] : [who.a.ipv6, "fd00:96::10"];
      const data = Buffer.from(Array.from({ length: next(40) }, () => next(256)));
      const result = await node.fromPod("a", podFrame("a", mine, vip, udp(1 + next(65_535), 80, { data })));
      t.is(result.verdict, "redirect");
      t.deepEqual(wrongChecksums(result.frame), []);
      if (result.parsed.ip?.destinationPort === 8080) translated++;
      if (i % 200 === 0) await node.maps.clear("ct4", "ct6");
    }
    t.is(translated, Math.ceil(rounds / 4));
  },
);
