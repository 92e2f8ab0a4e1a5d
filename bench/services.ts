/**
 * connect() from a pod to a service with 1, 1,000 and 10,000 services in the kernel, against connect() to the backend
 * itself, in turn. Flat is the point: the socket hook is one hash lookup, whatever the number of services.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildNetload, median, printTable, type Row, sh, tandem } from "./support.ts";

const port = 7000;

const serverPods = (netload: string) =>
  ["client", "server"].map((name) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "bench", labels: { app: name } },
    spec: {
      nodeName: "node-1",
      containers: [
        {
          name: "main",
          image: "netload",
          command: [netload, "server", String(port)],
          ports: [{ containerPort: port }],
        },
      ],
    },
  }));

/** Service number n of 10.224.0.0/16, and its one backend. */
function service(n: number, backend: string): readonly object[] {
  const name = `s${n}`;
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: "bench" },
      spec: {
        clusterIP: `10.224.${n >> 8}.${n & 255}`,
        clusterIPs: [`10.224.${n >> 8}.${n & 255}`],
        ports: [{ name: "tcp", protocol: "TCP", port, targetPort: port }],
      },
    },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name, namespace: "bench", labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      ports: [{ name: "tcp", protocol: "TCP", port }],
      endpoints: [{ addresses: [backend], conditions: { ready: true } }],
    },
  ];
}

interface ServiceRow {
  readonly frontend: string;
  readonly backends: readonly string[];
}

const list = (items: readonly object[]) => JSON.stringify({ apiVersion: "v1", kind: "List", items });

export async function benchServices(options: {
  readonly rounds: number;
  readonly seconds: number;
}): Promise<readonly Row[]> {
  const lab = `benchsvc${process.pid}`;
  const netload = await buildNetload();
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  const rows: Row[] = [];
  try {
    const base = join(folder, "base.json");
    writeFileSync(
      base,
      list([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } }, ...serverPods(netload)]),
    );
    await sh(tandem("lab", "up", "--name", lab, "--nodes", "1", "-f", base), 180_000);
    const status = JSON.parse(await sh(tandem("lab", "status", "--name", lab, "--json"))) as {
      pods: { name: string; addresses: string[] }[];
    };
    const backend = status.pods.find((p) => p.name === "server")?.addresses.find((a) => a.includes(".")) ?? "";
    const connect = async (address: string): Promise<{ p50Us: number }> =>
      JSON.parse(
        await sh(
          tandem(
            "lab",
            "exec",
            "--name",
            lab,
            "bench/client",
            "--",
            netload,
            "connect",
            address,
            String(port),
            String(options.seconds),
          ),
        ),
      );

    for (const count of [1, 1000, 10_000]) {
      const file = join(folder, `services-${count}.json`);
      writeFileSync(file, list(Array.from({ length: count }, (_, i) => service(i + 1, backend)).flat()));
      const before = performance.now();
      await sh(tandem("lab", "apply", "--name", lab, "-f", file), 300_000);
      // From the kernel's maps: services and their backends come from two files, and only with both there is something to measure.
      for (;;) {
        const rows = JSON.parse(
          await sh(tandem("lab", "agent", "--name", lab, "node-1", "--", "bpf", "services", "list", "--json")),
        ) as readonly ServiceRow[];
        const served = rows.filter(({ backends }) => backends.length > 0).length;
        if (served >= count) break;
        if (performance.now() - before > 120_000)
          throw new Error(`the kernel has ${served} of ${count} services with a backend after 120 s`);
        await new Promise((done) => setTimeout(done, 200));
      }
      const vip = `10.224.${count >> 8}.${count & 255}`;
      const through: number[] = [];
      const direct: number[] = [];
      const ratios: number[] = [];
      for (let round = 0; round < options.rounds; round++) {
        const a = (await connect(vip)).p50Us;
        const b = (await connect(backend)).p50Us;
        through.push(a);
        direct.push(b);
        ratios.push(b / a);
      }
      rows.push({
        what: `connect() to the last of ${count} services`,
        figure: `${median(through).toFixed(1)} us p50`,
        baseline: `${median(direct).toFixed(1)} us direct`,
        ratio: median(ratios),
        aim: ">= 0.95",
      });
    }
    printTable("connect() to a service against connect() to its backend", rows);
    return rows;
  } finally {
    await sh(tandem("lab", "down", "--name", lab), 60_000).catch((error: unknown) => console.error(String(error)));
    rmSync(folder, { recursive: true, force: true });
  }
}
