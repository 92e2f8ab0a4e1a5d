/**
 * From the change of a policy's manifest to the first packet that obeys it, on a lab of one node: one policy, and 2,000 pods
 * of other nodes that are manifests only. Beside it the same without those pods.
 */
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Lab } from "../src/lab/lab.ts";
import { pod, podAddress } from "../test/support/lab-pods.ts";
import { median, percentile, root, type Row } from "./support.ts";

const bystanders = 2_000;
const podsPerNode = 50;
const port = 9000;
/** ms from a policy's import to its map entries, the announcement's system on this platform, one rule. */
const publishedImportMs = 9;

interface Times {
  readonly open: readonly number[];
  /** null: the running flow did not end. */
  readonly closed: readonly (number | null)[];
}

function policy(...apps: readonly string[]): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "changing", namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "server" } },
      ingress: [{ from: apps.map((app) => ({ podSelector: { matchLabels: { app } } })) }],
    },
  };
}

/** 40 nodes that do not exist, and their pods: deployments of ten. */
function bystanderObjects(): readonly object[] {
  const nodes = Array.from({ length: bystanders / podsPerNode }, (_, i) => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: `elsewhere-${i}` },
    spec: { podCIDRs: [`10.201.${i}.0/24`] },
    status: { addresses: [{ type: "InternalIP", address: `10.200.0.${i + 1}` }] },
  }));
  const pods = Array.from({ length: bystanders }, (_, i) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: `pod-${i}`, namespace: "elsewhere", labels: { app: `app-${i % (bystanders / 10)}` } },
    spec: { nodeName: `elsewhere-${Math.floor(i / podsPerNode)}`, containers: [{ name: "main", image: "none" }] },
    status: {
      phase: "Running",
      podIPs: [{ ip: `10.201.${Math.floor(i / podsPerNode)}.${10 + (i % podsPerNode)}` }],
    },
  }));
  return [{ apiVersion: "v1", kind: "Namespace", metadata: { name: "elsewhere" } }, ...nodes, ...pods];
}

/** Written beside the lab's own files, so that it neither knows nor starts any of it. */
async function putManifest(lab: Lab, name: string, items: readonly object[]): Promise<void> {
  const path = join(lab.plan.manifests, name);
  await writeFile(`${path}.next`, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  await rename(`${path}.next`, path);
}

async function measure(lab: Lab, changes: number): Promise<Times> {
  const address = await podAddress(lab, "default/server");
  const file = join(lab.plan.manifests, "bench-policy.json");
  const [open, closed] = [join(lab.plan.folder, "bench-open"), join(lab.plan.folder, "bench-closed")];
  await writeFile(open, JSON.stringify(policy("client")));
  await writeFile(closed, JSON.stringify(policy("nobody")));
  await putManifest(lab, "bench-policy.json", [policy("nobody")]);
  const probe = join(root, "bench/tools/policy-probe.js");
  const command = [process.execPath, probe, address, String(port), file, open, closed, String(changes)];
  const { code, stdout, stderr } = await lab.exec("default/client", command, { timeoutMs: 10_000 + changes * 2_000 });
  if (code !== 0) throw new Error(`the probe failed: ${stderr}`);
  return JSON.parse(stdout) as Times;
}

export async function manifestToPacket(changes: number): Promise<readonly Row[]> {
  const name = `benchpol${process.pid}`;
  try {
    const ports = [{ containerPort: port, protocol: "UDP" as const }];
    const objects = [pod("server", { node: "node-1", ports }), pod("client", { node: "node-1", ports: [] })];
    const lab = await Lab.up({ name, nodes: 1, objects });
    const alone = await measure(lab, changes);
    await putManifest(lab, "bench-pods.json", bystanderObjects());
    await lab.until("the agent knows the pods", async () => {
      const { stdout } = await lab.agent("node-1", ["status", "--json"]);
      const { counts } = JSON.parse(stdout) as { readonly counts: { readonly identities: number } };
      return counts.identities >= bystanders / 10;
    });
    const crowded = await measure(lab, changes);
    return [
      ...rowsOf("a rule that opens", crowded.open, alone.open),
      ...rowsOf("a rule that closes", crowded.closed, alone.closed),
    ];
  } finally {
    await Lab.down(name);
  }
}

function rowsOf(what: string, seen: readonly (number | null)[], seenAlone: readonly (number | null)[]): readonly Row[] {
  const [crowded, alone] = [seen, seenAlone].map((each) => each.flatMap((ms) => ms ?? [])) as [number[], number[]];
  const never = seen.length + seenAlone.length - crowded.length - alone.length;
  if (never > 0) console.log(`${what}: ${never} of ${seen.length + seenAlone.length} running flows did not end.`);
  const p50 = median(crowded);
  return [
    {
      what: `${what}, ${bystanders} pods, p50 of ${crowded.length}`,
      figure: `${p50.toFixed(1)} ms (p99 ${percentile(crowded, 0.99).toFixed(1)})`,
      baseline: `${publishedImportMs} ms (published: import to map entry, 1 rule)`,
      ratio: publishedImportMs / p50,
      aim: "< 10 ms",
    },
    {
      what: "  the same without those pods",
      figure: `${p50.toFixed(1)} ms`,
      baseline: `${median(alone).toFixed(1)} ms (p99 ${percentile(alone, 0.99).toFixed(1)}) with 2 pods`,
      ratio: median(alone) / p50,
      aim: "1 (flat)",
    },
  ];
}
