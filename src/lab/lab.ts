/** A lab as its users see it: `tandem lab` and the end-to-end tests are thin layers over this. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import * as agents from "./agents.ts";
import * as bgp from "./bgp.ts";
import { findCgroupRoot, makeCgroup } from "./cgroups.ts";
import { Cluster } from "./cluster.ts";
import type { LabCluster } from "./cluster-api.ts";
import { LabError } from "./errors.ts";
import {
  kubeletPidFile,
  leaveApiServer,
  runScript,
  startApiServer,
  startKubelet,
  stopScript,
} from "./kube/api-server.ts";
import { checkKubeRouter } from "./kube-router.ts";
import { KubeCluster } from "./kube/kube-cluster.ts";
import { registerNodes } from "./kube/nodes-only.ts";
import type { ApiServerSource } from "./kube/source.ts";
import { LabRuntime } from "./kubelet/lab-runtime.ts";
import { checkOverlay, type OverlayType } from "./overlay.ts";
import { checkObject, type KubeObject, type Pod, readManifests } from "./objects.ts";
import {
  checkLabName,
  type LabPlan,
  type LabSite,
  maxNodes,
  type NodePlan,
  planLab,
  type RouterDaemon,
  type Topology,
} from "./plan.ts";
import { podKey, podPlace, type PodPlace } from "./pods.ts";
import { claimLab, readStoredLab, type StoredLab, withLock } from "./records.ts";
import { stopDaemon } from "./processes.ts";
import * as proxies from "./proxies.ts";
import { startRouters } from "./routers.ts";
import { inside, run, type RunOptions, type RunResult } from "./run.ts";
import { program } from "./runtime.ts";
import { type LabStatus, labStatus } from "./status.ts";
import { destroyLab } from "./teardown.ts";
import { buildTopology, systemCgroup } from "./topology.ts";

export interface LabOptions {
  /** 1-24 of a-z0-9. */
  readonly name: string;
  /** 1-100, default 3. */
  readonly nodes?: number;
  /** Names and addresses to have instead of the lab's own; decides the number of nodes. */
  readonly site?: LabSite;
  /** External hosts behind the top of rack, default one: "client". */
  readonly externals?: readonly string[];
  /** Files or folders to apply when the nodes are ready. */
  readonly manifests?: readonly string[];
  /** Objects to apply with them. */
  readonly objects?: readonly unknown[];
  /** False: nodes and BGP only. */
  readonly agents?: boolean;
  /** A proxy on each node, too; left out: none, and ports with L7 rules are closed. */
  readonly proxies?: boolean;
  /** Further keys of every agent's configuration. */
  readonly agent?: Readonly<Record<string, unknown>>;
  /** kube-router's --bgp-graceful-restart; left out: as in its manifest where there is one (`kubeRouter`), else without. */
  readonly gracefulRestart?: boolean;
  /** s, its --bgp-graceful-restart-time; left out: 90. */
  readonly restartSeconds?: number;
  /** Who peers with whom, default "fabric". */
  readonly topology?: Topology;
  /** What speaks BGP in the routers, default "bird". */
  readonly tor?: RouterDaemon;
  /** kube-router's --overlay-type; left out: no tunnels. `full` needs the topology mesh. */
  readonly overlay?: OverlayType;
  /** Path of a kube-router to run on each node instead of what plays it; needs `api` or `nodesApi`. */
  readonly kubeRouter?: string;
  /** Where objects are kept; left out: in files, and the lab itself stands in for controllers and kubelets. */
  readonly api?: ApiServerSource;
  /** An API server for the Nodes alone, which kube-router reads; all else is in files. */
  readonly nodesApi?: ApiServerSource;
  /** Told what happens, a line per step. */
  readonly progress?: (text: string) => void;
}

export class Lab {
  readonly plan: LabPlan;
  readonly #stored: StoredLab;

  private constructor(stored: StoredLab, plan: LabPlan) {
    this.#stored = stored;
    this.plan = plan;
  }

