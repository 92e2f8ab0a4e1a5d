/** Services for clients outside that may come to any node, as a fabric's ECMP brings them, wherever the backends are. */
import { spawn } from "node:child_process";
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;
const backend = (name: string, node: string) => pod(name, { node, labels: { app: "backend" }, ports });

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [
      { name: "http", port: 80, targetPort: 8080, nodePort: 30080 },
      { name: "udp", port: 53, targetPort: 9000, protocol: "UDP", nodePort: 30053 },
    ],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

/** The fabric leads the addresses to these nodes, as BGP would that announces them. */
async function announce(lab: Lab, ...names: readonly string[]): Promise<void> {
  for (const [family, vip] of [
    ["-4", vips[0]],
    ["-6", vips[1]],
  ] as const) {
    const hops = names.map((name) => (family === "-4" ? lab.node(name).ipv4 : lab.node(name).ipv6));
    const ways = hops.length === 1 ? ["via", hops[0] ?? ""] : hops.flatMap((hop) => ["nexthop", "via", hop]);
    const { code, stderr } = await lab.exec("tor", ["ip", family, "route", "replace", vip, ...ways]);
    if (code !== 0) throw new Error(stderr);
  }
}

/** Who answers `count` connections of the client outside, and as whom the client was seen. */
async function answerers(lab: Lab, address: string, port: number, from = "external/client", count = 24) {
  const names = new Set<string>();
  const peers = new Set<string>();
  for (let i = 0; i < count; i++) {
    const answer = (await fetchFrom(lab, from, address, port)) ?? "none";
    names.add(answer.split(" ")[0] ?? "none");
    peers.add(/ peer \[?(?:::ffff:)?([0-9a-f.:]+?)\]?(?::\d+)?( |$)/.exec(answer)?.[1] ?? "nobody");
  }
  return { names: [...names].sort(), peers: [...peers].sort() };
}

/** The client's own addresses. */
async function clientAddresses(lab: Lab): Promise<readonly string[]> {
  const { stdout } = await lab.exec("external/client", ["ip", "-br", "addr", "show", "scope", "global"]);
  return [...stdout.matchAll(/([0-9a-f.:]+)\/\d+/g)].map((match) => match[1] ?? "");
}

/** Names of all sides: every address of the service, and the ports of the first node, to all three pods. */
async function reachesAll(t: ExecutionContext, lab: Lab): Promise<ReadonlySet<string>> {
  const peers = new Set<string>();
  const { ipv4, ipv6 } = lab.node("node-1");
  for (const [address, port] of [
    [vips[0], 80],
    [vips[1], 80],
    [ipv4, 30080],
    [ipv6, 30080],
  ] as const) {
    const seen = await answerers(lab, address, port);
    t.deepEqual(seen.names, ["default/a", "default/b", "default/c"], address);
    for (const peer of seen.peers) peers.add(peer);
  }
  return peers;
}

const three = [backend("a", "node-1"), backend("b", "node-2"), backend("c", "node-2")];

test("a client outside reaches backends on other nodes: they see the node that it came to", (t) =>
  withLab(t, { nodes: 2, objects: [...three, service] }, async (lab) => {
    await settled(lab);
    await announce(lab, "node-1");
    const peers = await reachesAll(t, lab);
    const { ipv4, ipv6 } = lab.node("node-1");
    t.deepEqual([...peers].sort(), [ipv4, ipv6, ...(await clientAddresses(lab))].sort());

    // Flows live on while backends come and go, and while nobody watches.
    const flows = [
      await beginFlow(lab, "external/client", { kind: "tcp", address: vips[0], port: 80 }),
      await beginFlow(lab, "external/client", { kind: "tcp", address: vips[1], port: 80 }),
      await beginFlow(lab, "external/client", { kind: "udp", address: vips[0], port: 53 }),
      await beginFlow(lab, "external/client", { kind: "udp", address: ipv6, port: 30053 }),
    ];
    await lab.applyObjects([backend("d", "node-2"), backend("e", "node-1")]);
    await settled(lab);
    await lab.stopAgent("node-1", "SIGKILL");
    t.deepEqual((await answerers(lab, vips[0], 80)).names.includes("none"), false);
    await lab.startAgent("node-1");
    await lab.deleteObjects([backend("d", "node-2"), backend("e", "node-1")]);
    await settled(lab);
    for (const flow of flows) {
      const { sent, answered, from } = await flow.end();
      t.is(answered, sent);
      t.is(from.length, 1);
    }

    // A new backend is used, one that left is not.
    await lab.deleteObjects([backend("a", "node-1"), backend("b", "node-2")]);
    await settled(lab);
    for (const vip of vips) t.deepEqual((await answerers(lab, vip, 80, "external/client", 12)).names, ["default/c"]);
    await lab.deleteObjects([backend("c", "node-2")]);
    await settled(lab);
    t.is(await fetchFrom(lab, "external/client", vips[0], 80, 1), null);
    t.is(await fetchFrom(lab, "external/client", lab.node("node-2").ipv4, 30080), null, "refused: curl does not wait");
  }));

