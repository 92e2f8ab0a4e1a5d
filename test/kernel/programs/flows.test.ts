/** Conntrack: what a flow is, which packets belong to it, how long it lives, and what may not pass for a reply. */
import { echo, raw, tcp, type Transport, udp } from "../../support/packets.ts";
import { type Family, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { putPolicy } from "../../support/programs-maps.ts";
import { isDropped, programTests } from "../../support/programs-test.ts";
import { upFor } from "../../support/uptime.ts";

/** Seconds; short, for a machine has to be up for so long, and long beside what a busy one may lose. */
const timeouts = {
  tcpOpening: 60,
  tcpEstablished: 120,
  tcpClosing: 30,
  udpUnreplied: 40,
  udpReplied: 80,
  icmp: 50,
  other: 100,
};
/** Seconds before and after a time that a flow is looked at. */
const margin = 15;

const { check, both } = programTests(
  {
    config_timeout_tcp_opening: timeouts.tcpOpening,
    config_timeout_tcp_established: timeouts.tcpEstablished,
    config_timeout_tcp_closing: timeouts.tcpClosing,
    config_timeout_udp_unreplied: timeouts.udpUnreplied,
    config_timeout_udp_replied: timeouts.udpReplied,
    config_timeout_icmp: timeouts.icmp,
    config_timeout_other: timeouts.other,
  },
  { ct4: 512, ct6: 512 },
);

/** Pod a may open what it likes, and nobody may open anything towards it. */
function onlyOut(node: ProgramNode): void {
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] });
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
  node.enforce("a", "both");
}

const out = (node: ProgramNode, family: Family, transport: Transport): Promise<RunResult> =>
  node.fromPod("a", podFrame("a", who.a[family], who.r[family], transport));
const back = (node: ProgramNode, family: Family, transport: Transport): Promise<RunResult> =>
  node.run("from_network", wireFrame(who.r[family], who.a[family], transport));

async function flags(node: ProgramNode, family: Family): Promise<readonly string[] | undefined> {
  return (await node.flows(family))[0]?.flags;
}

async function timePasses(node: ProgramNode, family: Family, seconds: number): Promise<void> {
  await upFor(seconds);
  await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: Math.max(0, entry.lastUsed - seconds) }));
}

both("TCP: a connection from SYN to FIN, one entry for both directions", async (t, node, family) => {
  onlyOut(node);
  const steps: readonly (readonly [boolean, string, readonly string[]])[] = [
    [true, "S", ["syn"]],
    [false, "SA", ["replied", "syn"]],
    [true, "A", ["replied", "syn", "established"]],
    [true, "PA", ["replied", "syn", "established"]],
    [false, "PA", ["replied", "syn", "established"]],
    [false, "FA", ["replied", "syn", "established", "finResponder"]],
    [true, "FA", ["replied", "syn", "established", "finInitiator", "finResponder"]],
    [false, "A", ["replied", "syn", "established", "finInitiator", "finResponder"]],
  ];
  for (const [outwards, letters, expected] of steps) {
    const result = outwards
      ? await out(node, family, tcp(40000, 80, letters))
      : await back(node, family, tcp(80, 40000, letters));
    t.is(result.verdict, "redirect", letters);
    t.deepEqual(await flags(node, family), expected, letters);
  }
  const [flow, ...others] = await node.flows(family);
  t.is(others.length, 0);
  t.is(flow?.initiator, `${who.a[family]}:40000`);
  t.is(flow?.responder, `${who.r[family]}:80`);
});

for (const [low, high] of [
  ["10.0.0.5", "10.0.3.5"],
  ["fd00::5", "fd00:5::5"],
  ["2001:db8::1", "fe00::1"],
] as const) {
  check(`a flow has one entry whichever end has the lower address (${low}, ${high})`, async (t, node) => {
    const family = low.includes(":") ? "ipv6" : "ipv4";
    for (const peer of [low, high]) {
      await node.fromPod("a", podFrame("a", who.a[family], peer, udp(5000, 53)));
      await node.run("from_network", wireFrame(peer, who.a[family], udp(53, 5000)));
    }
    const flows = await node.flows(family);
    t.is(flows.length, 2);
    for (const flow of flows) {
      t.is(flow.initiator, `${who.a[family]}:5000`);
      t.deepEqual(flow.flags, ["replied"]);
    }
  });
}

both("TCP: a RST ends it soon, unless the connection goes on (a RST may be forged)", async (t, node, family) => {
  onlyOut(node);
  for (const letters of ["S", "A"]) {
    await out(node, family, tcp(40000, 80, letters));
    await back(node, family, tcp(80, 40000, "SA"));
  }
  await back(node, family, tcp(80, 40000, "R"));
  t.true((await flags(node, family))?.includes("rst"));
  await timePasses(node, family, timeouts.tcpClosing + margin);
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await back(node, family, tcp(80, 40000, "A")), "policy", "ingress");

  await out(node, family, tcp(40000, 80, "A"));
  await back(node, family, tcp(80, 40000, "R"));
  await out(node, family, tcp(40000, 80, "A"));
  t.false((await flags(node, family))?.includes("rst"));
  await timePasses(node, family, timeouts.tcpClosing + margin);
  t.is((await back(node, family, tcp(80, 40000, "A"))).verdict, "redirect");
});

