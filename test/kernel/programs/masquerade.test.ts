/** What pods send to where their own addresses are not known leaves under the node's; what the node itself sends does not meet it. */
import { NativeFlags } from "../../../src/native/layouts.gen.ts";
import {
  bytesOf,
  echo,
  icmpError,
  ip,
  type IpOptions,
  Protocol,
  tcp,
  type Transport,
  udp,
} from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { ipv4Number } from "../../support/programs-maps.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({ config_masquerade_ipv4: 1, config_masquerade_ipv6: 1 });

const masquerade = 0x0c00;
const judged = 0x0d00;
const router = { ipv4: "192.0.2.254", ipv6: "2001:db8:f::fe" } as const;

/** "source:port > destination:port" of what a program made of a packet. */
function way(result: RunResult): string {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
}

/** Through both programs that it meets: the pod's, and the uplink's. */
async function leaves(
  node: ProgramNode,
  family: Family,
  name: "a" | "b",
  transport: Transport,
  to: string = who.w[family],
  options?: IpOptions,
): Promise<RunResult> {
  const sent = await node.fromPod(name, podFrame(name, who[name][family], to, transport, options));
  return node.run("to_network", sent.frame, { mark: sent.mark });
}

const answers = (node: ProgramNode, family: Family, transport: Transport, options?: IpOptions) =>
  node.run("from_network", wireFrame(who.w[family], who.host[family], transport, options));

function native(node: ProgramNode, prefix: string, length: number, flags: number = NativeFlags.keep): void {
  if (prefix.includes(":")) node.maps.put("native_prefix6", { prefixlen: length, address: bytesOf(prefix) }, { flags });
  else node.maps.put("native_prefix4", { prefixlen: length, address: ipv4Number(prefix) }, { flags });
}

for (const [what, make] of [
  ["TCP", (from: number, to: number, letters = "S") => tcp(from, to, letters)],
  ["UDP", (from: number, to: number) => udp(from, to)],
] as const) {
  both(`${what}: out in the node's name, and back to the pod`, async (t, node, family) => {
    const sent = await node.fromPod("a", podFrame("a", who.a[family], who.w[family], make(40000, 443)));
    t.is(sent.verdict, "redirect");
    t.is(sent.mark & 0x0f00, masquerade);
    const left = await node.run("to_network", sent.frame, { mark: sent.mark });
    t.is(left.verdict, "stack");
    t.is(way(left), `${who.host[family]}:40000 > ${who.w[family]}:443`);
    t.deepEqual(wrongChecksums(left.frame), []);
    node.takeMetrics();
    const back = await answers(node, family, make(443, 40000, "SA"));
    isPassed(t, node, back, "redirect", "ingress");
    t.is(way(back), `${who.w[family]}:443 > ${who.a[family]}:40000`);
    t.is(back.parsed.destinationMac, who.a.mac.toString("hex"));
    t.is(way(await leaves(node, family, "a", make(40000, 443, "A"))), way(left));
  });
}

both("two pods from one port get two", async (t, node, family) => {
  await leaves(node, family, "a", tcp(40000, 443, "S"));
  const port = (await leaves(node, family, "b", tcp(40000, 443, "S"))).parsed.ip?.sourcePort ?? 0;
  t.not(port, 40000);
  t.is(way(await answers(node, family, tcp(443, 40000, "SA"))), `${who.w[family]}:443 > ${who.a[family]}:40000`);
  t.is(way(await answers(node, family, tcp(443, port, "SA"))), `${who.w[family]}:443 > ${who.b[family]}:40000`);
});

both("echo: each pod's answers are its own, whatever identifier it uses", async (t, node, family) => {
  const like = who.w[family];
  const ids: number[] = [];
  for (const name of ["a", "b"] as const) {
    const left = await leaves(node, family, name, echo(like, "request", 7));
    t.is(left.parsed.ip?.source, who.host[family]);
    t.deepEqual(wrongChecksums(left.frame), []);
    ids.push(left.parsed.ip?.payload.readUInt16BE(4) ?? -1);
  }
  t.is(new Set(ids).size, 2);
  for (const [i, name] of (["a", "b"] as const).entries()) {
    const back = await answers(node, family, echo(like, "reply", ids[i] ?? -1));
    t.is(back.parsed.ip?.destination, who[name][family]);
    t.is(back.parsed.ip?.payload.readUInt16BE(4), 7);
    t.deepEqual(wrongChecksums(back.frame), []);
  }
});

both("what goes to where pods are known keeps its source; the longest prefix says", async (t, node, family) => {
  const [wide, narrow] = family === "ipv4" ? ["198.51.0.0", "198.51.100.0"] : ["2001:db8::", "2001:db8:99::"];
  native(node, wide, family === "ipv4" ? 16 : 32);
  const left = await leaves(node, family, "a", tcp(40000, 443, "S"));
  t.is(left.mark & 0x0f00, judged);
  t.is(left.parsed.ip?.source, who.a[family]);
  native(node, narrow, family === "ipv4" ? 24 : 48, 0);
  t.is((await leaves(node, family, "a", tcp(40001, 443, "S"))).parsed.ip?.source, who.host[family]);
});

both("a prefix that comes or goes changes no flow that runs", async (t, node, family) => {
  const length = family === "ipv4" ? 32 : 128;
  await leaves(node, family, "a", tcp(40000, 443, "S"));
  native(node, who.w[family], length);
  t.is((await leaves(node, family, "a", tcp(40000, 443, "A"))).parsed.ip?.source, who.host[family]);
  t.is((await leaves(node, family, "a", tcp(40001, 443, "S"))).parsed.ip?.source, who.a[family]);
  await node.maps.clear("native_prefix4", "native_prefix6");
  t.is((await leaves(node, family, "a", tcp(40001, 443, "A"))).parsed.ip?.source, who.a[family]);
  native(node, who.w[family], length);
  await node.maps.clear("ct4", "ct6");
  const forgotten = await leaves(node, family, "a", tcp(40000, 443, "A"));
  t.is(forgotten.parsed.ip?.source, who.host[family], "also where conntrack has forgotten it");
});

