/** A node changes from kube-proxy to Tandem: its rules are at work, then both are, then they are taken away. What began by them goes on. */
import test from "ava";
import type { ServiceDetailsDto, ServiceFrontendDto } from "../../src/api/service-dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { run } from "../../src/lab/run.ts";
import { program } from "../../src/lab/runtime.ts";
import { runsLongTests, whyNotLong } from "../support/long.ts";
import { agentStatus, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { beginStream } from "../support/streams.ts";

const nodePort = 30_095;
const balancer = "203.0.113.95";
const clusterIPs = { 4: "10.96.9.5", 6: "fd00:10:96::95" } as const;
type Family = keyof typeof clusterIPs;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    clusterIP: clusterIPs[4],
    clusterIPs: Object.values(clusterIPs),
    ipFamilies: ["IPv4", "IPv6"],
    ipFamilyPolicy: "RequireDualStack",
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: 8080, nodePort }],
  },
  status: { loadBalancer: { ingress: [{ ip: balancer }] } },
};

/** As kube-proxy's mode iptables writes them for this service. */
function kubeProxyRules(family: Family, node: string, backends: readonly string[]): string {
  const endpoints = backends.map((address, at) => ({
    to: family === 4 ? `${address}:8080` : `[${address}]:8080`,
    chain: `KUBE-SEP-${at}AAAA`,
  }));
  return `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-EXT-WEB - [0:0]
:KUBE-SVC-WEB - [0:0]
${endpoints.map(({ chain }) => `:${chain} - [0:0]`).join("\n")}
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d ${clusterIPs[family]} -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB
${family === 4 ? `-A KUBE-SERVICES -d ${balancer} -p tcp -m tcp --dport 80 -j KUBE-EXT-WEB` : ""}
-A KUBE-SERVICES -d ${node} -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport ${nodePort} -j KUBE-EXT-WEB
-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SVC-WEB
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.5 -j ${endpoints[0]?.chain}
-A KUBE-SVC-WEB -j ${endpoints[1]?.chain}
${endpoints.map(({ to, chain }) => `-A ${chain} -p tcp -m tcp -j DNAT --to-destination ${to}`).join("\n")}
COMMIT
`;
}

const tools = { 4: "iptables-nft", 6: "ip6tables-nft" } as const;

async function must(lab: Lab, place: string, words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(place, words);
  if (code !== 0) throw new Error(`${words.join(" ")}: ${stderr}`);
  return stdout;
}

async function kubeProxyChains(lab: Lab): Promise<number> {
  const texts = await Promise.all(Object.values(tools).map((tool) => must(lab, "node/node-1", [`${tool}-save`])));
  return texts
    .join("\n")
    .split("\n")
    .filter((line) => line.startsWith(":KUBE-")).length;
}

/** Short connections of a stream that may be reset: one may begin by the rules after the copy, and come back to a service before the next copy. */
const resetsOf = { auto: 0, copy: 2 } as const;

/** @param kernelFlows whether the programs ask the kernel's conntrack, or the agent copies it for them as on Linux before 5.18 */
const takesOver = test.macro(async (t, kernelFlows: "auto" | "copy") => {
  const { stdout: tool } = await run(["sh", "-c", "command -v iptables-nft-restore"]);
  if (tool.trim() === "") {
    t.log("skipped: this machine has no iptables-nft");
    t.pass();
    return;
  }
  // One backend beside the rules, and one on another node.
  const web = [
    pod("a", { node: "node-1", labels: { app: "web" } }),
    pod("b", { node: "node-2", labels: { app: "web" } }),
  ];
  await withLab(t, { nodes: 2, objects: web, agent: { kernelFlows } }, async (lab) => {
    await settled(lab);
    const { kernel } = await agentStatus(lab, "node-1");
    if (kernelFlows === "auto" && kernel.features.kernel_conntrack?.supported !== true) {
      t.log("skipped: programs cannot ask this kernel's conntrack (the copy is tested)");
      t.pass();
      return;
    }
    const { ipv4, ipv6 } = lab.node("node-1");
    // OUTPUT sees what has a route.
    await must(lab, "node/node-1", ["ip", "route", "add", "default", "via", lab.plan.tor.ipv4]);
    await must(lab, "node/node-1", ["ip", "route", "add", clusterIPs[6], "via", lab.plan.tor.ipv6]);
    await must(lab, "tor", ["ip", "route", "add", balancer, "via", ipv4]);
    for (const [family, node] of [
      [4, ipv4],
      [6, ipv6],
    ] as const) {
      const backends = await Promise.all(["default/a", "default/b"].map((name) => podAddress(lab, name, family)));
      const rules = kubeProxyRules(family, node, backends);
      await must(lab, "node/node-1", ["sh", "-c", `${tools[family]}-restore --noflush <<'EOF'\n${rules}EOF`]);
    }
    const ways = [
      ["node/node-1", clusterIPs[4], 80],
      ["node/node-1", clusterIPs[6], 80],
      ["external/client", ipv4, nodePort],
      ["external/client", ipv6, nodePort],
      ["external/client", balancer, 80],
    ] as const;
    const streams = await Promise.all(
      ways.map(async ([from, address, port]) => ({ address, stream: await beginStream(lab, from, address, port) })),
    );
    const begun = await Promise.all(
      [0, 1, 2].flatMap(() =>
        ways.map(async ([from, address, port]) => {
          const flow = await beginFlow(lab, from, { kind: "tcp", address, port });
          return { way: `${from} to ${address}`, flow };
        }),
      ),
    );
    await lab.applyObjects([service]);
    await settled(lab);
    await lab.until("Tandem has flows of its own", async () => {
      const { stdout } = await lab.agent("node-1", ["service", "get", "default/web", "--json"]);
      return (JSON.parse(stdout) as ServiceDetailsDto).frontends.some(
        ({ flows }: ServiceFrontendDto) => flows.outside > 20,
      );
    });
    await must(lab, "node/node-1", [...program("cli"), "cleanup", "--kube-proxy", "--yes", "--json"]);
    t.is(await kubeProxyChains(lab), 0);
    const after = await Promise.all(
      ways.map(async ([from, address, port]) => (await beginStream(lab, from, address, port)).end()),
    );
    for (const { errors, answered } of after) t.deepEqual([errors, answered >= 10], [{}, true]);
    for (const { way, flow } of begun) {
      const { sent, answered, from: by } = await flow.end();
      t.is(answered, sent, way);
      t.is(by.length, 1, way);
    }
    for (const { address, stream } of streams) {
      const { made, answered, errors, from: by } = await stream.end();
      t.log(`${address}: ${answered} of ${made} short connections`, errors);
      const { ECONNRESET = 0, ...others } = errors;
      t.deepEqual([answered + ECONNRESET, others, by], [made, {}, ["default/a", "default/b"]], address);
      t.true(ECONNRESET <= resetsOf[kernelFlows], `${address}: ${ECONNRESET} reset`);
    }
  });
});

const what =
  "connections that kube-proxy's rules began go on while Tandem takes the service over, and once the rules are gone";
test(what, takesOver, "auto");
const copied = `${what}: as the agent copies them`;
if (runsLongTests) test(copied, takesOver, "copy");
else test.skip(`${copied} (${whyNotLong})`, takesOver, "copy");
