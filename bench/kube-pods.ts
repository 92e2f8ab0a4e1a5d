/**
 * Pods that come to the node of `kube-node.ts`, with the whole cluster around it: how many a second it can start, from CNI ADD to the first answer
 * to a ping; and how long one takes from its creation at the API server until a connection to its service is answered. The bench stands for
 * scheduler, kubelet and the controller of slices, which write at once. Beside it: the same done by `ip -batch`, without an agent, a policy or
 * a service.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cniBinary } from "../src/lab/runtime.ts";
import { addPod, type CniNode } from "./cni.ts";
import { serviceIp, servicePort, type StoredObject, targetPort } from "./kube-cluster.ts";
import type { KubeNode } from "./kube-node.ts";
import { inNetns, median, percentile, root, type Row, sh } from "./support.ts";

const namespace = "team-0";
/** Pods that a kubelet starts at the same time. */
const atOnce = 8;
/** Services of the bench come after those of the cluster. */
const firstService = 20_000;

/** A pod to be: its network namespace is there, as a runtime makes it before it calls the plugin. */
interface Sandbox {
  readonly name: string;
  readonly netns: string;
}

export async function podStarts(node: KubeNode, starts: number, changes: number): Promise<readonly Row[]> {
  const bench = new PodBench(node);
  try {
    const [one, onePlain] = [await bench.rate("a", starts, 1, false), await bench.rate("b", starts, 1, true)];
    const [many, manyPlain] = [
      await bench.rate("c", starts, atOnce, false),
      await bench.rate("d", starts, atOnce, true),
    ];
    const [served, direct]: [number[], number[]] = [[], []];
    for (let i = 0; i < changes; i++) {
      served.push(await bench.reachable(`e${i}`, i, false));
      direct.push(await bench.reachable(`f${i}`, i, true));
    }
    const rate = (what: string, ours: number, plain: number): Row => ({
      what,
      figure: `${ours.toFixed(1)} /s`,
      baseline: `${plain.toFixed(1)} /s by ip`,
      ratio: ours / plain,
      aim: "",
    });
    return [
      rate("pods started, CNI ADD to first reply, one by one", one, onePlain),
      rate(`  ${atOnce} at once`, many, manyPlain),
      {
        what: `pod created to answered through its service, p50 of ${changes}`,
        figure: `${median(served).toFixed(0)} ms (p99 ${percentile(served, 0.99).toFixed(0)})`,
        baseline: `${median(direct).toFixed(0)} ms (wired by ip, at its own address)`,
        ratio: median(direct) / median(served),
        aim: "",
      },
    ];
  } finally {
    await bench.end();
  }
}

class PodBench {
  readonly #node: KubeNode;
  readonly #cni: CniNode;
  readonly #namespaces: string[] = [];
  #wired = 0;

  constructor(node: KubeNode) {
    this.#node = node;
    const { netns, socket, stateDir } = node.plan;
    const config = JSON.stringify({ cniVersion: "1.1.0", name: "tandem", type: "tandem-cni", socket, stateDir });
    this.#cni = { netns, binary: cniBinary(), config };
  }

