/**
 * TCP request/response, throughput and connections per second from pod to pod, on one node and across nodes: a lab with
 * policy and conntrack on against plain veth and kernel routing (bench/plain.ts). Both stand at the same time and are
 * measured in turn, A B A B, so that a drifting machine hits both.
 */
import { writeFileSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPlainCluster } from "./plain.ts";
import { background, buildNetload, inNetns, median, printTable, type Row, sh, tandem } from "./support.ts";

const lab = `bench${process.pid}`;
const port = "7000";

/** Where a load starts and what it is sent to. */
interface Way {
  readonly client: readonly string[];
  readonly address: string;
}

function manifests(netload: string): string {
  const pod = (name: string, node: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "bench", labels: { app: name } },
    spec: {
      nodeName: node,
      containers: [
        {
          name: "main",
          image: "netload",
          command: [netload, "server", port],
          ports: [{ containerPort: Number(port) }],
        },
      ],
    },
  });
  return JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } },
      pod("client", "node-1"),
      pod("near", "node-1"),
      pod("far", "node-2"),
      // Policy on both ends and both directions: what is measured is a cluster in which rules hold.
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "bench", namespace: "bench" },
        spec: {
          podSelector: {},
          policyTypes: ["Ingress", "Egress"],
          ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }], ports: [{ port: Number(port) }] }],
          egress: [{ to: [{ podSelector: {} }], ports: [{ port: Number(port) }] }],
        },
      },
    ],
  });
}

async function load(way: Way, mode: string, seconds: number, netload: string): Promise<Record<string, number>> {
  const out = await sh([...way.client, netload, mode, way.address, port, String(seconds)], 60_000);
  return JSON.parse(out.trim().split("\n").at(-1) ?? "{}") as Record<string, number>;
}

export async function benchPaths(options: {
  readonly rounds: number;
  readonly seconds: number;
}): Promise<readonly Row[]> {
  const netload = await buildNetload();
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  const plain = await createPlainCluster();
  const servers: { stop(): void }[] = [];
  try {
    const file = join(folder, "bench.json");
    writeFileSync(file, manifests(netload));
    await sh(tandem("lab", "up", "--name", lab, "--nodes", "2", "-f", file), 180_000);
    const status = JSON.parse(await sh(tandem("lab", "status", "--name", lab, "--json"))) as {
      pods: { namespace: string; name: string; addresses: string[]; netns: string }[];
    };
    const podOf = (name: string) => {
      const pod = status.pods.find((p) => p.name === name);
      if (pod === undefined) throw new Error(`the lab has no pod bench/${name}`);
      return pod;
    };
    const [client, near, far] = plain.pods;
    if (client === undefined || near === undefined || far === undefined)
      throw new Error("the plain cluster lacks a pod");
    for (const pod of plain.pods) servers.push(background(inNetns(pod.netns, [netload, "server", port])));

    const v4 = (addresses: readonly string[]) => addresses.find((a) => a.includes(".")) ?? "";
    const v6 = (addresses: readonly string[]) => addresses.find((a) => a.includes(":")) ?? "";
    const tandemClient = inNetns(podOf("client").netns, []);
    const plainClient = inNetns(client.netns, []);
    const ways: readonly { readonly name: string; readonly aim: string; readonly tandem: Way; readonly plain: Way }[] =
      [
        {
          name: "one node, IPv4",
          aim: ">= 1.10",
          tandem: { client: tandemClient, address: v4(podOf("near").addresses) },
          plain: { client: plainClient, address: near.ipv4 },
        },
        {
          name: "across, IPv4",
          aim: ">= 1.00",
          tandem: { client: tandemClient, address: v4(podOf("far").addresses) },
          plain: { client: plainClient, address: far.ipv4 },
        },
        {
          name: "one node, IPv6",
          aim: ">= 1.10",
          tandem: { client: tandemClient, address: v6(podOf("near").addresses) },
          plain: { client: plainClient, address: near.ipv6 },
        },
        {
          name: "across, IPv6",
          aim: ">= 1.00",
          tandem: { client: tandemClient, address: v6(podOf("far").addresses) },
          plain: { client: plainClient, address: far.ipv6 },
        },
      ];

    const measures = [
      {
        mode: "rr",
        name: "TCP_RR",
        unit: "us p50",
        value: (r: Record<string, number>) => r.p50Us ?? Number.NaN,
        inverse: true,
      },
      {
        mode: "stream",
        name: "TCP stream",
        unit: "Gbit/s",
        value: (r: Record<string, number>) => r.gbps ?? Number.NaN,
        inverse: false,
      },
      {
        mode: "connect",
        name: "connections",
        unit: "/s",
        value: (r: Record<string, number>) => r.rate ?? Number.NaN,
        inverse: false,
      },
    ];
    const rows: Row[] = [];
    for (const way of ways) {
      await load(way.tandem, "rr", 0.3, netload); // first packets learn neighbours
      await load(way.plain, "rr", 0.3, netload);
      for (const measure of measures) {
        const ours: number[] = [];
        const theirs: number[] = [];
        const ratios: number[] = [];
        for (let round = 0; round < options.rounds; round++) {
          const a = measure.value(await load(way.tandem, measure.mode, options.seconds, netload));
          const b = measure.value(await load(way.plain, measure.mode, options.seconds, netload));
          ours.push(a);
          theirs.push(b);
          ratios.push(measure.inverse ? b / a : a / b);
        }
        rows.push({
          what: `${measure.name}, ${way.name}`,
          figure: `${median(ours).toFixed(2)} ${measure.unit}`,
          baseline: `${median(theirs).toFixed(2)} ${measure.unit}`,
          ratio: median(ratios),
          aim: way.aim,
        });
      }
    }
    printTable("Pod to pod, policy and conntrack on, against plain veth and kernel routing", rows);
    return rows;
  } finally {
    for (const server of servers) server.stop();
    await plain.remove();
    await sh(tandem("lab", "down", "--name", lab), 60_000).catch((error: unknown) => console.error(String(error)));
    rmSync(folder, { recursive: true, force: true });
  }
}