test("direct return: backends see the client, and a flow that the fabric moves to another node goes on", (t) =>
  withLab(t, { nodes: 3, objects: [...three, service], agent: { loadBalancerMode: "dsr" } }, async (lab) => {
    await settled(lab);
    await announce(lab, "node-1");
    const peers = await reachesAll(t, lab);
    t.deepEqual([...peers].sort(), [...(await clientAddresses(lab))].sort());
    // Who is inside asks a node beside that of the backend, which may be its own: answers come by way of the node that was asked.
    const { ipv4, ipv6 } = lab.node("node-3");
    for (const address of [ipv4, ipv6])
      for (const from of ["default/a", "node/node-1"])
        t.deepEqual((await answerers(lab, address, 30080, from)).names, ["default/a", "default/b", "default/c"], from);

    await announce(lab, "node-3"); // where no backend is
    const flows = await Promise.all(
      Array.from({ length: 8 }, (_, i) => {
        const [kind, port] = i < 6 ? (["tcp", 80] as const) : (["udp", 53] as const);
        return beginFlow(lab, "external/client", { kind, address: vips[i % 2] ?? "", port });
      }),
    );
    await announce(lab, "node-1");
    await announce(lab, "node-2", "node-3");
    t.deepEqual((await answerers(lab, vips[0], 80)).names, ["default/a", "default/b", "default/c"]);
    await announce(lab, "node-1");
    for (const flow of flows) {
      const { sent, answered, from } = await flow.end();
      t.is(answered, sent, "no answer is missing");
      t.is(from.length, 1);
    }
  }));

test("the node's own servers cannot have a port that is a service's; pods can, and so can loopback", (t) =>
  withLab(t, { nodes: 1, objects: [backend("a", "node-1"), service] }, async (lab) => {
    await settled(lab);
    const bind = async (place: string, kind: "tcp" | "udp", address: string, port: number) => {
      const open =
        kind === "tcp"
          ? `s = require("net").createServer(); s.listen(${port}, "${address}", done)`
          : `s = require("dgram").createSocket("${address.includes(":") ? "udp6" : "udp4"}"); s.bind(${port}, "${address}", done)`;
      const code = `const done = () => { console.log("bound"); process.exit() }; let ${open}; s.on("error", (e) => console.log(e.code))`;
      return (await lab.exec(place, [process.execPath, "-e", code])).stdout.trim();
    };
    for (const address of ["0.0.0.0", "::", lab.node("node-1").ipv4]) {
      t.is(await bind("node/node-1", "tcp", address, 30080), "EADDRINUSE", address);
      t.is(await bind("node/node-1", "udp", address, 30053), "EADDRINUSE", address);
      t.is(await bind("node/node-1", "udp", address, 30080), "bound", "another protocol's");
    }
    t.is(await bind("node/node-1", "tcp", "127.0.0.1", 30080), "bound");
    t.is(await bind("node/node-1", "tcp", "0.0.0.0", 30081), "bound");
    t.is(await bind("default/a", "tcp", "0.0.0.0", 30080), "bound");
    await lab.deleteObjects([service]);
    await settled(lab);
    t.is(await bind("node/node-1", "tcp", "0.0.0.0", 30080), "bound");
  }));

/** A server outside that tells who asks. */
function serveOutside(t: ExecutionContext, lab: Lab): Promise<void> {
  const netns = lab.plan.externals[0]?.netns ?? "";
  const code =
    'require("http").createServer((q, a) => a.end(q.socket.remoteAddress)).listen(80, "::", () => console.log("up"))';
  const server = spawn("ip", ["netns", "exec", netns, process.execPath, "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => server.kill("SIGKILL"));
  return new Promise((resolve) => server.stdout.once("data", () => resolve()));
}

test("masquerading: pods go out in their node's name, and inside as themselves", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      objects: [pod("a", { node: "node-1" }), pod("b", { node: "node-2" })],
      agent: { masqueradeIpv4: true, masqueradeIpv6: true },
    },
    async (lab) => {
      await settled(lab);
      await serveOutside(t, lab);
      const [client4 = "", client6 = ""] = await clientAddresses(lab);
      const { ipv4, ipv6 } = lab.node("node-1");
      // What BGP leads to knows the way back to pods.
      t.is(await fetchFrom(lab, "default/a", client4, 80), `::ffff:${await podAddress(lab, "default/a")}`);
      t.is(await fetchFrom(lab, "default/a", client6, 80), await podAddress(lab, "default/a", 6));
      // The same host under addresses that only a default route leads to.
      const far = { 4: "192.88.99.9", 6: "2001:db8:ffff::9" } as const;
      const { tor } = lab.plan;
      for (const [place, ...words] of [
        ["external/client", "addr", "add", `${far[4]}/32`, "dev", "eth0"],
        ["external/client", "addr", "add", `${far[6]}/128`, "dev", "eth0", "nodad"],
        ["tor", "route", "add", far[4], "via", client4],
        ["tor", "route", "add", far[6], "via", client6],
        ["node/node-1", "route", "add", "default", "via", tor.ipv4],
        ["node/node-1", "route", "add", "default", "via", tor.ipv6],
      ] as const) {
        const { code, stderr } = await lab.exec(place, ["ip", ...words]);
        t.is(code, 0, stderr);
      }
      t.is(await fetchFrom(lab, "default/a", far[4], 80), `::ffff:${ipv4}`);
      t.is(await fetchFrom(lab, "default/a", far[6], 80), ipv6);
      for (const address of [far[4], far[6]]) {
        const pings = await lab.exec("default/a", ["ping", "-c", "3", "-i", "0.2", "-W", "20", address]);
        t.regex(pings.stdout, / 3 received/);
      }
      t.is(await fetchFrom(lab, "node/node-1", far[4], 80), `::ffff:${ipv4}`, "the node itself is in nobody's way");
      for (const family of [4, 6] as const) {
        const answer = (await fetchFrom(lab, "default/a", await podAddress(lab, "default/b", family), 8080)) ?? "none";
        t.true(answer.includes(await podAddress(lab, "default/a", family)), answer);
      }
    },
  ));
