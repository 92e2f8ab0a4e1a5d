/** What becomes of a verdict: which flows it holds for, when it is asked for again, which ends are asked, and what a policy that is not there means. */
import { EndpointFlags, EventFlags } from "../../../src/native/layouts.gen.ts";
import { tcp, udp } from "../../support/packets.ts";
import { podFrame, who } from "../../support/programs-frames.ts";
import { putIdentity, putPolicy, type TestPolicy } from "../../support/programs-maps.ts";
import { type Direction, exchange } from "../../support/programs-policy.ts";
import { isDropped, isPassed, programTests, reasonNumber } from "../../support/programs-test.ts";

const { check, both } = programTests();
const web = { protocol: 6, port: 80 };
const r = who.r.identity;

const allowWeb = (set: number, direction: Direction): TestPolicy => ({
  set,
  direction,
  allows: 1,
  peers: { 0: [0] },
  ports: [{ ...web, groups: [0] }],
});

both("a set that is not in the kernel is closed", async (t, node, family) => {
  node.enforce("a", "egress");
  const result = await exchange(node, "egress", who.r[family], family, tcp(40000, 80, "S"));
  t.is(result.verdict, "drop");
  t.is(node.takeMetrics().get(`${reasonNumber("notReady")}/egress`)?.packets, 1);
});

both("without default deny a deny counts, and what no group names passes", async (t, node, family) => {
  putPolicy(node.maps, { set: 1, direction: "egress", denies: 1, peers: { 0: [0] }, ports: [{ ...web, groups: [0] }] });
  node.putPod("a", { policySet: 1, flags: EndpointFlags.policyEgress });
  const denied = await exchange(node, "egress", who.r[family], family, tcp(40000, 80, "S"));
  await isDropped(t, node, denied, "policyDeny", "egress");
  isPassed(t, node, await exchange(node, "egress", who.r[family], family, tcp(40000, 81, "S")), "redirect", "egress");
});

both("audit mode reports what policy would drop, lets it through, and marks the flow", async (t, node, family) => {
  putPolicy(node.maps, allowWeb(1, "ingress"));
  const enforced = EndpointFlags.enforceIngress | EndpointFlags.policyIngress | EndpointFlags.audit;
  node.enforce("a", "ingress", { flags: enforced });
  isPassed(t, node, await exchange(node, "ingress", who.r[family], family, tcp(40000, 81, "S")), "redirect", "ingress");
  const [event] = await node.takeEvents();
  t.like(event, { type: 2, reason: reasonNumber("policy"), group: 0xffff });
  t.is((event?.flags ?? 0) & (EventFlags.audit | EventFlags.allowed), EventFlags.audit | EventFlags.allowed);
  t.deepEqual((await node.flows(family))[0]?.flags, ["syn", "deniedAudit"]);
  await exchange(node, "ingress", who.r[family], family, tcp(40001, 80, "S"));
  t.deepEqual((await node.flows(family)).find((f) => f.initiator.endsWith(":40001"))?.flags, ["syn"]);
});

both(
  "the verdict is kept with its revision, and asked for again when the revision moves on",
  async (t, node, family) => {
    const peer = who.r[family];
    putPolicy(node.maps, allowWeb(1, "egress"));
    node.enforce("a", "egress");
    await exchange(node, "egress", peer, family, tcp(40000, 80, "S"));
    t.is((await node.takeEvents()).length, 1);
    await node.maps.clear("policy_port"); // nothing is allowed, but the revision is the old one
    t.is((await exchange(node, "egress", peer, family, tcp(40000, 80, "A"))).verdict, "redirect");
    t.is((await node.takeEvents()).length, 0);
    t.is((await node.flows(family))[0]?.egressRevision, 1);

    putPolicy(node.maps, allowWeb(1, "egress"));
    node.enforce("a", "egress", { policyRevision: 2 });
    t.is((await exchange(node, "egress", peer, family, tcp(40000, 80, "A"))).verdict, "redirect");
    t.is((await node.flows(family))[0]?.egressRevision, 2);
    t.is((await node.takeEvents()).length, 0, "an unchanged verdict is no news");

    await node.maps.clear("policy_port");
    node.enforce("a", "egress", { policyRevision: 3 });
    node.takeMetrics();
    await isDropped(t, node, await exchange(node, "egress", peer, family, tcp(40000, 80, "A")), "policy", "egress");
    t.is((await node.flows(family))[0]?.egressRevision, 2, "what is denied is judged again each time");
  },
);

