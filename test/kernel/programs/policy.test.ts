/** The verdict by rule-group bit vectors: which group wins, what a peer is, and which ports a group holds. */
import type { ExecutionContext } from "ava";
import type { ReasonName } from "../../../src/model/reasons.gen.ts";
import { EventFlags } from "../../../src/native/layouts.gen.ts";
import { echo, icmp, icmp6, raw, sctp, tcp, type Transport } from "../../support/packets.ts";
import { type Family, type Someone, who } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { putPolicy, type TestPolicy } from "../../support/programs-maps.ts";
import { type Direction, exchange } from "../../support/programs-policy.ts";
import { programTests, reasonNumber } from "../../support/programs-test.ts";

const { both } = programTests();

interface Row {
  readonly title: string;
  readonly policy: Omit<TestPolicy, "set" | "direction">;
  readonly peer?: Someone;
  readonly transport?: (family: Family) => Transport;
  /** null: allowed. */
  readonly reason: ReasonName | null;
  /** The group that the event names. */
  readonly group: number | null;
}

const web = { protocol: 6, port: 80 };
const r = who.r.identity;

const rows: readonly Row[] = [
  { title: "no group at all", policy: { ports: [] }, reason: "policy", group: null },
  {
    title: "an allow that names the peer",
    policy: { allows: 1, peers: { [r]: [0] }, ports: [{ ...web, groups: [0] }] },
    reason: null,
    group: 0,
  },
  {
    title: "an allow for any peer",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ ...web, groups: [0] }] },
    reason: null,
    group: 0,
  },
  {
    title: "an allow for another peer",
    policy: { allows: 1, peers: { [who.b.identity]: [0] }, ports: [{ ...web, groups: [0] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "an allow for another port",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 6, port: 81, groups: [0] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "an allow for another protocol",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 17, port: 80, groups: [0] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "a peer of one group and a port of another",
    policy: { allows: 2, peers: { [r]: [0] }, ports: [{ ...web, groups: [1] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "a deny over an allow",
    policy: { denies: 1, allows: 1, peers: { [r]: [0], 0: [1] }, ports: [{ ...web, groups: [0, 1] }] },
    reason: "policyDeny",
    group: 0,
  },
  {
    title: "a deny for another peer beside an allow",
    policy: { denies: 1, allows: 1, peers: { [who.b.identity]: [0], 0: [1] }, ports: [{ ...web, groups: [0, 1] }] },
    reason: null,
    group: 1,
  },
  {
    title: "a plain allow over a redirect",
    policy: { allows: 1, redirects: 1, peers: { [r]: [0, 1] }, ports: [{ ...web, groups: [0, 1] }] },
    reason: null,
    group: 0,
  },
  {
    title: "a port range as prefixes: inside",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 6, port: 64, length: 11, groups: [0] }] },
    reason: null,
    group: 0,
  },
  {
    title: "a port range as prefixes: outside",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 6, port: 96, length: 11, groups: [0] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "every port of a protocol",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 6, groups: [0] }] },
    reason: null,
    group: 0,
  },
  {
    title: "every protocol",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] },
    reason: null,
    group: 0,
  },
  {
    title: "a longer port prefix without the shorter one's group",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }, { ...web, groups: [] }] },
    reason: "policy",
    group: null,
  },
  ...([63, 64, 65, 447, 448, 511] as const).map(
    (group): Row => ({
      title: `group ${group} of ${group + 1}`,
      policy: { denies: 3, allows: group - 2, peers: { [r]: [group] }, ports: [{ ...web, groups: [group] }] },
      reason: null,
      group,
    }),
  ),
  {
    title: "the lowest of many groups, across words",
    policy: { denies: 70, allows: 430, peers: { [r]: [69, 70, 400] }, ports: [{ ...web, groups: [66, 69, 70, 400] }] },
    reason: "policyDeny",
    group: 69,
  },
  {
    title: "an address of a pod CIDR that nobody has yet, where the world is allowed",
    policy: { allows: 1, peers: { 2: [0], 9: [0], 10: [0] }, ports: [{ groups: [0] }] },
    peer: "new",
    reason: "policy",
    group: null,
  },
  {
    title: "the world",
    policy: { allows: 1, peers: { 9: [0], 10: [0] }, ports: [{ groups: [0] }] },
    peer: "w",
    reason: null,
    group: 0,
  },
  {
    title: "another node",
    policy: { allows: 1, peers: { 6: [0] }, ports: [{ groups: [0] }] },
    peer: "node2",
    reason: null,
    group: 0,
  },
  {
    title: "a prefix of the world",
    policy: {
      allows: 1,
      prefixes: { "198.51.100.0/24": [0], "2001:db8:99::/48": [0] },
      outsideOnly: [0],
      ports: [{ groups: [0] }],
    },
    peer: "w",
    reason: null,
    group: 0,
  },
  {
    title: "a prefix that the peer is outside of",
    policy: { allows: 1, prefixes: { "198.51.101.0/24": [0], "2001:db8:98::/48": [0] }, ports: [{ groups: [0] }] },
    peer: "w",
    reason: "policy",
    group: null,
  },
  {
    title: "the longest prefix, which has an exception",
    policy: {
      allows: 1,
      prefixes: { "0.0.0.0/0": [0], "198.51.100.7/32": [], "::/0": [0], "2001:db8:99::7/128": [] },
      ports: [{ groups: [0] }],
    },
    peer: "w",
    reason: "policy",
    group: null,
  },
  {
    title: "a prefix for the outside over a pod's address",
    policy: { allows: 1, prefixes: { "0.0.0.0/0": [0], "::/0": [0] }, outsideOnly: [0], ports: [{ groups: [0] }] },
    reason: "policy",
    group: null,
  },
  {
    title: "a prefix for every address over a pod's address",
    policy: {
      allows: 2,
      prefixes: { "10.0.0.0/8": [0, 1], "fd00::/16": [0, 1] },
      outsideOnly: [0],
      ports: [{ groups: [0, 1] }],
    },
    reason: null,
    group: 1,
  },
  {
    title: "an ICMP type",
    policy: {
      allows: 1,
      peers: { 0: [0] },
      ports: [
        { protocol: 1, port: 0x0800, length: 8, groups: [0] },
        { protocol: 58, port: 0x8000, length: 8, groups: [0] },
      ],
    },
    transport: (family) => echo(who.a[family], "request", 7),
    reason: null,
    group: 0,
  },
  {
    title: "an echo reply that nobody asked for, whose identifier looks like the type of a request",
    policy: {
      allows: 1,
      peers: { 0: [0] },
      ports: [
        { protocol: 1, port: 0x0800, length: 8, groups: [0] },
        { protocol: 58, port: 0x8000, length: 8, groups: [0] },
      ],
    },
    transport: (family) => echo(who.a[family], "reply", family === "ipv4" ? 0x0800 : 0x8000),
    reason: "policy",
    group: null,
  },
  {
    title: "another ICMP message",
    policy: {
      allows: 1,
      peers: { 0: [0] },
      ports: [
        { protocol: 1, port: 0x0d00, groups: [0] },
        { protocol: 58, port: 0x9000, groups: [0] },
      ],
    },
    transport: (family) => (family === "ipv4" ? icmp(13, 0) : icmp6(144, 0)),
    reason: null,
    group: 0,
  },
  {
    title: "SCTP by port",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 132, port: 80, groups: [0] }] },
    transport: () => sctp(40000, 80),
    reason: null,
    group: 0,
  },
  {
    title: "a protocol without ports",
    policy: { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 47, groups: [0] }] },
    transport: () => raw(47),
    reason: null,
    group: 0,
  },
];