  async end(): Promise<void> {
    for (const netns of this.#namespaces) await sh(["ip", "netns", "delete", netns]);
  }

  /** @returns pods a second */
  async rate(group: string, count: number, together: number, plain: boolean): Promise<number> {
    const pods: Sandbox[] = [];
    for (let i = 0; i < count; i++) pods.push(await this.#sandbox(`${group}${i}`));
    await this.#node.server.put(pods.map((pod) => this.#podObject(pod, null)));
    const waiting = [...pods];
    const before = performance.now();
    await Promise.all(
      Array.from({ length: together }, async () => {
        for (let pod = waiting.shift(); pod !== undefined; pod = waiting.shift()) {
          const address = await this.#wire(pod, plain);
          await sh(inNetns(this.#cni.netns, ["ping", "-n", "-q", "-c", "1", "-w", "30", "-i", "0.005", address]));
        }
      }),
    );
    return (count / (performance.now() - before)) * 1_000;
  }

  /** @returns ms from the pod's creation until it answers: through its service, or, `plain`, at its address */
  async reachable(name: string, service: number, plain: boolean): Promise<number> {
    const pod = await this.#sandbox(name);
    const ip = serviceIp(firstService + service);
    if (!plain) await this.#node.server.put([this.#serviceObject(name, ip)]);
    const greeter = await started(inNetns(pod.netns, tool("greet.js", String(targetPort))));
    const expected = plain ? plainAddress(this.#wired) : ip;
    const port = plain ? targetPort : servicePort;
    const command = await this.#node.lab.commandIn(
      `node/${this.#node.plan.name}`,
      tool("first-connect.js", expected, String(port)),
    );
    const client = await started(command);
    try {
      const answered = client.line();
      const before = performance.timeOrigin + performance.now();
      await this.#node.server.put([this.#podObject(pod, null)]);
      const address = await this.#wire(pod, plain);
      await this.#node.server.put([this.#podObject(pod, address), ...(plain ? [] : [this.#slice(name, address)])]);
      return Number(await answered) - before;
    } finally {
      await client.stop();
      await greeter.stop();
    }
  }

  async #sandbox(name: string): Promise<Sandbox> {
    const netns = `tandem-${this.#node.lab.name}-x${name}`;
    await sh(["ip", "netns", "add", netns]);
    this.#namespaces.push(netns);
    return { name, netns };
  }

  /** @returns its IPv4 address */
  async #wire(pod: Sandbox, plain: boolean): Promise<string> {
    if (plain) return this.#byHand(pod);
    const containerId = `bench${process.pid}${pod.name}`;
    const { addresses } = await addPod(this.#cni, { ...pod, containerId, namespace });
    const ipv4 = addresses.find((address) => !address.includes(":"));
    if (ipv4 === undefined) throw new Error(`CNI ADD of ${pod.name} gave no IPv4 address`);
    return ipv4;
  }

  async #byHand({ netns }: Sandbox): Promise<string> {
    const n = this.#wired++;
    const address = plainAddress(n);
    const device = `plain${n}`;
    const [mac, podMac] = ["00", "01"].map((end) => `02:00:00:${end}:${hex(n >> 8)}:${hex(n & 255)}`);
    const [outside, inside] = [`${device}-outside`, `${device}-inside`].map((name) =>
      join(this.#node.plan.folder, `bench-${name}`),
    ) as [string, string];
    await writeFile(
      outside,
      [
        `link add ${device} address ${mac} type veth peer name eth0 address ${podMac} netns ${netns}`,
        `link set ${device} up`,
        // Known, as the agent makes it: a question that comes before the pod listens would be asked again after a second.
        `neigh replace ${address} lladdr ${podMac} dev ${device} nud permanent`,
        `route add ${address}/32 dev ${device}`,
        "",
      ].join("\n"),
    );
    await writeFile(
      inside,
      [
        "link set lo up",
        "link set eth0 up",
        `addr add ${address}/32 dev eth0`,
        "route add 169.254.1.1 dev eth0",
        `neigh replace 169.254.1.1 lladdr ${mac} dev eth0 nud permanent`,
        "route add default via 169.254.1.1 dev eth0",
        "",
      ].join("\n"),
    );
    await sh(inNetns(this.#cni.netns, ["ip", "-batch", outside]));
    await sh(inNetns(netns, ["ip", "-batch", inside]));
    return address;
  }

  /** @param address null: of a pod that is scheduled, and no more */
  #podObject({ name }: Sandbox, address: string | null): StoredObject {
    const ready = [{ type: "Ready", status: "True" }];
    return {
      storage: "pods",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { namespace, name, uid: `bench-${name}`, labels: { app: "bench", pod: name } },
        spec: { nodeName: this.#node.plan.name, containers: [{ name: "main", image: "none" }] },
        status:
          address === null
            ? { phase: "Pending" }
            : { phase: "Running", conditions: ready, podIP: address, podIPs: [{ ip: address }] },
      },
    };
  }

  #serviceObject(name: string, clusterIP: string): StoredObject {
    const ports = [{ name: "http", protocol: "TCP", port: servicePort, targetPort }];
    const metadata = { namespace, name, uid: `bench-service-${name}` };
    const spec = { type: "ClusterIP", clusterIP, clusterIPs: [clusterIP], ports, selector: { pod: name } };
    return {
      storage: "services",
      key: `${namespace}/${name}`,
      object: { apiVersion: "v1", kind: "Service", metadata, spec },
    };
  }

  #slice(name: string, address: string): StoredObject {
    return {
      storage: "endpointslices.discovery.k8s.io",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { namespace, name, labels: { "kubernetes.io/service-name": name } },
        addressType: "IPv4",
        endpoints: [{ addresses: [address], conditions: { ready: true }, nodeName: this.#node.plan.name }],
        ports: [{ name: "http", protocol: "TCP", port: targetPort }],
      },
    };
  }
}

const plainAddress = (n: number): string => `10.254.${n >> 8}.${n & 255}`;
const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
const tool = (name: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  join(root, "bench/tools", name),
  ...args,
];

interface Started {
  /** The next one that it prints. */
  line(): Promise<string>;
  stop(): Promise<void>;
}

/** Runs when it has printed its first line. */
async function started([file = "", ...args]: readonly string[]): Promise<Started> {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const line = async () => {
    const first = await Promise.race([once(child.stdout, "data"), exited.then(() => null)]);
    if (first === null) throw new Error(`${args.join(" ")} ended without a word`);
    return String(first[0]).trim();
  };
  await line();
  return {
    line,
    stop: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
