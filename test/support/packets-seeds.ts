/** Packets of every kind, for tests that cut and mutate them, and the policy under which only some of them pass. */
import { echo, extension, icmpError, ip, Protocol, sctp, tcp, udp } from "./packets.ts";
import { families, podFrame, who } from "./programs-frames.ts";
import type { ProgramNode } from "./programs.ts";
import { putPolicy } from "./programs-maps.ts";

/** Only port 80 of TCP and UDP is allowed, in both directions. */
export function onlyWeb(node: ProgramNode): void {
  for (const direction of ["egress", "ingress"] as const) {
    putPolicy(node.maps, {
      set: 1,
      direction,
      allows: 1,
      peers: { 0: [0] },
      ports: [
        { protocol: 6, port: 80, groups: [0] },
        { protocol: 17, port: 80, groups: [0] },
      ],
    });
  }
  node.enforce("a", "both");
}

/** Title and frame, as pod a sends them. */
export const seeds: readonly (readonly [string, Buffer])[] = families.flatMap((family) => {
  const mine = who.a[family];
  const peer = who.r[family];
  const withExtensions =
    family === "ipv6"
      ? { extensions: [extension(Protocol.hopByHop), extension(Protocol.destination, 1)] }
      : { options: Buffer.alloc(8, 1) };
  return [
    [`${family} TCP`, podFrame("a", mine, peer, tcp(40000, 80, "S"))],
    [`${family} UDP`, podFrame("a", mine, peer, udp(40000, 80))],
    [`${family} SCTP`, podFrame("a", mine, peer, sctp(40000, 80))],
    [`${family} echo`, podFrame("a", mine, peer, echo(mine, "request", 7))],
    [`${family} ICMP error`, podFrame("a", mine, peer, icmpError("port", ip(peer, mine, udp(5000, 80))))],
    [`${family} options`, podFrame("a", mine, peer, udp(40000, 80), withExtensions)],
    [
      `${family} first fragment`,
      podFrame("a", mine, peer, udp(40000, 80, { data: Buffer.alloc(64) }), { part: { offset: 0, length: 40 } }),
    ],
    [
      `${family} later fragment`,
      podFrame("a", mine, peer, udp(40000, 80, { data: Buffer.alloc(64) }), { part: { offset: 40, length: 32 } }),
    ],
  ] as const;
});