const lives: readonly (readonly [
  string,
  number,
  (node: ProgramNode, family: Family) => Promise<unknown>,
  /** null: the echo reply. */
  Transport | null,
])[] = [
  [
    "an opening connection",
    timeouts.tcpOpening,
    (node, family) => out(node, family, tcp(40000, 80, "S")),
    tcp(80, 40000, "SA"),
  ],
  [
    "an established connection",
    timeouts.tcpEstablished,
    async (node, family) => {
      await out(node, family, tcp(40000, 80, "S"));
      await back(node, family, tcp(80, 40000, "SA"));
      await out(node, family, tcp(40000, 80, "A"));
    },
    tcp(80, 40000, "A"),
  ],
  [
    "a connection that both ends closed",
    timeouts.tcpClosing,
    async (node, family) => {
      await out(node, family, tcp(40000, 80, "S"));
      await back(node, family, tcp(80, 40000, "SAF"));
      await out(node, family, tcp(40000, 80, "AF"));
    },
    tcp(80, 40000, "A"),
  ],
  [
    "a connection that was picked up in the middle",
    timeouts.tcpOpening,
    (node, family) => out(node, family, tcp(40000, 80, "A")),
    tcp(80, 40000, "A"),
  ],
  [
    "datagrams without an answer",
    timeouts.udpUnreplied,
    (node, family) => out(node, family, udp(40000, 53)),
    udp(53, 40000),
  ],
  [
    "datagrams with an answer",
    timeouts.udpReplied,
    async (node, family) => {
      await out(node, family, udp(40000, 53));
      await back(node, family, udp(53, 40000));
    },
    udp(53, 40000),
  ],
  ["an echo request", timeouts.icmp, (node, family) => out(node, family, echo(who.a[family], "request", 5)), null],
  ["a protocol without ports", timeouts.other, (node, family) => out(node, family, raw(47)), raw(47)],
];
for (const [what, seconds, open, reply] of lives) {
  both(`${what} is remembered for its time`, async (t, node, family) => {
    const answer = reply ?? echo(who.a[family], "reply", 5);
    onlyOut(node);
    await open(node, family);
    await timePasses(node, family, seconds - margin);
    t.is((await back(node, family, answer)).verdict, "redirect");
    await node.maps.clear("ct4", "ct6");
    await open(node, family);
    await timePasses(node, family, seconds + margin);
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await back(node, family, answer), "policy", "ingress");
  });
}

both("a packet keeps its flow alive", async (t, node, family) => {
  await out(node, family, udp(40000, 53));
  await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: entry.lastUsed - 5 }));
  const before = await node.maps.entries(family === "ipv4" ? "ct4" : "ct6");
  await out(node, family, udp(40000, 53));
  const after = await node.maps.entries(family === "ipv4" ? "ct4" : "ct6");
  t.true((after[0]?.value.lastUsed ?? 0) >= (before[0]?.value.lastUsed ?? 0) + 5);
  t.is(after[0]?.value.created, before[0]?.value.created);
});

both("an entry that another CPU has just written is young, not old", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, udp(40000, 53));
  await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: entry.lastUsed + 2 }));
  t.is((await back(node, family, udp(53, 40000))).verdict, "redirect");
});

both("TCP: a connection is picked up in the middle by the end that may open it", async (t, node, family) => {
  onlyOut(node);
  t.is((await back(node, family, tcp(80, 40000, "A"))).verdict, "drop", "the server's packet alone opens nothing");
  t.is((await out(node, family, tcp(40000, 80, "A"))).verdict, "redirect");
  t.deepEqual(await flags(node, family), []);
  t.is((await back(node, family, tcp(80, 40000, "A"))).verdict, "redirect");
  await out(node, family, tcp(40000, 80, "A"));
  t.deepEqual(await flags(node, family), ["replied", "established"]);
});

for (const [what, letters] of [
  ["a FIN", ["S", "FA"]],
  ["a RST", ["S", "R"]],
] as const) {
  both(`TCP: a tuple opens anew after ${what}, and policy is asked again`, async (t, node, family) => {
    onlyOut(node);
    for (const each of letters) await out(node, family, tcp(40000, 80, each));
    await node.maps.clear("policy_port");
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await out(node, family, tcp(40000, 80, "S")), "policy", "egress");
    onlyOut(node);
    t.is((await out(node, family, tcp(40000, 80, "S"))).verdict, "redirect");
    t.deepEqual(await flags(node, family), ["syn"]);
  });
}

both("TCP: a SYN on a live connection is a new one (the peer crashed): policy is asked", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, tcp(40000, 80, "S"));
  await back(node, family, tcp(80, 40000, "SA"));
  await out(node, family, tcp(40000, 80, "A"));
  await node.takeEvents();
  t.is((await out(node, family, tcp(40000, 80, "S"))).verdict, "redirect");
  t.is((await node.takeEvents()).length, 1);
  t.deepEqual(await flags(node, family), ["syn"]);
});

