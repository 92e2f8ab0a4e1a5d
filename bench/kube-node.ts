/** A node of a lab whose agent (and an operator) follow an API server of the benchmark: all in the node's namespace, with what /proc says of them. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StatusDto } from "../src/api/dto.ts";
import { systemClock } from "../src/lib/clock.ts";
import * as agents from "../src/lab/agents.ts";
import { Lab } from "../src/lab/lab.ts";
import type { NodePlan } from "../src/lab/plan.ts";
import { runningProcess, startDaemon, stopDaemon } from "../src/lab/processes.ts";
import { type KubeClusterSize, remoteNodes, type StoredObject } from "./kube-cluster.ts";
import type { ServerAnswer, ServerAsk, ServerSettings } from "./kube-server.ts";
import { ipBatch } from "../src/lab/run.ts";
import { systemCgroup } from "../src/lab/topology.ts";
import { kubeRouterProtocol } from "../src/lib/kube-router.ts";
import { inNetns, root } from "./support.ts";

/** Of /proc/PID/stat: Linux has had no other for user space since 2.6. */
const ticksPerSecond = 100;

/** The agent, or the operator. */
export type Watched = "agent" | "operator";

export class KubeNode {
  readonly lab: Lab;
  readonly plan: NodePlan;
  #server: BenchServer | null = null;

  private constructor(lab: Lab, plan: NodePlan) {
    this.lab = lab;
    this.plan = plan;
  }

  /** A lab without agents, for `work`; taken down after it. */
  static async with(work: (node: KubeNode) => Promise<void>): Promise<void> {
    const name = `benchkube${process.pid}`;
    let node: KubeNode | null = null;
    try {
      const lab = await Lab.up({ name, nodes: 1, agents: false });
      node = new KubeNode(lab, lab.node("node-1"));
      await work(node);
    } finally {
      await node?.stopServer();
      await Lab.down(name);
    }
  }

