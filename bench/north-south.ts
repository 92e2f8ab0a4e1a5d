/**
 * Clients outside behind the router, to a pod on another node than the one that they come to: Tandem in both modes against the kernel's own
 * DNAT and masquerading (iptables, one rule each: what kube-proxy ends in) on the same way, by the same nodes, in turn. With `--xdp` the nodes'
 * uplinks have from_wire, and the ends send what a network card would get: all ways pay for that.
 */
import { Lab } from "../src/lab/lab.ts";
import { likeNetworkCards } from "../test/support/wire-peer.ts";
import { buildNetload, inNetns, median, printTable, type Row, sh } from "./support.ts";

const port = 7000;
const address = { snat: "203.0.113.10", dsr: "203.0.113.11", kernel: "203.0.113.12" } as const;
type Way = keyof typeof address;

const service = (way: "snat" | "dsr") => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: way, namespace: "default", annotations: { "service.cilium.io/forwarding-mode": way } },
  spec: { type: "LoadBalancer", selector: { app: "server" }, ports: [{ port, targetPort: port }] },
  status: { loadBalancer: { ingress: [{ ip: address[way] }] } },
});

const server = (netload: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "server", namespace: "default", labels: { app: "server" } },
  spec: {
    nodeName: "node-2",
    containers: [
      { name: "main", image: "netload", command: [netload, "server", String(port)], ports: [{ containerPort: port }] },
    ],
  },
});

const measures = [
  { mode: "rr", name: "request/response", unit: "us p50", value: (r: Figures) => r.p50Us, inverse: true },
  { mode: "stream", name: "stream", unit: "Gbit/s", value: (r: Figures) => r.gbps, inverse: false },
  { mode: "connect", name: "connections", unit: "/s", value: (r: Figures) => r.rate, inverse: false },
] as const;

interface Figures {
  readonly p50Us?: number;
  readonly gbps?: number;
  readonly rate?: number;
}

/** The kernel's own way on node-1: to the pod, in the node's name. */
async function kernelRules(lab: Lab, pod: string): Promise<void> {
  const { netns } = lab.node("node-1");
  const iptables = (...words: readonly string[]) => sh(inNetns(netns, ["iptables", "-w", "-t", "nat", ...words]));
  const to = ["-d", address.kernel, "-p", "tcp", "--dport", String(port)];
  await iptables("-A", "PREROUTING", ...to, "-j", "DNAT", "--to-destination", `${pod}:${port}`);
  await iptables("-A", "POSTROUTING", "-d", pod, "-m", "conntrack", "--ctstate", "DNAT", "-j", "MASQUERADE");
}

export async function benchNorthSouth(options: {
  readonly rounds: number;
  readonly seconds: number;
  readonly xdp: boolean;
}): Promise<readonly Row[]> {
  const netload = await buildNetload();
  const { xdp } = options;
  let close = () => {};
  const name = `bench${process.pid}`;
  try {
    const objects = [server(netload), service("snat"), service("dsr")];
    const lab = await Lab.up({ name, nodes: 2, objects, agent: { xdp: xdp ? "native" : "off" } });
    if (xdp) close = await likeNetworkCards(lab, "node-1", ["external/client", "default/server"]);
    const { pods } = await lab.status();
    const pod = pods.flatMap((each) => each.addresses).find((each) => each.includes("."));
    if (pod === undefined) throw new Error("the server has no address");
    await kernelRules(lab, pod);
    for (const way of Object.values(address))
      await sh(inNetns(lab.plan.tor.netns, ["ip", "route", "replace", way, "via", lab.node("node-1").ipv4]));
    const client = lab.plan.externals[0]?.netns ?? "";
    const load = async (way: Way, mode: string, seconds: number): Promise<Figures> => {
      const command = [netload, mode, address[way], String(port), String(seconds)];
      const out = await sh(inNetns(client, command), 60_000);
      return JSON.parse(out.trim().split("\n").at(-1) ?? "{}") as Figures;
    };
    const rows: Row[] = [];
    for (const way of ["snat", "dsr"] as const) {
      for (const one of ["kernel", way] as const) await load(one, "rr", 0.3); // first packets learn neighbours
      for (const { mode, name: what, unit, value, inverse } of measures) {
        const pairs: { readonly ours: number; readonly theirs: number }[] = [];
        for (let round = 0; round < options.rounds; round++) {
          const ours = value(await load(way, mode, options.seconds)) ?? Number.NaN;
          const theirs = value(await load("kernel", mode, options.seconds)) ?? Number.NaN;
          pairs.push({ ours, theirs });
        }
        rows.push({
          what: `${what}, ${way}${xdp ? " by XDP" : ""}`,
          figure: `${median(pairs.map(({ ours }) => ours)).toFixed(2)} ${unit}`,
          baseline: `${median(pairs.map(({ theirs }) => theirs)).toFixed(2)} ${unit}`,
          ratio: median(pairs.map(({ ours, theirs }) => (inverse ? theirs / ours : ours / theirs))),
          aim: ">= 1.00",
        });
      }
    }
    printTable(
      "Client outside, backend on another node, against the kernel's DNAT and masquerading on the same way",
      rows,
    );
    return rows;
  } finally {
    close();
    await Lab.down(name);
  }
}
