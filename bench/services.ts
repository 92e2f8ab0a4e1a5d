/**
 * connect() from a pod to a service with 1, 1,000 and 10,000 services in the kernel, against connect() to the backend
 * itself, and against what kube-proxy's rules add, in turn. Flat is the point: the socket hook is one hash lookup, whatever the number of
 * services.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPlainCluster } from "./plain.ts";
import { createRuleProxy, type RuleProxy, serviceAddress } from "./proxy-rules.ts";
import { background, buildNetload, inNetns, median, printTable, type Row, sh, tandem } from "./support.ts";

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

/** Service number n, and its one backend. */
function service(n: number, backend: string): readonly object[] {
  const name = `s${n}`;
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: "bench" },
      spec: {
        clusterIP: serviceAddress(n),
        clusterIPs: [serviceAddress(n)],
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

const counts = [1, 1000, 10_000];

export interface ServicesOptions {
  readonly rounds: number;
  readonly seconds: number;
  /** Beyond so many services kube-proxy's rules are left out: nft takes a minute to load 10,000. */
  readonly mostRules: number;
}

export async function benchServices(options: ServicesOptions): Promise<readonly Row[]> {
  const netload = await buildNetload();
  const stops: (() => void | Promise<void>)[] = [];
  try {
    const lab = await startLab(netload, stops);
    const serve = (netns: string) => {
      const server = background(inNetns(netns, [netload, "server", String(port)]));
      stops.push(() => server.stop());
    };
    // A connection to the backend itself goes through all rules too: what they add is against a node that has none.
    const bare = await createPlainCluster("bare");
    stops.push(() => bare.remove());
    const [client, target] = bare.pods;
    if (client === undefined || target === undefined) throw new Error("the plain cluster has no two pods on a node");
    serve(target.netns);
    const proxies: RuleProxy[] = [];
    for (const mode of ["iptables", "nftables"] as const) {
      const proxy = await createRuleProxy(mode);
      if (proxy === null) continue;
      stops.push(() => proxy.remove());
      serve(proxy.server);
      proxies.push(proxy);
    }
    const rows: Row[] = [];
    for (const count of counts) {
      await lab.load(count);
      const loaded = count > options.mostRules ? [] : proxies;
      for (const proxy of loaded) await proxy.load(count, port);
      const connect = async (netns: string, address: string) =>
        p50(await sh(inNetns(netns, [netload, "connect", address, String(port), String(options.seconds)])));
      const vip = serviceAddress(count);
      const ways: readonly Way[] = [
        {
          name: "tandem",
          through: () => lab.connect(vip, options.seconds),
          direct: () => lab.connect(lab.backend, options.seconds),
        },
        ...loaded.map(({ mode, client: from }) => ({
          name: mode,
          through: () => connect(from, vip),
          direct: () => connect(client.netns, target.ipv4),
        })),
      ];
      rows.push(...(await compare(ways, count, options.rounds)));
    }
    printTable("connect() to a service against connect() to its backend, and against kube-proxy's rules", rows);
    return rows;
  } finally {
    for (const stop of stops.reverse())
      await Promise.resolve(stop()).catch((error: unknown) => console.error(String(error)));
  }
}

interface Lab {
  readonly backend: string;
  load(count: number): Promise<void>;
  /** Microseconds, p50. */
  connect(address: string, seconds: number): Promise<number>;
}

/** One node with a client and a server. */
async function startLab(netload: string, stops: (() => void | Promise<void>)[]): Promise<Lab> {
  const name = `benchsvc${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  stops.push(async () => {
    rmSync(folder, { recursive: true, force: true });
    await sh(tandem("lab", "down", "--name", name), 60_000);
  });
  const base = join(folder, "base.json");
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } };
  writeFileSync(base, list([namespace, ...serverPods(netload)]));
  await sh(tandem("lab", "up", "--name", name, "--nodes", "1", "-f", base), 180_000);
  const status = JSON.parse(await sh(tandem("lab", "status", "--name", name, "--json"))) as {
    readonly pods: readonly { readonly name: string; readonly addresses: readonly string[] }[];
  };
  const backend = status.pods.find((p) => p.name === "server")?.addresses.find((a) => a.includes(".")) ?? "";
  return {
    backend,
    async load(count) {
      const file = join(folder, `services-${count}.json`);
      writeFileSync(file, list(Array.from({ length: count }, (_, i) => service(i + 1, backend)).flat()));
      const before = performance.now();
      await sh(tandem("lab", "apply", "--name", name, "-f", file), 300_000);
      // From the kernel's maps: services and their backends come from two files, and only with both there is something to measure.
      for (;;) {
        const rows = JSON.parse(
          await sh(tandem("lab", "agent", "--name", name, "node-1", "--", "bpf", "services", "list", "--json")),
        ) as readonly ServiceRow[];
        const served = rows.filter(({ backends }) => backends.length > 0).length;
        if (served >= count) break;
        if (performance.now() - before > 120_000)
          throw new Error(`the kernel has ${served} of ${count} services with a backend after 120 s`);
        await new Promise((done) => setTimeout(done, 200));
      }
    },
    async connect(address, seconds) {
      const command = [netload, "connect", address, String(port), String(seconds)];
      return p50(await sh(tandem("lab", "exec", "--name", name, "bench/client", "--", ...command)));
    },
  };
}

const p50 = (text: string): number => (JSON.parse(text) as { readonly p50Us: number }).p50Us;

/** How to reach a backend: through the last service, and by its own address. Microseconds, p50. */
interface Way {
  readonly name: string;
  readonly through: () => Promise<number>;
  readonly direct: () => Promise<number>;
}

async function compare(ways: readonly Way[], count: number, rounds: number): Promise<readonly Row[]> {
  const measured = new Map(ways.map(({ name }) => [name, [] as { through: number; direct: number }[]]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, through, direct } of ways) {
      measured.get(name)?.push({ through: await through(), direct: await direct() });
    }
  }
  const of = (name: string) => measured.get(name) ?? [];
  const added = (name: string) => median(of(name).map(({ through, direct }) => through - direct));
  const us = (value: number) => `${value.toFixed(1)} us`;
  const ours = of("tandem");
  return [
    {
      what: `connect() to the last of ${count} services`,
      figure: `${us(median(ours.map(({ through }) => through)))} p50`,
      baseline: `${us(median(ours.map(({ direct }) => direct)))} direct`,
      ratio: median(ours.map(({ through, direct }) => direct / through)),
      aim: ">= 0.95",
    },
    ...ways.slice(1).map(({ name }) => ({
      what: `what it adds, against kube-proxy's mode ${name}`,
      figure: us(added("tandem")),
      baseline: us(added(name)),
      // Less than the clock's own spread is that.
      ratio: added(name) / Math.max(added("tandem"), 1),
      aim: count === 10_000 ? ">= 5" : "-",
    })),
  ];
}
