/**
 * kube-router's tunnels with the devices that this machine's kernel may lack: what `tandem routes` says of them, the MTU of pods, traffic of both
 * families with policy at both ends of it, path MTU discovery, and devices that come and go.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Prober } from "../../src/lab/conformance/prober.ts";
import { tunnelName } from "../../src/lib/kube-router.ts";
import type { Pod } from "../../src/lab/objects.ts";
import { createSandbox, podPlace } from "../../src/lab/pods.ts";
import { mustRun } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { checkOverlay } from "../../src/lab/overlay.ts";
import { type Overlay, TunnelSite, until } from "./tunnel-site.ts";

type Check = (title: string, body: () => Promise<void>) => Promise<void>;

/** Pods of other nodes are addresses of those nodes: behind the tunnel the kernel alone is at work. */
const far = { b: { node: 2, ends: "10" }, c: { node: 3, ends: "10" }, d: { node: 3, ends: "11" } } as const;
type Far = keyof typeof far;
const families = [4, 6] as const;
type Family = (typeof families)[number];

const addressOf = (name: Far, family: Family) =>
  family === 4 ? `10.64.${far[name].node}.${far[name].ends}` : `fd00:10:64:${far[name].node}::${far[name].ends}`;

function podObject(name: string, node: number, podIPs: readonly string[]): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels: { app: name }, uid: randomUUID() },
    spec: { nodeName: `node-${node}`, containers: [{ name: "main", ports: [{ containerPort: 80, protocol: "TCP" }] }] },
    status: statusOf(podIPs),
  } as unknown as Pod;
}

function statusOf(podIPs: readonly string[]) {
  return { phase: "Running", podIPs: podIPs.map((ip) => ({ ip })), podIP: podIPs[0] };
}