  get server(): BenchServer {
    if (this.#server === null) throw new Error("the node has no API server");
    return this.#server;
  }

  /** An API server with such a cluster takes the place of the one before; the agent is ended first and has no memory of it. */
  async serve(size: KubeClusterSize): Promise<void> {
    await this.stopAgent();
    await this.stopServer();
    await rm(this.plan.stateDir, { recursive: true, force: true });
    const { name, netns, ipv4, ipv6, podCidr4, podCidr6 } = this.plan;
    const self = { name, addresses: [ipv4, ipv6], podCidrs: [podCidr4, podCidr6] };
    this.#server = await BenchServer.start(netns, { size, self });
    const { ipv4: via4, ipv6: via6 } = this.lab.plan.tor;
    const routes = remoteNodes(size.pods).flatMap(({ podCidrs }) =>
      podCidrs.map(
        (cidr) => `route replace ${cidr} via ${cidr.includes(":") ? via6 : via4} proto ${kubeRouterProtocol}`,
      ),
    );
    await ipBatch(netns, routes);
  }

  /** Resolves when it is ready. @returns ms from its start until everything was seen once, and until it was ready */
  async startAgent(): Promise<{ readonly syncedMs: number; readonly readyMs: number }> {
    const kubeconfig = await this.#kubeconfig();
    await rm(agents.agentLog(this.plan), { force: true });
    const began = Date.now();
    // Identities as the DaemonSet has them. The other nodes are objects and routes: nobody answers there, or tells of them by BGP.
    const alone = { gobgp: null, healthProbe: false, networkTimeout: 0 };
    await agents.startAgent(this.lab.plan, this.plan, { source: "kube", identities: "cluster", kubeconfig, ...alone });
    await agents.waitForAgent(this.plan);
    const log = await readFile(agents.agentLog(this.plan), "utf8");
    const lines = log.split("\n").filter((line) => line.startsWith("{"));
    const seen = lines
      .map((line) => JSON.parse(line) as { readonly msg: string; readonly time: string })
      .filter(({ msg }) => msg === "seen everything once")
      .map(({ time }) => Date.parse(time) - began);
    const { readyMs } = await this.status();
    return { syncedMs: Math.max(...seen), readyMs: readyMs ?? Number.NaN };
  }

  /** Resolves when it leads. */
  async startOperator(): Promise<void> {
    const kubeconfig = await this.#kubeconfig();
    const health = join(this.plan.folder, "bench-operator.sock");
    const flags = [`--kubeconfig=${kubeconfig}`, "--lease-namespace=kube-system", `--health-address=${health}`];
    const log = join(this.plan.folder, "bench-operator.log");
    const command = [process.execPath, join(root, "bin/tandem-operator.js"), ...flags];
    await startDaemon({
      netns: this.plan.netns,
      cgroup: systemCgroup(this.plan),
      command,
      log,
      pidFile: this.#operatorPid,
    });
    while (!(await readFile(log, "utf8")).includes('"msg":"leading"')) await pause(0.1);
  }

  async stopOperator(): Promise<void> {
    await stopDaemon(this.#operatorPid);
  }

  async stopAgent(): Promise<void> {
    await agents.stopAgent(this.plan, "SIGTERM");
  }

  async stopServer(): Promise<void> {
    await this.#server?.stop();
    this.#server = null;
  }

  status(): Promise<StatusDto> {
    return this.lab.agentStatus(this.plan.name) as Promise<StatusDto>;
  }

  /** MB: resident now, and at most so far. */
  async memory(who: Watched): Promise<{ readonly rss: number; readonly peak: number }> {
    const status = readFileSync(`/proc/${await this.pid(who)}/status`, "utf8");
    const megabytes = (field: string) =>
      (Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024) / 1e6;
    return { rss: megabytes("VmRSS"), peak: megabytes("VmHWM") };
  }

  /** s of CPU since its start, of all its threads. */
  async cpuSeconds(who: Watched): Promise<number> {
    const stat = readFileSync(`/proc/${await this.pid(who)}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }

  get #operatorPid(): string {
    return join(this.plan.folder, "bench-operator.pid");
  }

  async pid(who: Watched): Promise<number> {
    const pid = who === "agent" ? await agents.agentProcess(this.plan) : (await runningProcess(this.#operatorPid))?.pid;
    if (pid === null || pid === undefined) throw new Error(`the ${who} does not run`);
    return pid;
  }

  async #kubeconfig(): Promise<string> {
    const file = join(this.plan.folder, "bench-kubeconfig");
    await writeFile(file, JSON.stringify(kubeconfigOf(this.server.url)));
    return file;
  }
}

export class BenchServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: ServerAnswer) => void>();
  #asked = 0;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
    child.on("message", (message) => {
      const answer = message as ServerAnswer;
      if (answer.id === null) return;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  static async start(netns: string, settings: ServerSettings): Promise<BenchServer> {
    const script = join(root, "bench/kube-server.ts");
    const [file = "", ...args] = inNetns(netns, [process.execPath, "--import=tsx", script, JSON.stringify(settings)]);
    const child = spawn(file, args, { cwd: root, stdio: ["ignore", "inherit", "inherit", "ipc"] });
    const { url } = await new Promise<ServerAnswer>((resolve, reject) => {
      child.once("message", (message) => resolve(message as ServerAnswer));
      child.once("exit", (code) => reject(new Error(`the API server of the benchmark ended with ${code}`)));
      child.once("error", reject);
    });
    return new BenchServer(child, url);
  }

  /** Requests since the last call, by "verb kind". */
  async counts(): Promise<ReadonlyMap<string, number>> {
    const { counts } = await this.#ask((id) => ({ id, ask: "counts" }));
    return new Map(Object.entries(counts));
  }

  /** As a controller or a kubelet writes them. */
  async put(objects: readonly StoredObject[]): Promise<void> {
    await this.#ask((id) => ({ id, ask: "put", objects }));
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    this.#child.kill("SIGKILL");
    await ended;
  }

  #ask(make: (id: number) => ServerAsk): Promise<ServerAnswer> {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#child.send(make(id), (error) => (error === null ? undefined : reject(error)));
    });
  }
}

function kubeconfigOf(server: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "bench", cluster: { server } }],
    users: [{ name: "bench", user: {} }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench", namespace: "kube-system" } }],
    "current-context": "bench",
  };
}

export const pause = (seconds: number): Promise<void> => systemClock.sleep(seconds * 1_000);
