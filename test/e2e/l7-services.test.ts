/** L7 rules on what comes and goes by services, in the node's name, to the pod's own node, and on flows that were there before the rules. */
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { far, serveFar } from "../support/far.ts";

const policy = (name: string, direction: "ingress" | "egress", path: string) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: name } },
    [direction]: [
      {
        [direction === "ingress" ? "fromEntities" : "toEntities"]: ["all"],
        toPorts: [{ ports: [{ port: "8080", protocol: "TCP" }], rules: { http: [{ path }] } }],
      },
    ],
  },
});

const vips = { 4: "203.0.113.10", 6: "2001:db8:aa::10" } as const;
const cluster = { 4: "10.96.7.1", 6: "fd00:10:96::7:1" } as const;
const families = [4, 6] as const;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "server", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    clusterIP: cluster[4],
    clusterIPs: Object.values(cluster),
    ipFamilies: ["IPv4", "IPv6"],
    ipFamilyPolicy: "RequireDualStack",
    selector: { app: "server" },
    ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }],
  },
  status: { loadBalancer: { ingress: Object.values(vips).map((ip) => ({ ip })) } },
};

async function must(lab: Lab, on: string, command: string): Promise<void> {
  const { code, stderr } = await lab.exec(on, command.split(" "));
  if (code !== 0) throw new Error(`${on}: ${command}: ${stderr}`);
}

const bracketed = (address: string) => (address.includes(":") ? `[${address}]` : address);

/** The statuses of a path that is allowed and one that is not, and whom the server saw. */
async function asks(lab: Lab, from: string, address: string, port: number) {
  const ask = async (path: string) => {
    const url = `http://${bracketed(address)}:${port}${path}`;
    const { stdout } = await lab.exec(from, ["curl", "-sg", "-m", "20", "-w", " %{http_code}", url]);
    const [, ipv6, ipv4 = null] = / peer (?:\[([^\]]+)\]|([^:]+)):\d+/.exec(stdout) ?? [];
    return { status: stdout.slice(-3), peer: ipv6 ?? ipv4 };
  };
  const good = await ask("/public");
  return { statuses: [good.status, (await ask("/private")).status], peer: good.peer };
}

async function judged(t: ExecutionContext, lab: Lab, from: string, address: string, port: number, peer: string) {
  t.deepEqual(
    await asks(lab, from, address, port),
    { statuses: ["200", "403"], peer },
    `${from} asks ${address}:${port}`,
  );
}

for (const loadBalancerMode of ["snat", "dsr"] as const) {
  test(`requests by way of services and in the node's name are judged (${loadBalancerMode})`, (t) =>
    withLab(
      t,
      {
        nodes: 2,
        proxies: true,
        agent: { loadBalancerMode, masqueradeIpv4: true, masqueradeIpv6: true },
        objects: [
          pod("server", { node: "node-1" }),
          pod("client", { node: "node-2" }),
          pod("near", { node: "node-1" }),
          pod("host", { node: "node-2", hostNetwork: true }),
          service,
        ],
      },
      async (lab) => {
        await settled(lab);
        await serveFar(lab);

        // Of a connection that was there before, nothing passes unseen; its client is told at once.
        const server = await podAddress(lab, "default/server");
        const before = await beginFlow(lab, "default/client", { kind: "tcp", address: server, port: 8080 });
        await lab.applyObjects([policy("server", "ingress", "/public")]);
        await settled(lab);
        await lab.until("no answer comes any more", async () => {
          const { stdout } = await lab.exec("default/client", [
            "ss",
            "-Htn",
            "state",
            "established",
            "dport",
            "=",
            ":8080",
          ]);
          return stdout.trim() === "";
        });
        await before.end();

        const [one, two] = [lab.node("node-1"), lab.node("node-2")];
        const [external] = lab.plan.externals;
        for (const family of families) {
          const of = <T extends { readonly ipv4: string; readonly ipv6: string }>(host: T | undefined) =>
            (family === 4 ? host?.ipv4 : host?.ipv6) ?? "";
          for (const node of [one, two]) {
            await must(lab, "tor", `ip -${family} route replace ${vips[family]} via ${of(node)}`);
            const seen = node === two && loadBalancerMode === "snat" ? of(two) : of(external);
            await judged(t, lab, "external/client", vips[family], 80, seen);
            await judged(t, lab, "external/client", of(node), 30080, seen);
          }
          for (const client of ["default/client", "default/near"]) {
            const own = await podAddress(lab, client, family);
            await judged(t, lab, client, cluster[family], 80, own);
            await judged(t, lab, client, vips[family], 80, own);
          }
          await judged(t, lab, "node/node-2", cluster[family], 80, of(two));
        }

        // Both ends have rules; and what leaves the cluster has the node's address behind the proxy, too.
        await lab.applyObjects([policy("client", "egress", "/(public|other)")]);
        await settled(lab);
        for (const family of families) {
          const own = await podAddress(lab, "default/client", family);
          await judged(t, lab, "default/client", cluster[family], 80, own);
          // A server of the pod's own node sees the pod, too.
          await judged(t, lab, "default/client", family === 4 ? two.ipv4 : two.ipv6, 8080, own);
          await judged(t, lab, "default/client", far[family], 8080, family === 4 ? two.ipv4 : two.ipv6);
        }
      },
    ));
}
