import test from "ava";
import { peersOfNode } from "../../../src/lab/bgp-peers.ts";
import { kubeRouterAnnotations, kubeRouterArgs } from "../../../src/lab/kube-router.ts";
import { planLab } from "../../../src/lab/plan.ts";
import { readFlags } from "../../support/kube-router/flags.ts";
import { nodeFacts, speakerOf } from "../../support/kube-router/speaker.ts";
import { withKubeRouter } from "../../support/lab-kube-router.ts";

test("flags and Nodes are all that a kube-router needs to have the sessions of the topology", (t) => {
  for (const topology of ["fabric", "mesh", "reflectors", "per-node-asn"] as const) {
    const lab = planLab({ name: "demo", index: 0, nodes: 3, externals: [], topology }, "/cgroup");
    const nodes = lab.nodes.map((node) =>
      nodeFacts({
        metadata: { name: node.name, annotations: kubeRouterAnnotations(lab, node) },
        spec: { podCIDRs: [node.podCidr4, node.podCidr6] },
        status: {
          addresses: [node.ipv4, node.ipv6].map((address) => ({ type: "InternalIP", address })),
        },
      }),
    );
    for (const [i, node] of lab.nodes.entries()) {
      const flags = readFlags(kubeRouterArgs(lab, node, { gracefulRestart: false }));
      const own = nodes[i];
      if (own === undefined) throw new Error("no such node");
      const { as, peers } = speakerOf(own, nodes, flags);
      const comparable = (some: typeof peers) =>
        some.map(({ name: _, ...peer }) => peer).sort((a, b) => (a.address < b.address ? -1 : 1));
      t.is(as, node.as, `${topology}: ${node.name}`);
      t.deepEqual(comparable(peers), comparable(peersOfNode(lab, node)), `${topology}: ${node.name}`);
    }
  }
});

test("a flag that kube-router has not, or that Tandem's pairing forbids, is refused", (t) => {
  const lab = planLab({ name: "demo", index: 0, nodes: 1, externals: [] }, "/cgroup");
  const [node] = lab.nodes;
  if (node === undefined) throw new Error("no node");
  const args = kubeRouterArgs(lab, node, { gracefulRestart: true, overlay: "full" });
  t.like(readFlags(args), { hostname: "node-1", gracefulRestart: true, ibgp: true, overlay: "full" });
  t.throws(() => readFlags([...args, "--no-such-flag"]), { message: /unknown flag: --no-such-flag/ });
  t.throws(() => readFlags([...args, "--enable-cni=true"]), { message: /--enable-cni has to be false/ });
});

test("labs of tests have the kube-router that is named, where they can, and else a reason is told", (t) => {
  const notes: string[] = [];
  const note = (why: string) => void notes.push(why);
  const lab = { name: "demo" };
  t.is(withKubeRouter(lab, note, "").kubeRouter, undefined);
  t.like(withKubeRouter(lab, note, "/opt/kube-router"), {
    kubeRouter: "/opt/kube-router",
    gracefulRestart: false,
    nodesApi: { kind: "script" },
  });
  const api = { kind: "script", path: "/opt/api" } as const;
  t.is(withKubeRouter({ ...lab, api }, note, "/opt/kube-router").nodesApi, undefined);
  t.is(withKubeRouter({ ...lab, kubeRouter: "/own" }, note, "/opt/kube-router").kubeRouter, "/own");
  t.deepEqual(notes, []);
  for (const [options, why] of [
    [{ topology: "ipv6" }, /IPv6/],
    [{ topology: "ecmp" }, /best one/],
    [{ standIn: "it is bent" }, /: it is bent$/],
    [{ site: { nodes: [], router: { ipv4: "", ipv6: "" } } }, /given addresses/],
  ] as const) {
    const { kubeRouter, ...rest } = withKubeRouter({ ...lab, ...options }, note, "/opt/kube-router");
    t.is(kubeRouter, undefined);
    t.false("standIn" in rest);
    t.regex(notes.pop() ?? "", why);
  }
});