both("replies are held to the present policy of the flow, not to one of their own", async (t, node, family) => {
  const peer = who.r[family];
  putPolicy(node.maps, allowWeb(1, "egress"));
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] }); // nothing may come in by itself
  node.enforce("a", "both");
  await exchange(node, "egress", peer, family, tcp(40000, 80, "S"));
  t.is((await exchange(node, "ingress", peer, family, tcp(80, 40000, "SA"))).verdict, "redirect");
  node.enforce("a", "both", { policyRevision: 2 });
  t.is((await exchange(node, "ingress", peer, family, tcp(80, 40000, "A"))).verdict, "redirect");
  t.is((await node.flows(family))[0]?.egressRevision, 2);

  await node.maps.clear("policy_port");
  node.enforce("a", "both", { policyRevision: 3 });
  node.takeMetrics();
  await node.takeEvents();
  const reply = await exchange(node, "ingress", peer, family, tcp(80, 40000, "A"));
  t.is(reply.verdict, "drop");
  const [event] = await node.takeEvents();
  t.like(event, {
    reason: reasonNumber("policy"),
    direction: 0,
    sourceIdentity: r,
    destinationIdentity: who.a.identity,
  });
  t.is((event?.flags ?? 0) & EventFlags.reply, EventFlags.reply);
  t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("policy")}/egress`], "counted for the same policy");
  t.is((await node.flows(family))[0]?.egressRevision, 2);
});

both("between pods of one node a drop is counted for the end whose policy it was", async (t, node, family) => {
  putPolicy(node.maps, allowWeb(1, "egress"));
  putPolicy(node.maps, {
    set: 2,
    direction: "ingress",
    denies: 1,
    peers: { 0: [0] },
    ports: [{ ...web, groups: [0] }],
  });
  node.enforce("a", "egress");
  const send = (port: number) => node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40000, port, "S")));
  t.is((await send(81)).verdict, "drop");
  t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("policy")}/egress`]);
  node.enforce("b", "ingress", { policySet: 2 });
  t.is((await send(80)).verdict, "drop");
  t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("policyDeny")}/ingress`]);
  t.is((await send(81)).verdict, "drop");
  t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("policy")}/egress`]);
});

both(
  "a revoked rule ends a running flow for good: the other end cannot open it again as its own",
  async (t, node, family) => {
    const peer = who.r[family];
    // a may answer and open whatever it likes; who may come in is what changes
    putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] });
    putPolicy(node.maps, { set: 1, direction: "ingress", allows: 1, peers: { [r]: [0] }, ports: [{ groups: [0] }] });
    node.enforce("a", "both");
    const question = udp(5000, 9000);
    const answer = udp(9000, 5000);
    t.is((await exchange(node, "ingress", peer, family, question)).verdict, "redirect");
    t.is((await exchange(node, "egress", peer, family, answer)).verdict, "redirect");
    await node.changeFlows(family, (entry) => ({ ...entry, lastUsed: Math.max(0, entry.lastUsed - 1) }));
    const before = await node.flows(family);

    await node.maps.clear("policy_peer");
    putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] });
    node.enforce("a", "both", { policyRevision: 2 });
    for (let i = 0; i < 2; i++) {
      t.is((await exchange(node, "ingress", peer, family, question)).verdict, "drop");
      t.is((await exchange(node, "egress", peer, family, answer)).verdict, "drop", "a late answer");
    }
    t.deepEqual(await node.flows(family), before, "and it does not stay alive by what is dropped");
    t.is((await exchange(node, "egress", peer, family, udp(9001, 5001))).verdict, "redirect", "a flow of its own");
  },
);

