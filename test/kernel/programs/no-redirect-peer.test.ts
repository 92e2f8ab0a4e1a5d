/** Kernels without bpf_redirect_peer: a packet for a pod leaves by the host side of its veth, where to_pod sees it once more. */
import { EndpointFlags } from "../../../src/native/layouts.gen.ts";
import { tcp } from "../../support/packets.ts";
import { podFrame, stackFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { putPolicy } from "../../support/programs-maps.ts";
import { programTests } from "../../support/programs-test.ts";

const { both } = programTests({ config_redirect_peer: 0 });

both("what was judged for both ends passes to_pod and is not judged or counted twice", async (t, node, family) => {
  node.enforce("b", "ingress");
  putPolicy(node.maps, {
    set: 2,
    direction: "ingress",
    allows: 1,
    peers: { 0: [0] },
    ports: [{ protocol: 6, port: 80, groups: [0] }],
  });
  for (const sent of [
    await node.fromPod("a", podFrame("a", who.a[family], who.b[family], tcp(40000, 80, "S"))),
    await node.run("from_network", wireFrame(who.r[family], who.b[family], tcp(40000, 80, "S"))),
  ]) {
    t.is(sent.verdict, "redirect");
    t.is(sent.mark, 0x0e00);
    await node.maps.clear("policy_port"); // would be denied if it were asked for again
    node.takeMetrics();
    t.is((await node.run("to_pod", sent.frame, { device: "b", mark: sent.mark })).verdict, "stack");
    t.is(node.takeMetrics().size, 0);
    putPolicy(node.maps, {
      set: 2,
      direction: "ingress",
      allows: 1,
      peers: { 0: [0] },
      ports: [{ protocol: 6, port: 80, groups: [0] }],
    });
  }
});

both("what a program gave to the stack is judged when the stack brings it to a pod", async (t, node, family) => {
  putPolicy(node.maps, { set: 2, direction: "ingress", ports: [] });
  node.enforce("b", "ingress");
  const packet = stackFrame("b", who.r[family], who.b[family], tcp(40000, 80, "S"));
  t.is((await node.run("to_pod", packet, { device: "b", mark: 0x0d00 })).verdict, "drop");
  t.is((await node.run("to_pod", packet, { device: "b" })).verdict, "drop");
});

both("a pod that closed meanwhile gets nothing, judged or not", async (t, node, family) => {
  node.putPod("b", { flags: EndpointFlags.closed });
  const packet = stackFrame("b", who.r[family], who.b[family], tcp(40000, 80, "S"));
  t.is((await node.run("to_pod", packet, { device: "b", mark: 0x0e00 })).verdict, "drop");
});
