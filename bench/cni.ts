/**
 * CNI ADD as a runtime sees it: wall time of the plugin binary from exec to exit, which includes the pod's policy being in
 * the kernel. The baseline is making the same veth pair, addresses and routes with one `ip -batch` each side, no agent.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inNetns, median, percentile, printTable, type Row, sh, tandem } from "./support.ts";

export async function benchCni(options: { readonly adds: number }): Promise<readonly Row[]> {
  const lab = `benchcni${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  const namespaces: string[] = [];
  try {
    const pods = Array.from({ length: options.adds }, (_, i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `p${i}`, namespace: "bench", labels: { app: "bench" } },
      spec: { nodeName: "node-1", containers: [{ name: "main", image: "none" }] },
    }));
    await sh(tandem("lab", "up", "--name", lab, "--nodes", "1"), 180_000);
    const status = JSON.parse(await sh(tandem("lab", "status", "--name", lab, "--json"))) as {
      folder: string;
      nodes: { name: string; netns: string; socket: string; stateDir: string; cni: string }[];
    };
    const node = status.nodes[0];
    if (node === undefined) throw new Error("the lab has no node");
    // The pods are known to the agent beforehand, as kubelet's are; the lab itself must not start them.
    writeFileSync(
      join(status.folder, "manifests", "bench-pods.json"),
      JSON.stringify({
        apiVersion: "v1",
        kind: "List",
        items: [{ apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } }, ...pods],
      }),
    );
    const config = JSON.stringify({
      cniVersion: "1.1.0",
      name: "tandem",
      type: "tandem-cni",
      socket: node.socket,
      stateDir: node.stateDir,
    });
    const times: number[] = [];
    const plain: number[] = [];
    for (let i = 0; i < options.adds; i++) {
      const netns = `tandem-${lab}-x${i}`;
      await sh(["ip", "netns", "add", netns]);
      namespaces.push(netns);
      const pod = { netns, containerId: `bench${process.pid}x${i}`, namespace: "bench", name: `p${i}` };
      times.push((await addPod({ netns: node.netns, binary: node.cni, config }, pod)).ms);
      const base = `tandem-${lab}-y${i}`;
      await sh(["ip", "netns", "add", base]);
      namespaces.push(base);
      plain.push(await byHand(node.netns, base, i, folder));
    }
    const rows: Row[] = [
      {
        what: `CNI ADD p50 of ${options.adds}`,
        figure: `${median(times).toFixed(1)} ms`,
        baseline: `${median(plain).toFixed(1)} ms by ip`,
        ratio: median(plain) / median(times),
        aim: "p50 < 15 ms",
      },
      {
        what: "CNI ADD p99",
        figure: `${percentile(times, 0.99).toFixed(1)} ms`,
        baseline: `${percentile(plain, 0.99).toFixed(1)} ms by ip`,
        ratio: percentile(plain, 0.99) / percentile(times, 0.99),
        aim: "",
      },
    ];
    printTable("CNI ADD until the pod's policy is in the kernel", rows);
    return rows;
  } finally {
    for (const netns of namespaces) await sh(["ip", "netns", "delete", netns]).catch(() => undefined);
    await sh(tandem("lab", "down", "--name", lab), 60_000).catch((error: unknown) => console.error(String(error)));
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface CniNode {
  readonly netns: string;
  /** Path of the plugin. */
  readonly binary: string;
  /** What a runtime gives it. */
  readonly config: string;
}

export interface CniPod {
  readonly netns: string;
  readonly containerId: string;
  readonly namespace: string;
  readonly name: string;
}

/** One ADD by the real binary. @returns ms, and the addresses that it answered */
export function addPod(
  node: CniNode,
  pod: CniPod,
): Promise<{ readonly ms: number; readonly addresses: readonly string[] }> {
  const [file, ...args] = inNetns(node.netns, [node.binary]);
  const env = {
    PATH: process.env.PATH ?? "",
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: pod.containerId,
    CNI_NETNS: `/run/netns/${pod.netns}`,
    CNI_IFNAME: "eth0",
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name}`,
    CNI_PATH: "/opt/cni/bin",
  };
  return new Promise((resolve, reject) => {
    const before = performance.now();
    const child = execFile(file ?? "", args, { env, timeout: 40_000 }, (error, stdout) => {
      if (error !== null) return reject(new Error(`CNI ADD of ${pod.name}: ${stdout || error.message}`));
      const ms = performance.now() - before;
      const { ips } = JSON.parse(stdout) as { readonly ips: readonly { readonly address: string }[] };
      resolve({ ms, addresses: ips.map(({ address }) => address.slice(0, address.indexOf("/"))) });
    });
    child.stdin?.end(node.config);
  });
}

/** The same wiring with iproute2, nothing else; milliseconds. */
async function byHand(nodeNetns: string, netns: string, i: number, folder: string): Promise<number> {
  const device = `by${process.pid % 10_000}x${i}`;
  const file = join(folder, `by-hand-${i}`);
  const inside = join(folder, `inside-${i}`);
  writeFileSync(
    file,
    [
      `link add ${device} type veth peer name eth0 netns ${netns}`,
      `link set ${device} up`,
      `route add 10.254.${i >> 8}.${i & 255}/32 dev ${device}`,
      "",
    ].join("\n"),
  );
  writeFileSync(
    inside,
    [
      "link set lo up",
      "link set eth0 up",
      `addr add 10.254.${i >> 8}.${i & 255}/32 dev eth0`,
      "route add 169.254.1.1 dev eth0",
      "route add default via 169.254.1.1 dev eth0",
      "",
    ].join("\n"),
  );
  const before = performance.now();
  await sh(inNetns(nodeNetns, ["ip", "-batch", file]));
  await sh(inNetns(netns, ["ip", "-batch", inside]));
  return performance.now() - before;
}