both("TCP: a SYN sent again while a connection opens asks nobody twice", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, tcp(40000, 80, "S"));
  t.is((await node.takeEvents()).length, 1);
  t.is((await out(node, family, tcp(40000, 80, "S"))).verdict, "redirect");
  t.is((await node.takeEvents()).length, 0);
});

both("TCP: a SYN from the other end is no reply, whatever the flow's state", async (t, node, family) => {
  onlyOut(node);
  for (const letters of ["S", "A", "FA"]) {
    await out(node, family, tcp(40000, 80, letters));
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await back(node, family, tcp(80, 40000, "S")), "policy", "ingress");
    t.is((await back(node, family, tcp(80, 40000, "SA"))).verdict, "redirect", "the flow itself goes on");
  }
});

both("UDP, another port of the peer is another flow", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, udp(40000, 53));
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await back(node, family, udp(54, 40000)), "policy", "ingress");
  await isDropped(t, node, await back(node, family, udp(53, 40001)), "policy", "ingress");
});

both("ICMP echo: the reply to a request passes, another identifier does not", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, echo(who.a[family], "request", 5));
  t.is((await back(node, family, echo(who.a[family], "reply", 5))).verdict, "redirect");
  t.deepEqual(await flags(node, family), ["replied"]);
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await back(node, family, echo(who.a[family], "reply", 6)), "policy", "ingress");
  await isDropped(t, node, await back(node, family, echo(who.a[family], "request", 5)), "policy", "ingress");
});

both("ICMP echo: requests of both ends with one identifier are two flows", async (t, node, family) => {
  for (const id of [5, family === "ipv4" ? 0x0801 : 0x8001]) {
    await node.maps.clear("ct4", "ct6");
    await out(node, family, echo(who.a[family], "request", id));
    await back(node, family, echo(who.a[family], "request", id));
    t.is((await node.flows(family)).length, 2);
  }
});

both("between two pods of a node there is one flow, and replies use it", async (t, node, family) => {
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] });
  putPolicy(node.maps, { set: 2, direction: "ingress", allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] });
  putPolicy(node.maps, { set: 2, direction: "egress", ports: [] });
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
  node.enforce("a", "both");
  node.enforce("b", "both");
  const toB = (letters: string) =>
    node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40000, 80, letters)));
  const toA = (letters: string) =>
    node.fromPod("b", podFrame("b", who.b[family], who.a[family], tcp(80, 40000, letters)));
  t.is((await toA("A")).verdict, "drop");
  t.is((await toB("S")).verdict, "redirect");
  t.is((await toA("SA")).verdict, "redirect");
  t.is((await toB("A")).verdict, "redirect");
  t.is((await toA("S")).verdict, "drop");
  t.deepEqual(
    (await node.flows(family)).map((f) => [f.flags, f.egressRevision, f.ingressRevision]),
    [[["replied", "syn", "established", "local"], 1, 1]],
  );
});

both("a pod and its node: the flow is marked local, and goes to the stack", async (t, node, family) => {
  const sent = await node.fromPod("a", podFrame("a", who.a[family], who.host[family], tcp(40000, 10250, "S")));
  t.is(sent.verdict, "stack");
  t.is(sent.mark, 0x0d00);
  const answered = await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], tcp(10250, 40000, "SA")));
  t.is(answered.verdict, "stack");
  t.deepEqual(await flags(node, family), ["replied", "syn", "local"]);
  t.is(
    (await node.fromPod("a", podFrame("a", who.a[family], who.host[family], tcp(40000, 10250, "A")))).verdict,
    "stack",
  );
});

both("a node address that moved away is served from the network again", async (t, node, family) => {
  await node.run("to_pod", stackFrame("a", who.host[family], who.a[family], tcp(40000, 80, "S")));
  await node.maps.clear(family === "ipv4" ? "ipcache4" : "ipcache6");
  const result = await node.run("from_network", wireFrame(who.host[family], who.a[family], tcp(40000, 80, "A")));
  t.is(result.verdict, "redirect");
  t.false((await flags(node, family))?.includes("local"));
});

both("a full table forgets idle flows instead of refusing new ones", async (t, node, family) => {
  for (let port = 1; port <= 2000; port++)
    t.is((await out(node, family, udp(port, 53))).verdict, "redirect", `flow ${port}`);
  const flows = await node.flows(family);
  t.true(flows.length <= 512 && flows.length > 100, `${flows.length} flows`);
  t.true(flows.some((flow) => flow.initiator.endsWith(":2000")));
});

both("a flow that was forgotten under load goes on with the next packet of its initiator", async (t, node, family) => {
  onlyOut(node);
  await out(node, family, tcp(40000, 80, "S"));
  await back(node, family, tcp(80, 40000, "SA"));
  await node.maps.clear("ct4", "ct6");
  t.is((await back(node, family, tcp(80, 40000, "A"))).verdict, "drop");
  t.is((await out(node, family, tcp(40000, 80, "A"))).verdict, "redirect");
  t.is((await back(node, family, tcp(80, 40000, "A"))).verdict, "redirect");
});
