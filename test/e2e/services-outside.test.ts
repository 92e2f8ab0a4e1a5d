/** Services for clients outside of the cluster, behind the top of rack: by addresses of load balancers and by ports of nodes. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import {
  agentStatus,
  beginFlow,
  type FlowOptions,
  fetchFrom,
  pod,
  podAddress,
  settled,
  sharedLab,
  withLab,
} from "../support/lab.ts";

const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;
const backend = (name: string, node: string) => pod(name, { node, labels: { app: "backend" }, ports });

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;

const healthPort = 32_123;

const service = (externalTrafficPolicy: "Local" | "Cluster") => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    externalTrafficPolicy,
    ...(externalTrafficPolicy === "Local" && { healthCheckNodePort: healthPort }),
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [
      { name: "http", port: 80, targetPort: 8080, nodePort: 30080 },
      { name: "udp", port: 53, targetPort: 9000, protocol: "UDP", nodePort: 30053 },
    ],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
});

/** The fabric leads the addresses to this node, as BGP would that announces them. */
async function announce(lab: Lab, nodeName: string): Promise<void> {
  const { ipv4, ipv6 } = lab.node(nodeName);
  for (const [family, vip, via] of [
    ["-4", vips[0], ipv4],
    ["-6", vips[1], ipv6],
  ] as const) {
    const { code, stderr } = await lab.exec("tor", ["ip", family, "route", "replace", vip, "via", via]);
    if (code !== 0) throw new Error(stderr);
  }
}

/** What a load balancer is told that asks the node. */
async function health(lab: Lab, nodeName: string, family: 4 | 6 = 4): Promise<string> {
  const { ipv4, ipv6 } = lab.node(nodeName);
  const url = `http://${family === 4 ? ipv4 : `[${ipv6}]`}:${healthPort}/healthz`;
  const words = ["curl", "-sg", "-m", "20", "-w", " %{http_code}", url];
  return (await lab.exec("external/client", words)).stdout.replace(/\s+/g, "");
}

/** Who answers `count` connections of the client outside; "none" for one that fails. */
async function answerers(lab: Lab, address: string, port: number, count = 12): Promise<readonly string[]> {
  const seen = new Set<string>();
  for (let i = 0; i < count; i++) {
    seen.add((await fetchFrom(lab, "external/client", address, port))?.split(" ")[0] ?? "none");
  }
  return [...seen].sort();
}

test("a client outside reaches the pods of the node that it comes to, as itself, and sees the service", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      objects: [backend("a", "node-1"), backend("b", "node-1"), backend("c", "node-2"), service("Local")],
    },
    async (lab) => {
      await settled(lab);
      await announce(lab, "node-1");
      const { ipv4, ipv6 } = lab.node("node-1");
      for (const [address, port] of [
        [vips[0], 80],
        [vips[1], 80],
        [ipv4, 30080],
        [ipv6, 30080],
      ] as const)
        t.deepEqual(await answerers(lab, address, port), ["default/a", "default/b"], address);
      t.deepEqual(await answerers(lab, lab.node("node-2").ipv4, 30080), ["default/c"]);
      for (const family of [4, 6] as const)
        t.regex(await health(lab, "node-1", family), /"localEndpoints":2,.*200$/, `IPv${family}`);
      t.regex(await health(lab, "node-2"), /"localEndpoints":1,.*200$/);
      // The peer that the pod sees is the client, not a node.
      for (const vip of vips)
        t.regex((await fetchFrom(lab, "external/client", vip, 80)) ?? "none", / peer \[?(::ffff:)?(198\.|2001:db8:)/);

      // The addresses themselves answer, too, to whoever asks.
      const { tor } = lab.plan;
      for (const [at, router] of [tor.ipv4, tor.ipv6].entries())
        t.is((await lab.exec("node/node-1", ["ip", "route", "add", vips[at] ?? "", "via", router])).code, 0);
      for (const from of ["external/client", "default/a", "default/c", "node/node-1"]) {
        for (const vip of vips) {
          const { stdout } = await lab.exec(from, ["ping", "-c", "2", "-i", "0.2", "-W", "20", vip]);
          t.regex(stdout, / 2 received/, `${vip} from ${from}`);
        }
      }

      // Inside it is the service as before: all backends.
      const seen = new Set<string>();
      for (let i = 0; i < 30; i++)
        seen.add((await fetchFrom(lab, "node/node-2", vips[0], 80))?.split(" ")[0] ?? "none");
      t.deepEqual([...seen].sort(), ["default/a", "default/b", "default/c"]);

      await announce(lab, "node-2");
      t.deepEqual(await answerers(lab, vips[0], 80), ["default/c"]);
      await lab.deleteObjects([backend("c", "node-2")]);
      await settled(lab);
      t.is(await fetchFrom(lab, "external/client", vips[0], 80, 1), null, "Local: nobody here, nobody elsewhere");
      t.regex(await health(lab, "node-2"), /"localEndpoints":0,.*503$/);
      t.true((await agentStatus(lab, "node-2")).ok);
    },
  ));

