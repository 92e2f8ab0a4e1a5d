/** Flows that L7 rules are about, while nobody is there to look at them. With a proxy: test/kernel/l7/. */
import { EventFlags } from "../../../src/native/layouts.gen.ts";
import { echo, tcp, udp } from "../../support/packets.ts";
import { podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { putPolicy } from "../../support/programs-maps.ts";
import { programTests, reasonNumber } from "../../support/programs-test.ts";

const { both } = programTests();

const everything = { protocol: 6, port: 80, groups: [0] };
const policy = (direction: "egress" | "ingress", set = 1) => ({
  set,
  direction,
  redirects: 1,
  peers: { 0: [0] },
  ports: [everything, { ...everything, protocol: 17 }, { protocol: 1, groups: [0] }, { protocol: 58, groups: [0] }],
});
const missing = (direction: "egress" | "ingress") => [`${reasonNumber("proxyMissing")}/${direction}: 1`];

for (const [kind, transport] of [
  ["TCP", tcp(40000, 80, "S")],
  ["UDP", udp(40000, 80)],
] as const) {
  for (const direction of ["egress", "ingress"] as const) {
    both(`${direction} of ${kind}: asked of the proxy, and closed as nobody is there`, async (t, node, family) => {
      putPolicy(node.maps, policy(direction));
      node.enforce("a", direction);
      const [mine, peer] = [who.a[family], who.r[family]];
      const result =
        direction === "egress"
          ? await node.fromPod("a", podFrame("a", mine, peer, transport))
          : await node.run("from_network", wireFrame(peer, mine, transport));
      t.is(result.verdict, "drop");
      t.deepEqual(
        [...node.takeMetrics()].map(([key, { packets }]) => `${key}: ${packets}`),
        missing(direction),
      );
      const events = await node.takeEvents();
      t.deepEqual(
        events.map(({ type, reason, flags }) => [type, reason, (flags & EventFlags.proxy) !== 0]),
        [
          [2, 0, true],
          [1, reasonNumber("proxyMissing"), false],
        ],
      );
      const [flow] = await node.flows(family);
      t.true(flow?.flags.includes("proxy"));
    });
  }
}

both("what no proxy can be between is closed at once, and told once", async (t, node, family) => {
  putPolicy(node.maps, policy("egress"));
  node.enforce("a", "egress");
  const frame = podFrame("a", who.a[family], who.r[family], echo(who.a[family], "request", 7));
  t.is((await node.fromPod("a", frame)).verdict, "drop");
  t.deepEqual(
    (await node.takeEvents()).map(({ type, reason }) => [type, reason]),
    [[1, reasonNumber("proxyMissing")]],
  );
  t.is((await node.flows(family)).length, 0);
});

both(
  "what the stack brings by another way than the programs' devices passes no proxy, and is closed",
  async (t, node, family) => {
    putPolicy(node.maps, policy("ingress"));
    node.enforce("a", "ingress");
    const frame = stackFrame("a", who.r[family], who.a[family], tcp(40000, 80, "S"));
    t.is((await node.run("to_pod", frame)).verdict, "drop");
    t.deepEqual(
      [...node.takeMetrics()].map(([key]) => key),
      [`${reasonNumber("proxyMissing")}/ingress`],
    );
  },
);

both("what the proxy itself sends is not asked again", async (t, node, family) => {
  putPolicy(node.maps, policy("ingress"));
  node.enforce("a", "ingress");
  const frame = stackFrame("a", who.r[family], who.a[family], tcp(40000, 80, "S"));
  t.is((await node.run("to_pod", frame, { mark: 0x0b00 })).verdict, "stack");
  t.is((await node.run("to_pod", frame, { mark: 0x0d00 })).verdict, "drop", "another mark does not help");
});

both(
  "what opens a flow in fragments is closed: put together it could find a server of the node's own",
  async (t, node, family) => {
    putPolicy(node.maps, policy("egress"));
    node.enforce("a", "egress");
    const datagram = udp(40000, 80, { data: Buffer.alloc(100, 7) });
    const part = { offset: 0, length: 40 };
    const result = await node.fromPod("a", podFrame("a", who.a[family], who.r[family], datagram, { part, id: 1 }));
    t.is(result.verdict, "drop");
    t.deepEqual(
      [...node.takeMetrics()].map(([key]) => key),
      [`${reasonNumber("fragment")}/egress`],
    );
  },
);