for (const row of rows) {
  for (const direction of ["egress", "ingress"] as const) {
    both(`${direction}: ${row.title}: ${row.reason ?? "allowed"}`, async (t, node, family) => {
      putPolicy(node.maps, { ...row.policy, set: 1, direction });
      node.enforce("a", direction);
      const peer = who[row.peer ?? "r"][family];
      const transport = row.transport?.(family) ?? tcp(40000, 80, "S");
      await isJudged(t, node, row, direction, await exchange(node, direction, peer, family, transport));
      const flows = await node.flows(family);
      t.is(flows.length, row.reason === null ? 1 : 0);
      if (row.reason === null) t.is(flows[0]?.[direction === "egress" ? "egressRevision" : "ingressRevision"], 1);
    });
  }
}

async function isJudged(
  t: ExecutionContext,
  node: ProgramNode,
  row: Row,
  direction: Direction,
  result: RunResult,
): Promise<void> {
  t.is(result.verdict, row.reason === null ? "redirect" : "drop");
  const counted = [...node.takeMetrics()].map(([key, { packets }]) => `${key}: ${packets}`);
  t.deepEqual(counted, [`${row.reason === null ? 0 : reasonNumber(row.reason)}/${direction}: 1`]);
  const events = await node.takeEvents();
  t.is(events.length, 1);
  const [event] = events;
  if (event === undefined) return;
  const peerIdentity = { r, new: 3, w: event.flags & EventFlags.ipv6 ? 10 : 9, node2: 6, a: 0, b: 0, host: 1 }[
    row.peer ?? "r"
  ];
  const mine = who.a.identity;
  t.like(event, {
    type: row.reason === null ? 2 : 1,
    reason: row.reason === null ? 0 : reasonNumber(row.reason),
    direction: direction === "egress" ? 0 : 1,
    group: row.group ?? 0xffff,
    sourceIdentity: direction === "egress" ? mine : peerIdentity,
    destinationIdentity: direction === "egress" ? peerIdentity : mine,
    endpoint: 11,
    policySet: 1,
  });
  t.is((event.flags & EventFlags.allowed) !== 0, row.reason === null);
}