both("between two pods of the node both ends are asked, for one flow", async (t, node, family) => {
  const send = (port: number) => node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40000, port, "S")));
  putPolicy(node.maps, allowWeb(1, "egress"));
  putPolicy(node.maps, { ...allowWeb(2, "ingress"), peers: { [who.a.identity]: [0] } });
  node.enforce("a", "egress");
  node.enforce("b", "ingress");
  isPassed(t, node, await send(80), "redirect", "egress");
  const events = await node.takeEvents();
  t.deepEqual(
    events.map((e) => [e.direction, e.endpoint, e.sourceIdentity, e.destinationIdentity]),
    [
      [0, 11, who.a.identity, who.b.identity],
      [1, 12, who.a.identity, who.b.identity],
    ],
  );
  t.like((await node.flows(family))[0], { egressRevision: 1, ingressRevision: 1 });

  await node.maps.clear("policy_peer");
  putPolicy(node.maps, allowWeb(1, "egress"));
  const refused = await node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40001, 80, "S")));
  t.is(refused.verdict, "drop");
  t.deepEqual(
    (await node.takeEvents()).map((e) => [e.direction, e.type]),
    [
      [0, 2],
      [1, 1],
    ],
  );
});

both("the identity of a pod of this node is known before ipcache tells it", async (t, node, family) => {
  putPolicy(node.maps, { ...allowWeb(2, "ingress"), peers: { [who.a.identity]: [0] } });
  node.enforce("b", "ingress");
  await node.maps.clear("ipcache4", "ipcache6");
  const result = await node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40000, 80, "S")));
  t.is(result.verdict, "redirect");
});

both(
  "the node itself is a peer as any other: allowed by a group that names it, denied by one that does",
  async (t, node, family) => {
    const mine = who.host[family];
    putPolicy(node.maps, { ...allowWeb(1, "ingress"), peers: { 1: [0] } });
    node.enforce("a", "ingress");
    t.is((await exchange(node, "ingress", mine, family, tcp(40000, 80, "S"), true)).verdict, "stack");
    putPolicy(node.maps, { ...allowWeb(1, "ingress"), denies: 1, allows: 0, peers: { 1: [0] } });
    t.is((await exchange(node, "ingress", mine, family, tcp(40001, 80, "S"), true)).verdict, "drop");
  },
);

both("an address that gets another identity is another peer for new flows", async (t, node, family) => {
  const peer = who.r[family];
  putPolicy(node.maps, { ...allowWeb(1, "egress"), peers: { [r]: [0] } });
  node.enforce("a", "egress");
  t.is((await exchange(node, "egress", peer, family, udp(40000, 80))).verdict, "drop", "UDP is not in the rule");
  t.is((await exchange(node, "egress", peer, family, tcp(40000, 80, "S"))).verdict, "redirect");
  putIdentity(node.maps, peer, 77_777);
  t.is((await exchange(node, "egress", peer, family, tcp(40001, 80, "S"))).verdict, "drop");
});

check("IPv4 prefixes of a set do not count for IPv6 peers, nor the other way round", async (t, node) => {
  node.enforce("a", "egress");
  const any = { set: 1, direction: "egress", allows: 1, ports: [{ groups: [0] }] } as const;
  putPolicy(node.maps, { ...any, prefixes: { "0.0.0.0/0": [0] } });
  t.is((await exchange(node, "egress", who.w.ipv6, "ipv6", udp(1000, 53))).verdict, "drop");
  t.is((await exchange(node, "egress", who.w.ipv4, "ipv4", udp(1000, 53))).verdict, "redirect");
  await node.maps.clear("policy_prefix4");
  putPolicy(node.maps, { ...any, prefixes: { "::/0": [0] } });
  t.is((await exchange(node, "egress", who.w.ipv6, "ipv6", udp(1001, 53))).verdict, "redirect");
  t.is((await exchange(node, "egress", who.w.ipv4, "ipv4", udp(1001, 53))).verdict, "drop");
});