  /** Brings a lab up: returns when agents are ready, pods run and every node has every route. What failed is left to be looked at. */
  static async up(options: LabOptions): Promise<Lab> {
    if (process.getuid?.() !== 0) throw new LabError("LAB_ROOT", "tandem lab", "needs root", "sudo tandem lab up");
    const nodes = options.site?.nodes.length ?? options.nodes ?? 3;
    if (!Number.isInteger(nodes) || nodes < 1 || nodes > maxNodes) {
      throw new LabError("LAB_NODES", `--nodes ${nodes}`, `not a number of nodes (1-${maxNodes})`, "");
    }
    const server = options.api ?? options.nodesApi;
    if (server !== undefined && options.site !== undefined)
      throw new LabError(
        "LAB_API",
        `lab ${options.name}`,
        "a lab of given addresses has no API server",
        "leave one out",
      );
    const { kubeRouter, topology = "fabric", overlay } = options;
    const router =
      kubeRouter === undefined ? null : await checkKubeRouter(kubeRouter, { topology, api: server !== undefined });
    if (overlay !== undefined) await checkOverlay(overlay, topology);
    const objects = [...(await readManifests(options.manifests ?? [])), ...checkObjects(options.objects ?? [])];
    const stored = await claimLab({
      name: checkLabName(options.name),
      nodes,
      externals: options.externals ?? ["client"],
      // The manifest's kube-router has it.
      gracefulRestart: options.gracefulRestart ?? router !== null,
      ...(options.restartSeconds !== undefined && { restartSeconds: options.restartSeconds }),
      agent: options.agent ?? {},
      topology,
      ...(options.tor !== undefined && { tor: options.tor }),
      ...(overlay !== undefined && { overlay }),
      ...(router !== null && { kubeRouter: router }),
      ...(options.site && { site: options.site }),
      ...(options.api && { api: options.api }),
      ...(options.api === undefined && options.nodesApi && { nodesApi: options.nodesApi }),
    });
    const lab = new Lab(stored, planLab(stored, await findCgroupRoot()));
    await withLock(`lab-${stored.name}`, () => lab.#build(objects, options));
    return lab;
  }

  /** @throws LabError LAB_UNKNOWN when no lab of that name is up */
  static async open(name: string): Promise<Lab> {
    const stored = await readStoredLab(checkLabName(name));
    if (stored === null) throw new LabError("LAB_UNKNOWN", `lab ${name}`, "is not up", `tandem lab up --name ${name}`);
    return new Lab(stored, planLab(stored, await findCgroupRoot()));
  }

  /** Removes everything of the lab, whatever is left of it. Idempotent. */
  static down(name: string, progress: (text: string) => void = () => {}): Promise<void> {
    return withLock(`lab-${checkLabName(name)}`, async () => {
      const stored = await readStoredLab(name);
      // One that the lab started goes with it.
      if (stored !== null && (stored.api ?? stored.nodesApi)?.kind === "running") {
        await leaveApiServer(planLab(stored, await findCgroupRoot())).catch((error: unknown) =>
          progress(`nodes stay in the API server: ${messageOf(error)}`),
        );
      }
      await destroyLab(name);
    });
  }

  get name(): string {
    return this.plan.name;
  }

  async #build(objects: readonly KubeObject[], options: LabOptions): Promise<void> {
    const progress = options.progress ?? (() => {});
    const { plan } = this;
    const routers = plan.routers.map(({ netns }) => netns).join(" and ");
    progress(`${plan.nodes.length} nodes, fabric ${plan.fabric.netns}, top of rack ${routers} (${plan.routerDaemon})`);
    const { api, nodesApi } = this.#stored;
    const server = api ?? nodesApi;
    await buildTopology(plan, { api: server !== undefined });
    if (server !== undefined) {
      progress("waiting for the API server");
      await startApiServer(plan, server);
    }
    if (api !== undefined) {
      for (const node of plan.nodes) await startKubelet(plan, node);
      if (this.#stored.kubeRouter !== undefined) await KubeCluster.whenRegistered(plan);
    } else {
      await mkdir(plan.manifests, { recursive: true });
      await (await Cluster.open(plan)).putNodes();
      if (nodesApi !== undefined) await registerNodes(plan);
    }
    await startRouters(plan, this.#stored);
    for (const node of plan.nodes) await bgp.startNodeBgp(plan, node, this.#stored);
    if (options.agents !== false) {
      for (const node of plan.nodes) await agents.startAgent(plan, node, this.#agentConfig);
      progress("waiting for the agents");
      for (const node of plan.nodes) await agents.waitForAgent(node);
      if (options.proxies === true) {
        for (const node of plan.nodes) await proxies.startProxy(node);
        progress("waiting for the proxies");
        for (const node of plan.nodes) await proxies.waitForProxy(node);
      }
      if (api !== undefined) await KubeCluster.whenReady(plan);
    }
    if (objects.length > 0) {
      progress(`applying ${objects.length} objects`);
      await this.#withCluster((cluster) => cluster.apply(objects));
    }
    progress("waiting for BGP");
    await this.waitForRoutes();
  }

  async apply(manifests: readonly string[]): Promise<void> {
    await this.applyObjects(await readManifests(manifests));
  }

  /** @throws LabError LAB_MANIFEST before anything is applied */
  async applyObjects(objects: readonly unknown[]): Promise<void> {
    const checked = checkObjects(objects);
    await this.#changing((cluster) => cluster.apply(checked));
  }

  async delete(manifests: readonly string[]): Promise<void> {
    await this.deleteObjects(await readManifests(manifests));
  }

  async deleteObjects(objects: readonly unknown[]): Promise<void> {
    const checked = checkObjects(objects);
    await this.#changing((cluster) => cluster.delete(checked));
  }

  #changing(work: (cluster: LabCluster) => Promise<void>): Promise<void> {
    return withLock(`lab-${this.name}`, () => this.#withCluster(work));
  }

  async #withCluster<T>(work: (cluster: LabCluster) => Promise<T> | T): Promise<T> {
    const cluster = this.#stored.api === undefined ? await Cluster.open(this.plan) : KubeCluster.open(this.plan);
    try {
      return await work(cluster);
    } finally {
      await cluster.close();
    }
  }

  /** What this lab adds to the configuration of its agents. */
  get #agentConfig(): Readonly<Record<string, unknown>> {
    if (this.#stored.api === undefined) return this.#stored.agent;
    return { source: "kube", kubeconfig: this.plan.api.nodeKubeconfig, ...this.#stored.agent };
  }

  /** @throws LabError LAB_UNKNOWN */
  node(name: string): NodePlan {
    const node = this.plan.nodes.find((candidate) => candidate.name === name);
    if (node !== undefined) return node;
    const names = this.plan.nodes.map((n) => n.name).join(", ");
    throw new LabError("LAB_UNKNOWN", `node ${name}`, `not in lab ${this.name}`, `it has ${names}`);
  }

  /** Where "NAMESPACE/POD", "node/NAME", "external/NAME" or "tor" runs its processes. @throws LabError LAB_UNKNOWN */
  async place(target: string): Promise<PodPlace> {
    const [kind = "", name = ""] = target.split("/");
    if (target === "tor") return this.plan.tor;
    if (kind === "node") return { netns: this.node(name).netns, cgroup: systemCgroup(this.node(name)) };
    const external = this.plan.externals.find((candidate) => kind === "external" && candidate.name === name);
    if (external !== undefined) return external;
    const pod = (await this.#runningPods()).find((candidate) => podKey(candidate) === target);
    if (pod !== undefined) return podPlace(this.plan, pod);
    throw new LabError(
      "LAB_UNKNOWN",
      target,
      `not in lab ${this.name}`,
      "NAMESPACE/POD, node/NAME, external/NAME or tor",
    );
  }

  /** Those that have a place, as their kubelets recorded them where there are any: that needs no API server. */
  async #runningPods(): Promise<readonly Pod[]> {
    if (this.#stored.api === undefined) return this.#withCluster((cluster) => cluster.pods());
    const { nodes } = this.plan;
    const found = await Promise.all(nodes.map((node) => new LabRuntime(this.plan, node, systemClock).sandboxes()));
    return found.flat().map(({ pod }) => pod);
  }

  /** Command line that runs `command` in the target's network namespace and cgroup. */
  async commandIn(target: string, command: readonly string[]): Promise<readonly string[]> {
    const place = await this.place(target);
    await makeCgroup(place.cgroup);
    return inside(place, command);
  }

  async exec(target: string, command: readonly string[], options?: RunOptions): Promise<RunResult> {
    return run(await this.commandIn(target, command), options);
  }

  /** Command line of the `tandem` command against that node's agent. */
  agentCommand(nodeName: string, args: readonly string[]): readonly string[] {
    const node = this.node(nodeName);
    return ["env", `TANDEM_SOCKET=${node.socket}`, `TANDEM_BPFFS=${node.bpffs}`, ...program("cli"), ...args];
  }

  agent(nodeName: string, args: readonly string[], options?: RunOptions): Promise<RunResult> {
    return run(this.agentCommand(nodeName, args), options);
  }

  async stopAgent(nodeName: string, signal: NodeJS.Signals = "SIGTERM"): Promise<boolean> {
    return agents.stopAgent(this.node(nodeName), signal);
  }

  /** Starts it and waits until it is ready. @param settings besides the lab's */
  async startAgent(nodeName: string, settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const node = this.node(nodeName);
    const config = { ...this.#agentConfig, ...settings };
    if ((await agents.agentProcess(node)) === null) await agents.startAgent(this.plan, node, config);
    await agents.waitForAgent(node);
  }

  /** With SIGTERM it lets connections end; its flows are closed then. */
  stopProxy(nodeName: string, signal: NodeJS.Signals = "SIGTERM"): Promise<boolean> {
    return proxies.stopProxy(this.node(nodeName), signal);
  }

  /** Starts it and waits until it has the flows. */
  async startProxy(nodeName: string): Promise<void> {
    const node = this.node(nodeName);
    if ((await proxies.proxyProcess(node)) === null) await proxies.startProxy(node);
    await proxies.waitForProxy(node);
  }

  /** As an upgrade does it: another one takes the flows over, then the one before ends. */
  replaceProxy(nodeName: string): Promise<void> {
    return proxies.replaceProxy(this.node(nodeName));
  }

  /** Ends a node's kubelet; its pods run on. */
  async stopKubelet(nodeName: string, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await stopDaemon(kubeletPidFile(this.node(nodeName)), signal);
  }

  async startKubelet(nodeName: string): Promise<void> {
    await startKubelet(this.plan, this.node(nodeName));
  }

  /** Ends the API server that this lab started: agents and kubelets are on their own. @throws LabError LAB_API when it started none */
  async stopApiServer(): Promise<void> {
    this.#script();
    await stopScript(this.plan);
  }

  /** With the objects and credentials that it had. Resolves when it answers. */
  async startApiServer(): Promise<void> {
    await runScript(this.plan, this.#script());
  }

  #script(): string {
    const { api } = this.#stored;
    if (api?.kind === "script") return api.path;
    throw new LabError("LAB_API", `lab ${this.name}`, "it started no API server", "tandem lab up --api-server PATH");
  }

  agentStatus(nodeName: string): Promise<unknown> {
    return agents.agentGet(this.node(nodeName), "/v1/status");
  }

  /**
   * Ends what plays kube-router on that node. With SIGKILL its routes stay; with SIGTERM they go, too, but with graceful restart. The other nodes lose theirs to it
   * but with graceful restart.
   */
  stopBgp(nodeName: string, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    return bgp.stopNodeBgp(this.node(nodeName), signal, this.#stored);
  }

  async startBgp(nodeName: string): Promise<void> {
    await bgp.startNodeBgp(this.plan, this.node(nodeName), this.#stored);
  }

  /** Until every node and the top of rack have every route that BGP should bring. */
  waitForRoutes(timeoutMs?: number): Promise<void> {
    return bgp.waitForRoutes(this.plan, timeoutMs);
  }

  /** Polls until it gives true. @throws LabError LAB_TIMEOUT naming what was waited for */
  async until(what: string, condition: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
    const began = Date.now();
    while (!(await condition())) {
      const waitedMs = Date.now() - began;
      if (waitedMs > timeoutMs)
        throw new LabError("LAB_TIMEOUT", `lab ${this.name}`, `not within ${timeoutMs} ms: ${what}`, "");
      // Asking is a process or more: who waits long asks less often.
      await sleep(Math.min(300, Math.max(50, waitedMs / 10)));
    }
  }

  async status(): Promise<LabStatus> {
    return this.#withCluster((cluster) => labStatus(this.plan, cluster));
  }

  logFile(nodeName: string): string {
    return join(this.node(nodeName).folder, "agent.log");
  }
}

function checkObjects(objects: readonly unknown[]): readonly KubeObject[] {
  return objects.map((object, i) => checkObject(object, `object ${i + 1}`));
}
