import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { parseAllDocuments } from "yaml";
import { checkKubeRouter, kubeRouterAnnotations, kubeRouterArgs, manifestFlags } from "../../../src/lab/kube-router.ts";
import { planLab, type Topology } from "../../../src/lab/plan.ts";

const plan = (topology: Topology) =>
  planLab({ name: "demo", index: 0, nodes: 3, externals: ["client"], topology }, "/cgroup");

function nodeOf(topology: Topology, number: number) {
  const lab = plan(topology);
  const node = lab.nodes[number - 1];
  if (node === undefined) throw new Error(`no node ${number}`);
  return [lab, node] as const;
}

interface DaemonSet {
  readonly kind: string;
  readonly spec: { readonly template: { readonly spec: { readonly containers: { readonly args: unknown }[] } } };
}

test("kube-router gets the flags of our manifest, those of the topology, its node and the API server", async (t) => {
  const file = new URL("../../../manifests/kube-router/kube-router.yaml", import.meta.url);
  const objects = parseAllDocuments(await readFile(file, "utf8")).map((each) => each.toJS() as DaemonSet);
  const args = objects.find(({ kind }) => kind === "DaemonSet")?.spec.template.spec.containers[0]?.args;
  t.deepEqual(args, [...manifestFlags]);
  t.deepEqual(kubeRouterArgs(...nodeOf("per-node-asn", 2), { gracefulRestart: true }), [
    ...manifestFlags,
    "--enable-ibgp=false",
    "--nodes-full-mesh=false",
    "--enable-overlay=false",
    "--hostname-override=node-2",
    "--kubeconfig=/run/tandem-lab/demo/api/kubeconfig.nodes",
  ]);
});

test("an overlay is kube-router's own, by its flags", (t) => {
  const args = kubeRouterArgs(...nodeOf("mesh", 1), { gracefulRestart: true, overlay: "full" });
  t.deepEqual(
    args.filter((flag) => flag.includes("overlay")),
    ["--enable-overlay=true", "--overlay-type=full"],
  );
});

test("graceful restart is as in the manifest, or off, and told once", (t) => {
  for (const gracefulRestart of [true, false])
    t.deepEqual(
      kubeRouterArgs(...nodeOf("mesh", 1), { gracefulRestart }).filter((flag) => flag.includes("restart")),
      [`--bgp-graceful-restart=${gracefulRestart}`],
    );
  const short = kubeRouterArgs(...nodeOf("mesh", 1), { gracefulRestart: true, restartSeconds: 10 });
  t.true(short.includes("--bgp-graceful-restart-time=10s"));
});

test("a Node tells kube-router its AS number, its part in reflection and its routers", (t) => {
  t.deepEqual(kubeRouterAnnotations(...nodeOf("mesh", 1)), {});
  t.deepEqual(kubeRouterAnnotations(...nodeOf("fabric", 1)), {
    "kube-router.io/peers": '[{"remoteip":"172.30.0.254","remoteasn":65000}]',
  });
  t.like(kubeRouterAnnotations(...nodeOf("reflectors", 1)), { "kube-router.io/rr.server": "10.0.0.1" });
  t.like(kubeRouterAnnotations(...nodeOf("reflectors", 2)), {
    "kube-router.io/rr.client": "10.0.0.1",
    "kube-router.io/peers": '[{"remoteip":"172.30.0.254","remoteasn":64512}]',
  });
  const { "kube-router.io/peers": peers = "[]", ...more } = kubeRouterAnnotations(...nodeOf("ecmp", 3));
  t.deepEqual(more, { "kube-router.io/node.asn": "64515" });
  t.deepEqual(
    (JSON.parse(peers) as readonly { readonly remoteip: string }[]).map(({ remoteip }) => remoteip),
    ["172.30.0.254", "fd72:30:1::fe", "172.31.0.254", "fd72:31:1::fe"],
  );
});

test("a kube-router that is not there, cannot be run, or has no place in the lab is refused with what to do", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-kube-router-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, "kube-router");
  const refused = async (topology: Topology, api: boolean, message: RegExp, file = path) => {
    const error = await t.throwsAsync(checkKubeRouter(file, { topology, api }), { message });
    t.like(error, { code: "LAB_KUBE_ROUTER", object: file });
  };
  await refused("fabric", true, /there is no such file/);
  await refused("fabric", true, /is no program/, folder);
  await writeFile(path, "#!/bin/sh\n", { mode: 0o644 });
  await refused("fabric", true, /is no program.*chmod/);
  await chmod(path, 0o755);
  await refused("fabric", false, /needs an API server.*--api-server/);
  await refused("ipv6", true, /no topology ipv6/);
  t.is(await checkKubeRouter(path, { topology: "fabric", api: true }), path);
});
