/** Pings to addresses of services are answered by the node; all others go where they went. */
import { echo } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { mapped, putPolicy } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests();

const vip = { ipv4: "203.0.114.10", ipv6: "2001:db8:aa::10" } as const;
const [inside, outside] = [1, 2];

const put = (node: ProgramNode, address: string, scopes: number) =>
  node.maps.put("service_address", { address: mapped(address) }, { scopes });

const pingFromOutside = (node: ProgramNode, family: Family, kind: "request" | "reply" = "request", ttl = 64) =>
  node.run("from_network", wireFrame(who.w[family], vip[family], echo(vip[family], kind, 7), { ttl }));

/** Type, identifier and data of an echo. */
const told = ({ parsed }: RunResult) => [
  parsed.ip?.type,
  parsed.ip?.payload.readUInt16BE(4),
  String(parsed.ip?.payload.subarray(8)),
];
const reply = { ipv4: 0, ipv6: 129 } as const;

both("a client outside is answered, by the service, with what he sent", async (t, node, family) => {
  put(node, vip[family], inside | outside);
  for (const ttl of [64, 1]) {
    node.takeMetrics();
    const answer = await pingFromOutside(node, family, "request", ttl);
    isPassed(t, node, answer, "redirect", "ingress");
    t.is(`${answer.parsed.ip?.source} > ${answer.parsed.ip?.destination}`, `${vip[family]} > ${who.w[family]}`);
    t.deepEqual(told(answer), [reply[family], 7, "ping"]);
    t.is(answer.parsed.ip?.ttl, 63);
  }
});

both("a pod is answered, too, if its policy lets it ask", async (t, node, family) => {
  put(node, vip[family], inside);
  const ask = () => node.fromPod("a", podFrame("a", who.a[family], vip[family], echo(vip[family], "request", 7)));
  const answer = await ask();
  isPassed(t, node, answer, "redirect", "egress");
  t.is(`${answer.parsed.ip?.source} > ${answer.parsed.ip?.destination}`, `${vip[family]} > ${who.a[family]}`);
  t.is(answer.parsed.destinationMac, who.a.mac.toString("hex"), "back into the pod");
  t.deepEqual(told(answer), [reply[family], 7, "ping"]);
  await node.maps.clear("ct4", "ct6");
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, ports: [{ protocol: 6, port: 80, groups: [0] }] });
  node.enforce("a", "egress");
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await ask(), "policy", "egress");
});

both("the node itself is answered where its request was about to leave", async (t, node, family) => {
  const request = wireFrame(who.host[family], vip[family], echo(vip[family], "request", 7));
  const ask = (frame: Buffer, ownStack = true) => node.run("to_network", frame, { ownStack });
  t.is((await ask(request)).verdict, "stack", "no service");
  put(node, vip[family], inside);
  t.is((await ask(request, false)).verdict, "stack", "somebody else's");
  node.takeMetrics();
  const answer = await ask(request);
  isPassed(t, node, answer, "redirect", "egress");
  t.is(`${answer.parsed.ip?.source} > ${answer.parsed.ip?.destination}`, `${vip[family]} > ${who.host[family]}`);
  t.deepEqual(told(answer), [reply[family], 7, "ping"]);
  t.is(answer.parsed.destinationMac, request.subarray(6, 12).toString("hex"), "the device's own");
  t.is((await node.run("from_network", answer.frame)).verdict, "stack", "and so it comes in");
  const part = { part: { offset: 0, length: 8 } };
  const first = wireFrame(who.host[family], vip[family], echo(vip[family], "request", 7), part);
  t.is((await ask(first)).verdict, "stack", "a part of one");
});

both("only requests, only to services, and only those that are for such clients", async (t, node, family) => {
  t.is((await pingFromOutside(node, family)).verdict, "stack", "no service");
  put(node, vip[family], inside);
  t.is((await pingFromOutside(node, family)).verdict, "stack", "not for clients outside");
  put(node, vip[family], outside);
  t.is((await pingFromOutside(node, family, "reply")).verdict, "stack");
  put(node, who.host[family], inside | outside);
  const own = wireFrame(who.w[family], who.host[family], echo(who.host[family], "request", 7));
  t.is((await node.run("from_network", own)).verdict, "stack", "the node's own address");
  const data = wireFrame(who.w[family], vip[family], echo(vip[family], "request", 7), {
    part: { offset: 0, length: 8 },
  });
  t.is((await node.run("from_network", data)).verdict, "stack", "a part of one");
});
