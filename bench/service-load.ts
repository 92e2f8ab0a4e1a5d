/**
 * `scripts/bench service-load`: what 10,000 services with 100,000 backends cost an agent and the kernel, and how long an EndpointSlice takes from its
 * change at the API server to the first datagram at the right backend. The API server is the tests', in a process of its own; the agent is
 * the bundle, on a node of a lab. Beside it: a bare client that watches slices, and is told of the same change.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { loadNative } from "../src/native/index.ts";
import type { StoredObject } from "./kube-cluster.ts";
import { KubeNode, pause } from "./kube-node.ts";
import { inNetns, percentile, printTable, root, type Row, sh } from "./support.ts";

export interface ServiceLoadOptions {
  readonly services: number;
  /** Of one endpoint each. */
  readonly changes: number;
}

const namespace = "bench";
const endpointsEach = 10;
const [servicePort, targetPort] = [80, 8080];
/** Addresses of the client's own namespace, between which the backend of one service moves. */
const places = ["10.250.0.1", "10.250.0.2"] as const;
const moving = "moving";
const movingIp = "10.97.0.1";
/** s after which what a start needed and garbage collection finds is given back. */
const settleSeconds = 15;
/** Objects that are written to the API server at once. */
const batch = 1000;

type Kind = "ClusterIP" | "LoadBalancer";

export async function benchServiceLoad({ services, changes }: ServiceLoadOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  await KubeNode.with(async (node) => {
    const none = await load(node, "ClusterIP", 0);
    const balanced = await load(node, "LoadBalancer", services);
    const many = await load(node, "ClusterIP", services);
    rows.push(...memoryRows("a cluster address each", many, none));
    rows.push(...memoryRows("a load balancer's address each besides, with Maglev tables", balanced, none));
    rows.push(...(await changeRows(node, services, changes)));
  });
  printTable(`${services} services with ${services * endpointsEach} backends, from the API server to the kernel`, rows);
  return rows;
}

interface Load {
  readonly services: number;
  readonly readyMs: number;
  /** MB of the agent. */
  readonly rss: number;
  readonly peak: number;
  /** Bytes that the kernel says of every map of the agent's. */
  readonly maps: ReadonlyMap<string, number>;
}

/** An agent that starts beside such a cluster; it goes on running. */
async function load(node: KubeNode, kind: Kind, services: number): Promise<Load> {
  await node.serve({ pods: 0, policies: 0 });
  const objects = [namespaceObject(), ...Array.from({ length: services }, (_, n) => serviceObjects(kind, n)).flat()];
  objects.push(...movingObjects(places[0]));
  for (let at = 0; at < objects.length; at += batch) await node.server.put(objects.slice(at, at + batch));
  const { readyMs } = await node.startAgent();
  await pause(settleSeconds);
  const served = (await node.lab.agent(node.plan.name, ["service", "list", "--json"])).stdout;
  const inKernel = (JSON.parse(served) as readonly unknown[]).length;
  if (inKernel < services) throw new Error(`the agent serves ${inKernel} addresses, not ${services}`);
  return { services, readyMs, ...(await node.memory("agent")), maps: await mapBytes(node) };
}

/** By /proc/PID/fdinfo of the agent; Linux 6.4 or newer says what entries take, older ones what is reserved. */
async function mapBytes(node: KubeNode): Promise<ReadonlyMap<string, number>> {
  const folder = `/proc/${await node.pid("agent")}/fdinfo`;
  const byId = new Map<number, number>();
  for (const fd of await readdir(folder)) {
    const text = await readFile(join(folder, fd), "utf8").catch(() => "");
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
    if (Number.isFinite(field("map_id"))) byId.set(field("map_id"), field("memlock"));
  }
  const native = loadNative();
  const sizes = new Map<string, number>();
  const pins = join(node.plan.bpffs, "maps");
  for (const name of await readdir(pins)) {
    const map = native.openPinnedMap(join(pins, name));
    sizes.set(name, byId.get(map.id) ?? 0);
    native.closeMap(map.handle);
  }
  return sizes;
}

function memoryRows(what: string, many: Load, none: Load): readonly Row[] {
  const grown = [...many.maps]
    .map(([name, bytes]) => ({ name, bytes, each: (bytes - (none.maps.get(name) ?? 0)) / many.services }))
    .filter(({ each }) => each > 1)
    .sort((a, b) => b.each - a.each);
  const sum = (maps: ReadonlyMap<string, number>) => [...maps.values()].reduce((total, bytes) => total + bytes, 0);
  return [
    {
      what: `${what}: agent start to ready`,
      figure: `${many.readyMs.toFixed(0)} ms`,
      baseline: `${none.readyMs.toFixed(0)} ms (no services)`,
      ratio: none.readyMs / many.readyMs,
      aim: "",
    },
    {
      what: "  resident memory of the agent",
      figure: `${many.rss.toFixed(0)} MB (at most ${many.peak.toFixed(0)})`,
      baseline: `${none.rss.toFixed(0)} MB (at most ${none.peak.toFixed(0)})`,
      ratio: none.rss / many.rss,
      aim: "",
    },
    {
      what: `  for each service with its ${endpointsEach} backends`,
      figure: `${(((many.rss - none.rss) * 1e3) / many.services).toFixed(1)} KB`,
      baseline: "",
      ratio: null,
      aim: "",
    },
    {
      what: "  maps in the kernel, all of them",
      figure: `${(sum(many.maps) / 1e6).toFixed(1)} MB`,
      baseline: `${(sum(none.maps) / 1e6).toFixed(1)} MB`,
      ratio: sum(none.maps) / sum(many.maps),
      aim: "",
    },
    {
      what: `  for each service: ${grown.map(({ name, each }) => `${name} ${each.toFixed(0)}`).join(", ")}`,
      figure: `${((sum(many.maps) - sum(none.maps)) / many.services / 1e3).toFixed(2)} KB`,
      baseline: "",
      ratio: null,
      aim: "",
    },
  ];
}

