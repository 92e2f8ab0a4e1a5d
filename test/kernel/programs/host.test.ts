/** The node as an end: what comes to it, what its stack sends, to its pods and away; and that without a policy nothing is seen of it. */
import type { ExecutionContext } from "ava";
import type { ReasonName } from "../../../src/model/reasons.gen.ts";
import { EndpointFlags, IdentityNumber, type Endpoint } from "../../../src/native/layouts.gen.ts";
import {
  echo,
  icmpError,
  ip,
  neighbour,
  Protocol,
  raw,
  sctp,
  tcp,
  type Transport,
  udp,
} from "../../support/packets.ts";
import { type Family, podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { mapped, putIdentity, putPolicy, putService, type TestPolicy } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { check, both } = programTests();
const hostSet = 9;

/** Puts the node under a policy: in each direction that is given. */
function enforceHost(
  node: ProgramNode,
  policy: { readonly [direction in "egress" | "ingress"]?: Omit<TestPolicy, "set" | "direction"> },
  changes: Partial<Endpoint> = {},
): void {
  let flags = 0;
  for (const direction of ["egress", "ingress"] as const) {
    const rules = policy[direction];
    if (rules === undefined) continue;
    putPolicy(node.maps, { set: hostSet, direction, ...rules });
    flags |=
      direction === "egress"
        ? EndpointFlags.enforceEgress | EndpointFlags.policyEgress
        : EndpointFlags.enforceIngress | EndpointFlags.policyIngress;
  }
  node.maps.put("host_endpoint", 0, {
    ifindex: 0,
    identity: IdentityNumber.host,
    policySet: hostSet,
    policyRevision: 100,
    flags,
    ipv4: 0,
    ipv6: new Uint8Array(16),
    podMac: new Uint8Array(6),
    hostMac: new Uint8Array(6),
    id: 0,
    ...changes,
  });
}

/** The map outlives `reset`: every test begins without. */
function free(node: ProgramNode): void {
  enforceHost(node, {}, { policyRevision: 0, policySet: 0, identity: 0 });
}

const nothing = { ports: [] };
const ssh = { allows: 1, peers: { 0: [0] }, ports: [{ protocol: 6, port: 22, groups: [0] }] };
const everything = { allows: 1, peers: { 0: [0] }, ports: [{ groups: [0] }] };

const toHost = (node: ProgramNode, from: string, family: Family, transport: Transport): Promise<RunResult> =>
  node.run("from_network", wireFrame(from, who.host[family], transport));
const fromHost = (node: ProgramNode, to: string, family: Family, transport: Transport): Promise<RunResult> =>
  node.run("to_network", wireFrame(who.host[family], to, transport), { ownStack: true });
const hostToPod = (node: ProgramNode, family: Family, transport: Transport): Promise<RunResult> =>
  node.run("to_pod", stackFrame("a", who.host[family], who.a[family], transport), { ownStack: true });

/** Dropped, counted and reported once; what was seen before is not asked about. */
const denied = async (
  t: ExecutionContext,
  node: ProgramNode,
  send: () => Promise<RunResult>,
  reason: ReasonName,
  direction: "egress" | "ingress",
): Promise<void> => {
  await node.takeEvents();
  node.takeMetrics();
  await isDropped(t, node, await send(), reason, direction);
};

const isUnseen = async (t: ExecutionContext, node: ProgramNode, result: RunResult, family: Family): Promise<void> => {
  t.is(result.verdict, "stack");
  t.deepEqual([...node.takeMetrics()], []);
  t.deepEqual(await node.flows(family), []);
};

both("without a policy the node's traffic is neither judged, nor counted, nor tracked", async (t, node, family) => {
  free(node);
  await isUnseen(t, node, await toHost(node, who.w[family], family, tcp(1000, 22, "S")), family);
  await isUnseen(t, node, await fromHost(node, who.w[family], family, tcp(1000, 443, "S")), family);
});

both("what comes to the node is held to its policy", async (t, node, family) => {
  enforceHost(node, { ingress: ssh });
  await denied(t, node, () => toHost(node, who.w[family], family, tcp(1000, 80, "S")), "policy", "ingress");
  isPassed(t, node, await toHost(node, who.w[family], family, tcp(1000, 22, "S")), "stack", "ingress");
  await denied(t, node, () => toHost(node, who.w[family], family, udp(1000, 22)), "policy", "ingress");
  const [flow] = await node.flows(family);
  t.is(flow?.ingressRevision, 100);
  t.is(flow?.egressRevision, 0);
});

both("what is for others is none of the node's, whatever its policy", async (t, node, family) => {
  enforceHost(node, { ingress: nothing, egress: nothing });
  const transit = wireFrame(who.w[family], who.r[family], tcp(1000, 80, "S"));
  await isUnseen(t, node, await node.run("from_network", transit), family);
  await isUnseen(t, node, await node.run("to_network", transit), family);
  const many = family === "ipv4" ? "224.0.0.5" : "ff02::5";
  await isUnseen(t, node, await node.run("from_network", wireFrame(who.w[family], many, raw(89))), family);
  await isUnseen(t, node, await fromHost(node, many, family, raw(89)), family);
});

both("what a pod sends away was judged by the pod's policy alone", async (t, node, family) => {
  enforceHost(node, { ingress: nothing, egress: nothing });
  const packet = wireFrame(who.a[family], who.w[family], tcp(1000, 80, "S"));
  await isUnseen(t, node, await node.run("to_network", packet, { ownStack: true, mark: 0x0d00 }), family);
});

both(
  "what the node sends is held to its policy, and answers pass though ingress is closed",
  async (t, node, family) => {
    enforceHost(node, { ingress: nothing, egress: ssh });
    await denied(t, node, () => fromHost(node, who.w[family], family, tcp(1000, 80, "S")), "policy", "egress");
    isPassed(t, node, await fromHost(node, who.w[family], family, tcp(1000, 22, "S")), "stack", "egress");
    isPassed(t, node, await toHost(node, who.w[family], family, tcp(22, 1000, "SA")), "stack", "ingress");
    isPassed(t, node, await toHost(node, who.w[family], family, tcp(22, 1000, "A")), "stack", "ingress");
    await denied(t, node, () => toHost(node, who.w[family], family, tcp(23, 1000, "S")), "policy", "ingress");
  },
);

both(
  "a ping to a service's address is held to the node's policy, and its answer comes in though ingress is closed",
  async (t, node, family) => {
    const vip = { ipv4: "203.0.114.10", ipv6: "2001:db8:aa::10" }[family];
    const ask = () => fromHost(node, vip, family, echo(vip, "request", 7));
    node.maps.put("service_address", { address: mapped(vip) }, { scopes: 1 });
    enforceHost(node, { egress: nothing });
    await denied(t, node, ask, "policy", "egress");
    enforceHost(node, { egress: everything, ingress: nothing }, { policyRevision: 101 });
    const answer = await ask();
    isPassed(t, node, answer, "redirect", "egress");
    isPassed(t, node, await node.run("from_network", answer.frame), "stack", "ingress");
    free(node);
  },
);

both("a node port that nobody serves is held to the node's policy as its other ports are", async (t, node, family) => {
  const nobody = { address: who.host[family], port: 30080, protocol: 6, backends: [] };
  for (const outside of [true, false]) putService(node.maps, { ...nobody, id: outside ? 5 : 6, outside });
  const ask = (port: number) => toHost(node, who.w[family], family, tcp(1000, port, "S"));
  enforceHost(node, { ingress: ssh });
  await denied(t, node, () => ask(30080), "policy", "ingress");
  enforceHost(node, { ingress: everything }, { policyRevision: 101 });
  isPassed(t, node, await ask(30080), "stack", "ingress");
  free(node);
});

both("answers of the node pass though egress is closed", async (t, node, family) => {
  enforceHost(node, { ingress: ssh, egress: nothing });
  isPassed(t, node, await toHost(node, who.w[family], family, tcp(1000, 22, "S")), "stack", "ingress");
  isPassed(t, node, await fromHost(node, who.w[family], family, tcp(22, 1000, "SA")), "stack", "egress");
});

both("the ICMP error about a flow of the node passes with it, one about none does not", async (t, node, family) => {
  enforceHost(node, { ingress: nothing, egress: everything });
  await fromHost(node, who.w[family], family, udp(1000, 53));
  node.takeMetrics();
  const about = (port: number) => icmpError("unreachable", ip(who.host[family], who.w[family], udp(1000, port)));
  isPassed(t, node, await toHost(node, who.node2[family], family, about(53)), "stack", "ingress");
  await denied(t, node, () => toHost(node, who.node2[family], family, about(54)), "policy", "ingress");
});

both("an ICMP error that the node sends as a router passes with the flow that it is about", async (t, node, family) => {
  enforceHost(node, { egress: nothing });
  await node.run("from_network", wireFrame(who.w[family], who.a[family], udp(1000, 53)));
  node.takeMetrics();
  const error = icmpError("unreachable", ip(who.w[family], who.a[family], udp(1000, 53)));
  isPassed(t, node, await fromHost(node, who.w[family], family, error), "stack", "egress");
});

both("between a pod and its node both are asked: the egress of the sender first", async (t, node, family) => {
  enforceHost(node, { ingress: ssh, egress: nothing });
  const podToHost = (transport: Transport) =>
    node.fromPod("a", podFrame("a", who.a[family], who.host[family], transport));
  isPassed(t, node, await podToHost(tcp(1000, 22, "S")), "stack", "egress");
  isPassed(t, node, await hostToPod(node, family, tcp(22, 1000, "SA")), "stack", "ingress");
  t.is((await podToHost(tcp(1000, 80, "S"))).verdict, "drop");
  const [denied] = (await node.takeEvents()).slice(-1);
  t.is(denied?.direction, 1);
  t.is(denied?.endpoint, 0);
  node.takeMetrics();
  t.is((await hostToPod(node, family, tcp(1001, 8080, "S"))).verdict, "drop");
  const [own] = (await node.takeEvents()).slice(-1);
  t.is(own?.direction, 0);
  t.is(own?.sourceIdentity, 1);
  t.is(own?.destinationIdentity, who.a.identity);
});

both("what the node forwards to a pod from another device is not the node's", async (t, node, family) => {
  enforceHost(node, { egress: nothing });
  const packet = stackFrame("a", who.w[family], who.a[family], tcp(1000, 80, "S"));
  isPassed(t, node, await node.run("to_pod", packet, { device: "a" }), "stack", "ingress");
});

both("a changed policy holds for flows that are open, in both directions", async (t, node, family) => {
  enforceHost(node, { ingress: ssh });
  await toHost(node, who.w[family], family, tcp(1000, 22, "S"));
  await fromHost(node, who.w[family], family, tcp(22, 1000, "SA"));
  await node.maps.clear("policy_set", "policy_peer", "policy_port");
  enforceHost(node, { ingress: nothing, egress: nothing }, { policyRevision: 101 });
  t.is((await fromHost(node, who.w[family], family, tcp(22, 1000, "A"))).verdict, "drop");
  t.is((await toHost(node, who.w[family], family, tcp(1000, 22, "A"))).verdict, "drop");
  t.is((await node.flows(family)).length, 1, "it is judged again each time, until its time is over");
});

both("a connection that is older than the policy goes on if either end may have opened it", async (t, node, family) => {
  enforceHost(node, { ingress: nothing, egress: { ...ssh, ports: [{ protocol: 6, port: 6443, groups: [0] }] } });
  isPassed(t, node, await toHost(node, who.w[family], family, tcp(6443, 1000, "A")), "stack", "ingress");
  const [flow] = await node.flows(family);
  t.is(flow?.egressRevision, 100);
  t.regex(flow?.initiator ?? "", /:1000$/);
  isPassed(t, node, await fromHost(node, who.w[family], family, tcp(1000, 6443, "A")), "stack", "egress");
  await denied(t, node, () => toHost(node, who.w[family], family, tcp(6443, 1001, "S")), "policy", "ingress");
  await denied(t, node, () => toHost(node, who.w[family], family, tcp(7000, 1000, "A")), "policy", "ingress");
});

both("a guard allows before a deny that holds for everybody", async (t, node, family) => {
  const policy = {
    guards: 1,
    denies: 1,
    peers: { 0: [0, 1] },
    ports: [{ groups: [1] }, { protocol: 6, length: 0, groups: [1] }, { protocol: 6, port: 179, groups: [0, 1] }],
  };
  enforceHost(node, { ingress: policy });
  isPassed(t, node, await toHost(node, who.node2[family], family, tcp(1000, 179, "S")), "stack", "ingress");
  await denied(t, node, () => toHost(node, who.node2[family], family, tcp(1000, 180, "S")), "policyDeny", "ingress");
});

both("who claims to be the node or one of its pods does not come in from the network", async (t, node, family) => {
  enforceHost(node, { ingress: everything });
  for (const source of [who.host[family], who.a[family]]) {
    await denied(t, node, () => toHost(node, source, family, tcp(1000, 22, "S")), "spoofedAddress", "ingress");
  }
});

both("audit mode reports what it would drop of the node's, and lets it through", async (t, node, family) => {
  const audit = EndpointFlags.audit | EndpointFlags.enforceIngress | EndpointFlags.policyIngress;
  enforceHost(node, { ingress: nothing }, { flags: audit });
  isPassed(t, node, await toHost(node, who.w[family], family, tcp(1000, 80, "S")), "stack", "ingress");
});

both("an echo request is judged as any other packet", async (t, node, family) => {
  enforceHost(node, { ingress: ssh });
  const request = echo(who.host[family], "request", 7);
  await denied(t, node, () => toHost(node, who.w[family], family, request), "policy", "ingress");
});

check(
  "neighbour discovery is no matter of policies; other traffic to the node's link-local address is",
  async (t, node) => {
    enforceHost(node, { ingress: nothing, egress: nothing });
    const hop = { ttl: 255 };
    const solicitation = wireFrame("fe80::2", "fe80::1", neighbour(135, "fe80::1"), hop);
    await isUnseen(t, node, await node.run("from_network", solicitation), "ipv6");
    const advertisement = wireFrame("fe80::1", "fe80::2", neighbour(136, "fe80::1"), hop);
    await isUnseen(t, node, await node.run("to_network", advertisement, { ownStack: true }), "ipv6");
    const login = wireFrame("fe80::2", "fe80::1", tcp(1000, 22, "S"));
    await denied(t, node, () => node.run("from_network", login), "policy", "ingress");
  },
);

check("a neighbour's link-local address is a peer of the node like any other from outside", async (t, node) => {
  enforceHost(node, { ingress: ssh });
  const login = wireFrame("fe80::2", "fe80::1", tcp(1000, 22, "S"));
  isPassed(t, node, await node.run("from_network", login), "stack", "ingress");
});

both("an address of the node that is in no Node object counts once it is known", async (t, node, family) => {
  enforceHost(node, { ingress: nothing });
  const extra = family === "ipv4" ? "192.0.2.77" : "2001:db8:f::77";
  const packet = wireFrame(who.w[family], extra, tcp(1000, 80, "S"));
  await isUnseen(t, node, await node.run("from_network", packet), family);
  putIdentity(node.maps, extra, 1, 3);
  await denied(t, node, () => node.run("from_network", packet), "policy", "ingress");
});

both(
  "the node's own SCTP to a service is refused under a policy, which could not tell whom it is for",
  async (t, node, family) => {
    const address = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" }[family];
    const backends = [{ address: who.r[family], port: 8080 }];
    free(node);
    putService(node.maps, { id: 1, address, port: 80, protocol: Protocol.sctp, backends });
    t.is((await fromHost(node, address, family, sctp(1000, 80))).verdict, "redirect", "without one it has a backend");
    enforceHost(node, { ingress: nothing });
    t.is((await fromHost(node, address, family, sctp(1001, 80))).verdict, "drop");
  },
);