both("answers to a connection from outside are not masqueraded", async (t, node, family) => {
  await node.run("from_network", wireFrame(who.w[family], who.a[family], tcp(40000, 80, "S")));
  const left = await leaves(node, family, "a", tcp(80, 40000, "SA"));
  t.is(left.mark & 0x0f00, judged);
  t.is(left.parsed.ip?.source, who.a[family]);
});

both("errors: to the pod in its own terms, and from it in the node's", async (t, node, family) => {
  await leaves(node, family, "a", udp(40000, 443));
  await answers(node, family, udp(443, 40000));
  node.takeMetrics();
  const data = Buffer.alloc(100, 7);
  const towards = icmpError("tooBig", ip(who.host[family], who.w[family], udp(40000, 443, { data })));
  const told = await node.run("from_network", wireFrame(router[family], who.host[family], towards));
  isPassed(t, node, told, "redirect", "ingress");
  t.is(told.parsed.ip?.destination, who.a[family]);
  t.is(`${told.parsed.ip?.inner?.source}:${told.parsed.ip?.inner?.sourcePort}`, `${who.a[family]}:40000`);
  const complaint = icmpError("unreachable", ip(who.w[family], who.a[family], udp(443, 40000, { data })));
  const left = await leaves(node, family, "a", complaint);
  t.is(left.verdict, "stack");
  t.is(left.parsed.ip?.source, who.host[family]);
  t.is(`${left.parsed.ip?.inner?.destination}:${left.parsed.ip?.inner?.destinationPort}`, `${who.host[family]}:40000`);
  const unknown = icmpError("tooBig", ip(who.host[family], who.w[family], udp(40001, 443, { data })));
  t.is(
    (await node.run("from_network", wireFrame(router[family], who.host[family], unknown))).verdict,
    "stack",
    "about the node's own",
  );
});

both("fragments leave in the node's name, all of them", async (t, node, family) => {
  const data = Buffer.alloc(100, 1);
  for (const [offset, length] of [
    [0, 40],
    [40, 40],
    [80, 28],
  ] as const) {
    const part = { part: { offset, length }, id: 9 };
    const left = await leaves(node, family, "a", udp(40000, 443, { data }), who.w[family], part);
    t.is(left.verdict, "stack");
    t.is(left.parsed.ip?.source, who.host[family]);
    const back = await answers(node, family, udp(443, 40000, { data }), part);
    t.is(back.verdict, "redirect");
    t.is(back.parsed.ip?.destination, who.a[family]);
  }
});

both("a device without an address lets nothing out in another name", async (t, node, family) => {
  await node.maps.clear("device_address");
  const sent = await node.fromPod("a", podFrame("a", who.a[family], who.w[family], tcp(40000, 443, "S")));
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await node.run("to_network", sent.frame, { mark: sent.mark }), "natFailed", "egress");
});

both(
  "the node's own connection from a port that a pod's flow has gets another, and its answers",
  async (t, node, family) => {
    await leaves(node, family, "a", tcp(40000, 443, "S"));
    const own = (letters: string) =>
      node.run("to_network", wireFrame(who.host[family], who.w[family], tcp(40000, 443, letters)), { ownStack: true });
    const left = await own("S");
    t.is(left.verdict, "stack");
    const port = left.parsed.ip?.sourcePort ?? 0;
    t.not(port, 40000);
    t.is(way(await answers(node, family, tcp(443, 40000, "SA"))), `${who.w[family]}:443 > ${who.a[family]}:40000`);
    const back = await answers(node, family, tcp(443, port, "SA"));
    t.is(back.verdict, "stack");
    t.is(way(back), `${who.w[family]}:443 > ${who.host[family]}:40000`);
    t.is(way(await own("A")), way(left));
    const elsewhere = wireFrame(who.host[family], who.w[family], tcp(40000, 80, "S"));
    t.is((await node.run("to_network", elsewhere, { ownStack: true })).parsed.ip?.sourcePort, 40000);
  },
);

both("what the kernel's own rules masquerade never gets a pod's answers either", async (t, node, family) => {
  await leaves(node, family, "a", tcp(40000, 443, "S"));
  const forwarded = await node.run("to_network", wireFrame(who.host[family], who.w[family], tcp(40000, 443, "S")));
  const port = forwarded.parsed.ip?.sourcePort ?? 0;
  t.not(port, 40000);
  const back = await answers(node, family, tcp(443, port, "SA"));
  t.is(back.verdict, "stack");
  t.is(way(back), `${who.w[family]}:443 > ${who.host[family]}:40000`);
  const others = await node.run("to_network", wireFrame(who.b[family], who.w[family], tcp(40000, 443, "S")));
  t.is(way(others), `${who.b[family]}:40000 > ${who.w[family]}:443`, "what is not in the node's name is left alone");
});

both("what was never asked for is the node's", async (t, node, family) => {
  t.is((await answers(node, family, tcp(443, 40000, "SA"))).verdict, "stack");
  t.is((await answers(node, family, udp(443, 40000))).verdict, "stack");
  await leaves(node, family, "a", udp(40000, 443));
  const nat = family === "ipv4" ? await node.maps.entries("nat4") : await node.maps.entries("nat6");
  t.is(nat.length, 2);
  t.true(nat.every(({ key }) => key.protocol === Protocol.udp));
});
