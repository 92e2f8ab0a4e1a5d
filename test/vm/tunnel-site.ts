/**
 * Three nodes for kube-router's tunnels, around the kernel that the VM boots: node-1 is the VM itself, with an agent, gobgpd and the lab's
 * injector (here in this process); node-2 is in its subnet and node-3 behind a router, both with bird and what their pods need of the kernel.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RouteDto, StatusDto } from "../../src/api/dto.ts";
import { agentGet, agentLog, startAgent, waitForAgent } from "../../src/lab/agents.ts";
import { gobgpConfig } from "../../src/lab/bgp-config.ts";
import { findCgroupRoot, makeCgroup } from "../../src/lab/cgroups.ts";
import { nodeObject } from "../../src/lab/controllers.ts";
import { createInjector, type InjectorConfig } from "../../src/lab/injector/compose.ts";
import type { Injector } from "../../src/lab/injector/injector.ts";
import { type Encapsulation, Tunnels } from "../../src/lab/injector/tunnels.ts";
import { type LabPlan, type NodePlan, planLab } from "../../src/lab/plan.ts";
import { startDaemon } from "../../src/lab/processes.ts";
import { ipBatch, mustRun } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";

const api = "127.0.0.1:50051";
const forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
const subnet4 = (node: number) => `172.30.${node === 3 ? 2 : 1}`;
const subnet6 = (node: number) => `fd72:30:${node === 3 ? 2 : 1}:`;
const gateway = { ipv4: (node: number) => `${subnet4(node)}.254`, ipv6: (node: number) => `${subnet6(node)}:fe` };

export interface Overlay {
  readonly type: "subnet" | "full";
  readonly encapsulation: Encapsulation;
}

export class TunnelSite {
  readonly plan: LabPlan;
  readonly router = "tandem-vm-tor";
  #injector: { readonly stop: AbortController; readonly injector: Injector; readonly ended: Promise<void> } | null =
    null;

  private constructor(plan: LabPlan) {
    this.plan = plan;
  }

  static async create(objects: readonly unknown[]): Promise<TunnelSite> {
    const node = (number: number) => ({
      name: `node-${number}`,
      ipv4: `${subnet4(number)}.${number}`,
      ipv6: `${subnet6(number)}:${number}`,
      podCidr4: `10.64.${number}.0/24`,
      podCidr6: `fd00:10:64:${number}::/64`,
    });
    const site = {
      nodes: [1, 2, 3].map(node),
      router: { ipv4: gateway.ipv4(1), ipv6: gateway.ipv6(1) },
    };
    const record = { name: "vm", index: 0, nodes: 3, externals: [], topology: "mesh", site } as const;
    const made = new TunnelSite(planLab(record, await findCgroupRoot()));
    await made.#build(objects);
    return made;
  }

  node(number: number): NodePlan {
    const node = this.plan.nodes[number - 1];
    if (node === undefined) throw new Error(`no node-${number}`);
    return node;
  }

  /** ip(8) on a node. */
  ip(number: number, line: string): Promise<string> {
    return mustRun(["ip", ...(number === 1 ? [] : ["-n", this.node(number).netns]), ...line.split(" ")]);
  }

  tunnels(number: number, encapsulation: Encapsulation): Tunnels {
    const { ipv4, ipv6 } = this.node(number);
    return new Tunnels({ ip: (words) => this.ip(number, words.join(" ")), addresses: [ipv4, ipv6], encapsulation });
  }

  async #build(objects: readonly unknown[]): Promise<void> {
    const { plan, router } = this;
    await mustRun(["ip", "netns", "attach", this.node(1).netns, String(process.pid)]);
    await ipBatch(
      null,
      [router, this.node(2).netns, this.node(3).netns].map((netns) => `netns add ${netns}`),
    );
    const ofSubnet = (subnet: 1 | 2) => `bridge-${subnet}`;
    await ipBatch(router, [
      ...([1, 2] as const).flatMap((subnet) => [
        `link add ${ofSubnet(subnet)} type bridge mcast_snooping 0`,
        `addr add ${gateway.ipv4(subnet + 1)}/24 dev ${ofSubnet(subnet)}`,
        `addr add ${gateway.ipv6(subnet + 1)}/64 dev ${ofSubnet(subnet)} nodad`,
        `link set ${ofSubnet(subnet)} up`,
      ]),
    ]);
    await mustRun(["ip", "netns", "exec", router, "sh", "-c", forwarding]);
    for (const node of plan.nodes) {
      const number = plan.nodes.indexOf(node) + 1;
      await ipBatch(number === 1 ? null : node.netns, [
        "link set lo up",
        `link add eth0 type veth peer name ${node.slot} netns ${router}`,
        `addr add ${node.ipv4}/24 dev eth0`,
        `addr add ${node.ipv6}/64 dev eth0 nodad`,
        "link set eth0 up",
        `route add default via ${gateway.ipv4(number)}`,
        `route add default via ${gateway.ipv6(number)}`,
      ]);
      await ipBatch(router, [`link set ${node.slot} master ${ofSubnet(number === 3 ? 2 : 1)} up`]);
      await makeCgroup(systemCgroup(node));
      await mkdir(node.stateDir, { recursive: true });
    }
    await mkdir(this.node(1).bpffs, { recursive: true });
    await mustRun(["mount", "-t", "bpf", "-o", "mode=0700", "tandem-vm", this.node(1).bpffs]);
    await mkdir(plan.manifests, { recursive: true });
    await this.apply("cluster", [...plan.nodes.map(nodeObject), ...objects]);
    await startAgent(plan, this.node(1), {});
    await this.#startBgp();
  }

  /** Objects that the agent follows; a later call of the same name replaces them. */
  apply(name: string, items: readonly unknown[]): Promise<void> {
    return writeFile(
      join(this.plan.manifests, `${name}.json`),
      JSON.stringify({ apiVersion: "v1", kind: "List", items }),
    );
  }

  async #startBgp(): Promise<void> {
    const one = this.node(1);
    const file = join(one.folder, "gobgpd.toml");
    await writeFile(file, gobgpConfig(this.plan, one, { gracefulRestart: false }));
    await startDaemon({
      netns: null,
      cgroup: systemCgroup(one),
      command: ["gobgpd", "-f", file, "--api-hosts", api],
      log: join(one.folder, "gobgpd.log"),
      pidFile: join(one.folder, "gobgpd.pid"),
    });
    for (const number of [2, 3]) {
      const node = this.node(number);
      const config = join(node.folder, "bird.conf");
      await writeFile(config, bird(node, one));
      await startDaemon({
        netns: node.netns,
        cgroup: systemCgroup(node),
        command: ["bird", "-f", "-c", config, "-s", join(node.folder, "bird.ctl")],
        log: join(node.folder, "bird.log"),
        pidFile: join(node.folder, "bird.pid"),
      });
    }
  }

  /** kube-router of node-1 with these flags; null: --enable-overlay=false. The one that runs ends, as by a restart. */
  async runKubeRouter(overlay: Overlay | null): Promise<void> {
    this.#injector?.stop.abort();
    await this.#injector?.ended;
    const one = this.node(1);
    const stop = new AbortController();
    const { type = null, encapsulation = "ipip" } = overlay ?? {};
    const config: InjectorConfig = {
      api,
      addresses: [one.ipv4, one.ipv6],
      announcements: [
        { prefix: one.podCidr4, nextHop: one.ipv4 },
        { prefix: one.podCidr6, nextHop: one.ipv6 },
      ],
      multipath: false,
      overlay: { type, encapsulation },
    };
    const injector = await createInjector(config, ({ event, error, prefix, nextHop }) =>
      console.log(`  injector: ${[event, prefix, nextHop, error].filter((word) => word !== undefined).join(" ")}`),
    );
    this.#injector = { stop, injector, ended: injector.run(stop.signal) };
  }

  /** kube-router's minute is over. */
  async sync(): Promise<void> {
    await this.#injector?.injector.sync();
  }

  /** Takes node's pod CIDRs out of BGP, or announces them again. */
  async announce(number: number, wanted: boolean): Promise<void> {
    for (const family of ["4", "6"])
      await mustRun([
        "birdc",
        "-s",
        join(this.node(number).folder, "bird.ctl"),
        wanted ? "enable" : "disable",
        `pods${family}`,
      ]);
  }

  async ready(): Promise<void> {
    await waitForAgent(this.node(1), 300_000);
  }

  status(): Promise<StatusDto> {
    return agentGet(this.node(1), "/v1/status") as Promise<StatusDto>;
  }

  /** Of `tandem routes`, those to a node's pods: IPv4's, then IPv6's. */
  async routesTo(number: number): Promise<readonly RouteDto[]> {
    const rows = (await agentGet(this.node(1), "/v1/routes")) as readonly RouteDto[];
    return rows.filter(({ node }) => node === `node-${number}`);
  }

  get log(): string {
    return agentLog(this.node(1));
  }

  async stop(): Promise<void> {
    this.#injector?.stop.abort();
    await this.#injector?.ended;
  }
}

/** Polls until `seen` gives something. @throws Error with what `state` says at the end */
export async function until<T>(what: string, seen: () => Promise<T | null>, state: () => Promise<unknown>): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await seen();
    if (found !== null) return found;
    if (Date.now() > deadline) throw new Error(`${what}: ${JSON.stringify(await state())}`);
    await sleep(100);
  }
}

function bird(node: NodePlan, peer: NodePlan): string {
  return `log stderr all;
router id ${node.ipv4};
protocol device {}
protocol static pods4 { ipv4; route ${node.podCidr4} unreachable; }
protocol static pods6 { ipv6; route ${node.podCidr6} unreachable; }
protocol bgp node1 {
  local ${node.ipv4} as 64512;
  neighbor ${peer.ipv4} as 64512;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  ipv4 { import none; export where source = RTS_STATIC; next hop address ${node.ipv4}; };
  ipv6 { import none; export where source = RTS_STATIC; next hop address ${node.ipv6}; };
}
`;
}