test("flows of clients outside live on while pods come and go, and over a restart of the agent, also several from one port to one pod", (t) =>
  withLab(t, { nodes: 1, objects: [backend("a", "node-1"), service("Cluster")] }, async (lab) => {
    await settled(lab);
    await announce(lab, "node-1");
    const { ipv4, ipv6 } = lab.node("node-1");
    const localPort = 12_345;
    const flows = await Promise.all(
      [
        { kind: "tcp", address: vips[0], port: 80, localPort },
        { kind: "tcp", address: vips[1], port: 80, localPort },
        { kind: "udp", address: vips[0], port: 53, localPort },
        { kind: "udp", address: vips[1], port: 53, localPort },
        { kind: "tcp", address: ipv4, port: 30080, localPort },
        { kind: "tcp", address: ipv6, port: 30080, localPort },
        { kind: "udp", address: ipv4, port: 30053, localPort },
        { kind: "udp", address: ipv6, port: 30053, localPort },
        { kind: "udp", address: vips[0], port: 53 },
      ].map((flow) => beginFlow(lab, "external/client", flow as FlowOptions)),
    );
    const { stdout } = await lab.agent("node-1", ["bpf", "nat", "list"]);
    const renamed = stdout.split("\n").filter((line) => line.includes(`:${localPort}`));
    t.is(renamed.length, 4, `one of two has another port for the pod:\n${stdout}`);
    await lab.applyObjects([backend("b", "node-1"), backend("c", "node-1")]);
    await settled(lab);
    t.deepEqual(await answerers(lab, vips[0], 80, 30), ["default/a", "default/b", "default/c"]);
    await lab.stopAgent("node-1", "SIGKILL");
    t.deepEqual(await answerers(lab, vips[0], 80, 30), ["default/a", "default/b", "default/c"], "nobody watches");
    await lab.startAgent("node-1");
    await lab.deleteObjects([backend("b", "node-1")]);
    await settled(lab);
    t.deepEqual(await answerers(lab, vips[0], 80, 20), ["default/a", "default/c"]);
    for (const flow of flows) {
      const { sent, answered, from } = await flow.end();
      t.is(answered, sent);
      t.deepEqual(from, ["default/a"]);
    }
  }));

const oneNode = sharedLab({
  nodes: 1,
  externals: ["client", "stranger"],
  objects: [backend("a", "node-1"), service("Local")],
});

oneNode("policy of the pods decides who outside may use a service", async (t, lab) => {
  await settled(lab);
  await announce(lab, "node-1");
  const { stdout } = await lab.exec("external/client", ["ip", "-4", "-br", "addr", "show", "scope", "global"]);
  const own = /(\d+\.\d+\.\d+\.\d+)\//.exec(stdout)?.[1] ?? "none";
  const policy = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "backend", namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "backend" } },
      ingress: [{ from: [{ ipBlock: { cidr: `${own}/32` } }], ports: [{ port: 8080 }] }],
    },
  };
  await lab.applyObjects([policy]);
  await settled(lab);
  t.regex((await fetchFrom(lab, "external/client", vips[0], 80)) ?? "none", /^default\/a/);
  t.is(await fetchFrom(lab, "external/stranger", vips[0], 80, 1), null);
  t.is(await fetchFrom(lab, "external/client", await podAddress(lab, "default/a"), 9000, 1), null);
  await lab.deleteObjects([policy]);
  await settled(lab);
});

oneNode("a load balancer's address is for clients of its source ranges, its node ports for all", async (t, lab) => {
  await settled(lab);
  await announce(lab, "node-1");
  const own = async (family: "-4" | "-6") => {
    const { stdout } = await lab.exec("external/client", ["ip", family, "-br", "addr", "show", "scope", "global"]);
    return `${/(\S+)\/\d+/.exec(stdout)?.[1] ?? "none"}/${family === "-4" ? 32 : 128}`;
  };
  const limited = service("Local");
  const ranges = [await own("-4"), await own("-6")];
  const apply = async (fields: object, annotations: object = {}) => {
    const { metadata, spec } = limited;
    await lab.applyObjects([{ ...limited, metadata: { ...metadata, annotations }, spec: { ...spec, ...fields } }]);
    await settled(lab);
  };
  const reach = async (from: string) => {
    const { ipv4 } = lab.node("node-1");
    const seen: string[] = [];
    for (const [name, address, port] of [
      ["v4", vips[0], 80],
      ["v6", vips[1], 80],
      ["node port", ipv4, 30080],
    ] as const)
      if ((await fetchFrom(lab, from, address, port, 1)) !== null) seen.push(name);
    return seen.join(", ");
  };
  await apply({ loadBalancerSourceRanges: ranges });
  t.is(await reach("external/client"), "v4, v6, node port");
  t.is(await reach("external/stranger"), "node port");
  const traced = async (client: string) =>
    (await lab.agent("node-1", ["service", "trace", client, `${vips[0]}:80`])).stdout;
  t.regex(await traced(ranges[0]?.split("/")[0] ?? ""), /flow from port \d+[\s\S]*gets: A BACKEND, the only one/);
  t.regex(await traced("198.18.0.7"), /gets: DROPPED, .*no source range holds it/);
  await apply({ loadBalancerSourceRanges: ranges }, { "service.cilium.io/src-ranges-policy": "deny" });
  t.is(await reach("external/client"), "node port");
  t.is(await reach("external/stranger"), "v4, v6, node port");
  await apply({ loadBalancerSourceRanges: [ranges[0]] });
  t.is(await reach("external/client"), "v4, node port", "no range of IPv6");
  const { problems, drops } = await agentStatus(lab, "node-1");
  t.true(problems.some(({ message }) => message.includes("all ranges are of IPv4")));
  t.true(drops.some(({ reason }) => reason === "the service is not for clients of this address"));
  await apply({});
  t.is(await reach("external/stranger"), "v4, v6, node port");
});