async function changeRows(node: KubeNode, services: number, changes: number): Promise<readonly Row[]> {
  const { netns, name } = node.plan;
  for (const place of places) await sh(inNetns(netns, ["ip", "addr", "add", `${place}/32`, "dev", "lo"]));
  const tool = (script: string, ...words: readonly string[]) => [
    process.execPath,
    join(root, "bench/tools", script),
    ...words,
  ];
  const words = [movingIp, String(servicePort), String(targetPort), ...places];
  const client = await Lines.of(await node.lab.commandIn(`node/${name}`, tool("moved.js", ...words)));
  const watcher = await Lines.of(inNetns(netns, tool("watch-slices.js", node.server.url)));
  const [right, told]: [number[], number[]] = [[], []];
  try {
    for (let change = 1; change <= changes + warmUp; change++) {
      const place = places[change % 2] ?? "";
      client.say(place);
      await pause(0.02);
      const before = performance.timeOrigin + performance.now();
      await node.server.put(movingObjects(place).slice(1));
      const [at, seen] = await Promise.all([client.next(), watcher.next()]);
      if (seen.split(" ")[1] !== place) throw new Error(`the watch told of ${seen}, not ${place}`);
      if (change <= warmUp) continue;
      right.push(Number(at) - before);
      told.push(Number(seen.split(" ")[0]) - before);
    }
  } finally {
    client.stop();
    watcher.stop();
  }
  const figures = (values: readonly number[]) =>
    `${percentile(values, 0.5).toFixed(1)} ms p50, ${percentile(values, 0.99).toFixed(1)} ms p99`;
  const after = right.map((ms, at) => ms - (told[at] ?? 0));
  return [
    {
      what: `an endpoint moves, to the first datagram there (${changes} times, ${services} services)`,
      figure: figures(right),
      baseline: `${figures(told)} (a bare client is told)`,
      ratio: percentile(told, 0.5) / percentile(right, 0.5),
      aim: "",
    },
    { what: "  after that client was told", figure: figures(after), baseline: "", ratio: null, aim: "< 5 ms" },
  ];
}

/** Changes that are not counted: code that is run for the first time is slow everywhere. */
const warmUp = 20;

class Lines {
  readonly #say: (line: string) => void;
  readonly stop: () => void;
  readonly next: () => Promise<string>;

  private constructor([file = "", ...args]: readonly string[]) {
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    const exited = once(child, "exit").then(([code]) => {
      throw new Error(`${args.join(" ")} ended with ${code}`);
    });
    exited.catch(() => undefined);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.next = async () => {
      const { value, done } = await Promise.race([lines.next(), exited]);
      return done === true ? exited : value;
    };
    this.#say = (line) => child.stdin.write(`${line}\n`);
    this.stop = () => void child.kill("SIGKILL");
  }

  /** Runs when it has printed its first line. */
  static async of(command: readonly string[]): Promise<Lines> {
    const lines = new Lines(command);
    await lines.next();
    return lines;
  }

  say(line: string): void {
    this.#say(line);
  }
}

function namespaceObject(): StoredObject {
  const object = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace }, status: { phase: "Active" } };
  return { storage: "namespaces", key: namespace, object };
}

function serviceObjects(kind: Kind, n: number): readonly StoredObject[] {
  const addresses = Array.from({ length: endpointsEach }, (_, at) => `10.${128 + at}.${n >> 8}.${n & 255}`);
  const balancer = { status: { loadBalancer: { ingress: [{ ip: `198.19.${n >> 8}.${n & 255}` }] } } };
  return objectsOf(`s${n}`, `10.${98 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`, "TCP", addresses, {
    type: kind,
    ...(kind === "LoadBalancer" && { ...balancer, allocateLoadBalancerNodePorts: false }),
  });
}

const movingObjects = (place: string) => objectsOf(moving, movingIp, "UDP", [place], { type: "ClusterIP" });

function objectsOf(
  name: string,
  clusterIP: string,
  protocol: "TCP" | "UDP",
  addresses: readonly string[],
  { status, ...spec }: Readonly<Record<string, unknown>>,
): readonly StoredObject[] {
  const ports = [{ name: "main", protocol, port: servicePort, targetPort }];
  return [
    {
      storage: "services",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "v1",
        kind: "Service",
        metadata: { namespace, name, uid: `service-${name}` },
        spec: { clusterIP, clusterIPs: [clusterIP], ports, selector: { app: name }, ...spec },
        ...(status !== undefined && { status }),
      },
    },
    {
      storage: "endpointslices.discovery.k8s.io",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { namespace, name, labels: { "kubernetes.io/service-name": name } },
        addressType: "IPv4",
        endpoints: addresses.map((address) => ({
          addresses: [address],
          conditions: { ready: true, serving: true, terminating: false },
          nodeName: "node-2",
        })),
        ports: [{ name: "main", protocol, port: targetPort }],
      },
    },
  ];
}
