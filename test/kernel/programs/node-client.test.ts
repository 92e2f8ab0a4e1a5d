/**
 * The node's own SCTP to services, which no program of its cgroup sees: it gets a backend where it would leave, and what answers is the service's again. Where
 * that cannot be right it is dropped and counted, and never leaves.
 */
import { Protocol, sctp, tcp, type Transport, udp } from "../../support/packets.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { putService } from "../../support/programs-maps.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({}, {}, ["tc", "xdp"]);

const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;
const second = { ipv4: "10.0.2.21", ipv6: "fd00:2::21" } as const;

function serve(node: ProgramNode, family: Family, backends: readonly string[], id = 1): void {
  for (const protocol of [Protocol.sctp, Protocol.tcp, Protocol.udp]) {
    const table = backends.map((address) => ({ address, port: 8080 }));
    putService(node.maps, { id: id * 10 + (protocol % 10), address: vip[family], port: 80, protocol, backends: table });
  }
}

const ask = (node: ProgramNode, family: Family, transport: Transport, ownStack = true) =>
  node.run("to_network", wireFrame(who.host[family], vip[family], transport), { ownStack });

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

both("to a pod of another node, and back as the service's", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  const asked = await ask(node, family, sctp(40000, 80));
  isPassed(t, node, asked, "redirect", "egress");
  t.is(way(asked), `${who.host[family]}:40000 > ${who.r[family]}:8080`);
  t.deepEqual(wrongChecksums(asked.frame), []);
  for (let i = 0; i < 2; i++) {
    const answer = wireFrame(who.r[family], who.host[family], sctp(8080, 40000));
    const answered = await node.run("from_network", answer);
    t.is(answered.verdict, "stack");
    t.is(way(answered), `${vip[family]}:80 > ${who.host[family]}:40000`);
    t.deepEqual(wrongChecksums(answered.frame), []);
    t.is(way(await ask(node, family, sctp(40000, 80))), way(asked), "it goes on there");
  }
});

both("to a pod of this node, under its policy, and back as the service's", async (t, node, family) => {
  serve(node, family, [who.a[family]]);
  const asked = await ask(node, family, sctp(40000, 80));
  t.is(asked.verdict, "redirect");
  t.is(way(asked), `${who.host[family]}:40000 > ${who.a[family]}:8080`);
  t.is((await node.run("to_pod", asked.frame, { device: "a", ownStack: true })).verdict, "stack");
  const answered = await node.fromPod("a", podFrame("a", who.a[family], who.host[family], sctp(8080, 40000)));
  t.is(answered.verdict, "stack");
  t.is(way(answered), `${vip[family]}:80 > ${who.host[family]}:40000`);
  t.deepEqual(wrongChecksums(answered.frame), []);
  // What the pod sends to the node by itself stays what it is.
  const own = await node.fromPod("a", podFrame("a", who.a[family], who.host[family], sctp(8080, 40001)));
  t.is(way(own), `${who.a[family]}:8080 > ${who.host[family]}:40001`);
});

both("one whose backend leaves the service gets another one", async (t, node, family) => {
  serve(node, family, [who.r[family]]);
  await ask(node, family, sctp(40000, 80));
  serve(node, family, [second[family]], 2);
  t.is(way(await ask(node, family, sctp(40000, 80))), `${who.host[family]}:40000 > ${second[family]}:8080`);
});

both("what cannot have a backend is dropped and never leaves", async (t, node, family) => {
  const refused = async (transport: Transport, ownStack = true) =>
    isDropped(t, node, await ask(node, family, transport, ownStack), "noBackend", "egress");
  serve(node, family, []);
  await refused(sctp(40000, 80));
  serve(node, family, [who.host[family]], 2);
  await refused(sctp(40001, 80));
  t.deepEqual(await node.maps.entries(family === "ipv4" ? "nat4" : "nat6"), [], "nothing is kept of it");
  serve(node, family, [who.r[family]], 3);
  await refused(sctp(40002, 80), false);
  await refused(tcp(40003, 80, "S"));
  await refused(udp(40004, 80));
});