const web = [
  { protocol: "TCP", port: 80 },
  { protocol: "TCP", port: 5201 },
];
const from = (app: string) => ({ podSelector: { matchLabels: { app } } });
/** Of node-3, and node-1's as clients outside know it. */
const farNode = { 4: "172.30.2.3", 6: "fd72:30:2::3" } as const;
const nearNode = { 4: "172.30.1.1", 6: "fd72:30:1::1" } as const;
const nodePort = 30_080;
const service = "far";
const objects = [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: "default", labels: {} } },
  ...(Object.keys(far) as Far[]).map((name) =>
    podObject(
      name,
      far[name].node,
      families.map((family) => addressOf(name, family)),
    ),
  ),
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "a", namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "a" } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [from("b"), from("c")], ports: web }],
      egress: [
        { to: [from("b"), from("c")], ports: web },
        { to: families.map((family) => ({ ipBlock: { cidr: `${farNode[family]}/${family === 4 ? 32 : 128}` } })) },
      ],
    },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: service, namespace: "default" },
    spec: {
      type: "NodePort",
      clusterIP: "10.128.0.10",
      clusterIPs: ["10.128.0.10", "fd00:10:128::10"],
      ipFamilies: ["IPv4", "IPv6"],
      ports: [{ name: "web", port: 80, targetPort: 80, nodePort, protocol: "TCP" }],
    },
  },
  ...families.map((family) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${service}-${family}`, namespace: "default", labels: { "kubernetes.io/service-name": service } },
    addressType: `IPv${family}`,
    ports: [{ name: "web", port: 80, protocol: "TCP" }],
    endpoints: [{ addresses: [addressOf("c", family)], conditions: { ready: true }, nodeName: "node-3" }],
  })),
];

interface Counted {
  readonly ifname: string;
  readonly stats64?: { readonly rx: { readonly packets: number }; readonly tx: { readonly packets: number } };
}

interface Try {
  readonly by: string;
  readonly source: string;
  readonly to: string;
  readonly port: number;
  readonly answered: boolean;
}

export class TunnelChecks {
  readonly #site: TunnelSite;
  readonly #check: Check;
  readonly #probers = new Map<string, Prober>();
  readonly #heard = new Map<number, string>();
  #ids = 0;
  #own: readonly string[] = [];

  private constructor(site: TunnelSite, check: Check) {
    this.#site = site;
    this.#check = check;
  }

  /** Starts the site: its agent loads while others check what they check. */
  static async start(check: Check): Promise<TunnelChecks> {
    const site = await TunnelSite.create(objects);
    await site.runKubeRouter({ type: "subnet", encapsulation: "ipip" });
    return new TunnelChecks(site, check);
  }

  async run(): Promise<void> {
    const check = this.#check;
    await check("an agent starts beside gobgpd on this kernel, and a pod is wired", () => this.#prepare());
    await check("a lab may have an overlay on this kernel", () => checkOverlay("full", "mesh"));
    await check("overlay of type subnet: another subnet is behind a tunnel, and the own is not", () =>
      this.#kinds({ 2: "direct", 3: "tunnel" }),
    );
    await check("the tunnel's MTU is the route's and the pods': 20 bytes less by ipip, 48 by ip6tnl", () =>
      this.#mtu({ 4: 1480, 6: 1452 }),
    );
    await check(
      "policy holds for traffic through the tunnel and beside it, in both directions, over both families",
      () => this.#through([3], () => this.#traffic()),
    );
    await check("table 77: what a pod sends to the other node's own address takes the tunnel", () =>
      this.#through([3], () => this.#all(families.map((family) => this.#fromPod(farNode[family])))),
    );
    await check("a service's backend behind the tunnel serves a pod, and clients outside by the node's port", () =>
      this.#through([3], () => this.#services()),
    );
    await check("path MTU discovery: a narrow link under the tunnel is learnt by the pod, and transfers go on", () =>
      this.#narrowLink(),
    );
    await check("a tunnel that is gone is told with its reason, and is back with its path", () => this.#tunnelGone());
    await check("overlay of type full with FoU: devices are made anew, the own subnet is behind one, too", async () => {
      const overlay: Overlay = { type: "full", encapsulation: "fou" };
      await this.#site.runKubeRouter(overlay);
      for (const number of [2, 3]) await this.#tunnelBack(number, overlay.encapsulation);
      await this.#kinds({ 2: "tunnel", 3: "tunnel" });
      await this.#mtu({ 4: 1468, 6: 1440 });
      await this.#through([2, 3], () => this.#traffic());
    });
    await check("without overlay the other subnet has no route and the reason says so", async () => {
      await this.#site.runKubeRouter(null);
      await this.#kinds({ 2: "direct" });
      await this.#missing("not-on-link", [4, 6]);
    });
    await this.#site.stop();
  }

  /** Runs `traffic`, and wants packets in both directions of the tunnels to these nodes. */
  async #through(nodes: readonly number[], traffic: () => Promise<void>): Promise<void> {
    const devices = nodes
      .map((number) => this.#site.node(number))
      .flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6].map(tunnelName));
    const count = async () => {
      const links = JSON.parse(await this.#site.ip(1, "-j -s link")) as readonly Counted[];
      return devices.map((name) => {
        const stats = links.find(({ ifname }) => ifname === name)?.stats64;
        return Math.min(stats?.rx.packets ?? -1, stats?.tx.packets ?? -1);
      });
    };
    const before = await count();
    await traffic();
    const after = await count();
    if (after.some((packets, at) => packets <= (before[at] ?? 0)))
      throw new Error(`packets of ${devices.join()}: ${before.join()}, then ${after.join()}`);
  }

  #fromPod(to: string): Try {
    const source = this.#own.find((address) => address.includes(":") === to.includes(":")) ?? "";
    return { by: "a", source, to, port: 80, answered: true };
  }

  async #services(): Promise<void> {
    const outside = (family: Family): Try => ({
      by: "router",
      source: family === 4 ? "172.30.1.254" : "fd72:30:1::fe",
      to: nearNode[family],
      port: nodePort,
      answered: true,
    });
    await this.#all([this.#fromPod("10.128.0.10"), this.#fromPod("fd00:10:128::10"), ...families.map(outside)]);
  }

  async #narrowLink(): Promise<void> {
    const { router } = this.#site;
    await mustRun(["ip", "netns", "exec", this.#site.node(3).netns, "iperf3", "-s", "-D"]);
    for (const device of ["node-3", "bridge-2"])
      await mustRun(["ip", "-n", router, "link", "set", device, "mtu", "1400"]);
    const pod = this.#probers.get("a");
    if (pod === undefined) throw new Error("no pod");
    for (const family of families) {
      const to = addressOf("c", family);
      const told = await mustRun([...pod.commandIn(["iperf3", "-J", "-c", to, "-n", "1M"])]);
      const { end } = JSON.parse(told) as { readonly end: { readonly sum_received: { readonly bytes: number } } };
      // The server stops to count when the client says that it has sent all, which it says when the last is in its buffer; were packets lost, it would be none.
      if (end.sum_received.bytes < 100_000) throw new Error(`${to}: ${end.sum_received.bytes} bytes arrived`);
      const route = await mustRun([...pod.commandIn(["ip", "route", "get", to])]);
      const mtu = family === 4 ? 1380 : 1352;
      if (!route.includes(`mtu ${mtu} `)) throw new Error(`${to}: ${route}`);
    }
    for (const device of ["node-3", "bridge-2"])
      await mustRun(["ip", "-n", router, "link", "set", device, "mtu", "1500"]);
  }

  async #tunnelGone(): Promise<void> {
    const device = tunnelName(farNode[4]);
    await this.#site.ip(1, `link del ${device}`);
    await this.#missing("no-tunnel", [4]);
    const uplinks = async () => (await this.#site.status()).sources.find(({ name }) => name === "routes")?.detail ?? "";
    if ((await uplinks()).includes(device)) throw new Error(await uplinks());
    await this.#site.announce(3, false);
    await this.#missing("not-announced", [4, 6]);
    await this.#site.announce(3, true);
    await this.#kinds({ 3: "tunnel" });
    await this.#through([3], () => this.#traffic());
  }

  async #missing(code: string, of: readonly Family[]): Promise<void> {
    const rows = async () =>
      (await this.#site.routesTo(3)).filter(({ podCidr }) => of.includes(podCidr.includes(":") ? 6 : 4));
    await until(
      `routes to node-3 are missing: ${code}`,
      async () => ((await rows()).every(({ present, why }) => !present && why?.code === code) ? true : null),
      rows,
    );
  }

  async #prepare(): Promise<void> {
    const site = this.#site;
    await site.ready();
    const a = podObject("a", 1, []);
    await site.apply("own", [a]);
    this.#own = await createSandbox(site.plan, a);
    await site.apply("own", [{ ...a, status: statusOf(this.#own) }]);
    for (const name of Object.keys(far) as Far[])
      for (const family of families)
        await site.ip(far[name].node, `addr add ${addressOf(name, family)}/${family === 4 ? 32 : 128} dev lo`);
    await this.#prober("a", podPlace(site.plan, a));
    for (const number of [2, 3]) {
      const node = site.node(number);
      await this.#prober(`node-${number}`, { netns: node.netns, cgroup: systemCgroup(node) });
    }
    await this.#prober("router", { netns: site.router, cgroup: systemCgroup(site.node(2)) });
    const one = site.node(1);
    for (const cidr of [one.podCidr4, one.podCidr6]) {
      await site.ip(2, `route add ${cidr} via ${cidr.includes(":") ? one.ipv6 : one.ipv4}`);
    }
    await this.#tunnelBack(3, "ipip");
  }

  /** What kube-router of the other node does. */
  async #tunnelBack(number: number, encapsulation: Overlay["encapsulation"]): Promise<void> {
    const one = this.#site.node(1);
    const tunnels = this.#site.tunnels(number, encapsulation);
    for (const [cidr, address] of [
      [one.podCidr4, one.ipv4],
      [one.podCidr6, one.ipv6],
    ] as const) {
      const device = await tunnels.ensure(address);
      await this.#site.ip(number, `route replace ${cidr} dev ${device} src ${tunnels.source(address)}`);
    }
  }

  async #prober(name: string, place: { readonly netns: string; readonly cgroup: string }): Promise<void> {
    const prober = await Prober.start(name, place, ({ id, outcome }) => this.#heard.set(id, JSON.stringify(outcome)));
    await prober.listen([80, 81].map((port) => ({ place: name, protocol: "tcp", port })));
    this.#probers.set(name, prober);
  }

  async #kinds(expected: Readonly<Record<number, string>>): Promise<void> {
    for (const [number, kind] of Object.entries(expected)) {
      const node = this.#site.node(Number(number));
      const rows = () => this.#site.routesTo(Number(number));
      await until(
        `routes to node-${number} are ${kind}`,
        async () => ((await rows()).every((row) => row.kind === kind && row.present && row.why === null) ? true : null),
        rows,
      );
      for (const row of await rows()) {
        const address = row.podCidr.includes(":") ? node.ipv6 : node.ipv4;
        const shown = { device: row.device.join(), via: row.via.join(), origin: row.origin };
        const wanted = kind === "tunnel" ? { device: tunnelName(address), via: "" } : { device: "eth0", via: address };
        same(shown, { ...wanted, origin: "bgp (kube-router)" });
      }
    }
  }

  async #mtu(expected: Readonly<Record<Family, number>>): Promise<void> {
    // Devices that are made anew come one by one, and the routes after them.
    const mtus = async () => JSON.stringify((await this.#site.routesTo(3)).map(({ mtu }) => mtu));
    const wanted = JSON.stringify(families.map((family) => expected[family]));
    await until(`the MTU of routes is ${wanted}`, async () => ((await mtus()) === wanted ? true : null), mtus);
    const least = Math.min(expected[4], expected[6]);
    const { mtu } = await until(
      `the MTU of pods is ${least}`,
      async () => {
        const status = await this.#site.status();
        return status.mtu.bytes === least ? status : null;
      },
      async () => (await this.#site.status()).mtu,
    );
    if (!/^route to \S+ \(node-[23]\)$/.test(mtu.from)) throw new Error(mtu.from);
  }

  async #traffic(): Promise<void> {
    const tries = families.flatMap((family): readonly Try[] => {
      const own = this.#own.find((address) => address.includes(":") === (family === 6)) ?? "";
      const c = { by: "node-3", source: addressOf("c", family), to: own };
      const b = { by: "node-2", source: addressOf("b", family), to: own };
      const a = { by: "a", source: own };
      return [
        { ...a, to: addressOf("c", family), port: 80, answered: true },
        { ...a, to: addressOf("c", family), port: 81, answered: false },
        { ...a, to: addressOf("d", family), port: 80, answered: false },
        { ...a, to: addressOf("b", family), port: 80, answered: true },
        { ...c, port: 80, answered: true },
        { ...c, port: 81, answered: false },
        { ...c, source: addressOf("d", family), port: 80, answered: false },
        { ...b, port: 80, answered: true },
        { ...b, port: 81, answered: false },
      ];
    });
    await this.#all(tries);
  }

  async #all(tries: readonly Try[]): Promise<void> {
    const sent = tries.map((one) => ({ ...one, id: ++this.#ids }));
    for (const { id, by, source, to, port } of sent)
      this.#probers
        .get(by)
        ?.try([
          { id, place: by, protocol: "tcp", source, destination: to, port, asked: null, servers: [], arrivesAt: null },
        ]);
    const isOpen = ({ id, answered }: (typeof sent)[number]) => answered && !this.#heard.has(id);
    for (const deadline = Date.now() + 30_000; sent.some(isOpen) && Date.now() < deadline; ) await sleep(50);
    // A second try of TCP's is after one.
    await sleep(1500);
    const wrong = sent.filter(({ id, answered }) => (this.#heard.get(id)?.includes('"answer"') ?? false) !== answered);
    const list = wrong.map(
      ({ id, by, source, to, port }) => `${by} ${source} to ${to} ${port}: ${this.#heard.get(id) ?? "silence"}`,
    );
    for (const prober of this.#probers.values()) prober.forget();
    if (wrong.length > 0) throw new Error(list.join("; "));
  }
}

function same(seen: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${a} and not ${b}`);
}
