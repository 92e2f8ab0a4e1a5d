import test, { type ExecutionContext } from "ava";
import type { BgpPathDto, BgpPeerDto, RouteDto } from "../../src/api/dto.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import type { NodePlan } from "../../src/lab/plan.ts";
import { mustRun } from "../../src/lab/run.ts";
import { answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

/** A lab with a pod on the first node and one on the last, and an agent that knows all of its sessions. */
function withTopology(
  t: ExecutionContext,
  options: Pick<LabOptions, "topology" | "agent"> & { readonly nodes: number },
  work: (lab: Lab, peersOf: (node: string) => Promise<readonly BgpPeerDto[]>) => Promise<void>,
): Promise<void> {
  const objects = [pod("near", { node: "node-1" }), pod("far", { node: `node-${options.nodes}` })];
  return withLab(t, { ...options, objects }, async (lab) => {
    await settled(lab);
    const peersOf = (node: string) => ask<readonly BgpPeerDto[]>(lab, node, "bgp", "peers");
    for (const { name } of lab.plan.nodes)
      await lab.until(`every session of ${name} is established`, async () => {
        const peers = await peersOf(name);
        return peers.length > 0 && peers.every(({ state }) => state === "ESTABLISHED");
      });
    for (const family of [4, 6] as const) {
      t.is(await answererOf(lab, "default/near", await podAddress(lab, "default/far", family), 8080), "default/far");
      t.is(await answererOf(lab, "default/far", await podAddress(lab, "default/near", family), 8080), "default/near");
    }
    await work(lab, peersOf);
  });
}

const sorted = (peers: readonly BgpPeerDto[]) => peers.map(({ address, node }) => `${address} ${node}`).sort();

/** "PREFIX NEXTHOP by PEER" of the best paths to a node's pods, IPv4 first. */
async function pathsTo(lab: Lab, from: string, { name, podCidr4 }: NodePlan): Promise<readonly string[]> {
  const paths = await ask<readonly BgpPathDto[]>(lab, from, "bgp", "routes", name);
  return [...paths]
    .sort((a, b) => Number(b.prefix === podCidr4) - Number(a.prefix === podCidr4))
    .map(({ prefix, nextHop, peer }) => `${prefix} ${nextHop} by ${peer}`);
}

async function kindsTo(lab: Lab, from: string, to: string): Promise<readonly RouteDto["kind"][]> {
  return (await ask<readonly RouteDto[]>(lab, from, "routes", to)).map(({ kind }) => kind);
}

test("mesh: the nodes alone tell each other; the world outside is behind a gateway", (t) =>
  withTopology(t, { topology: "mesh", nodes: 2, agent: { masqueradeIpv4: true } }, async (lab, peersOf) => {
    const two = lab.node("node-2");
    t.deepEqual(sorted(await peersOf("node-1")), [`${two.ipv4} node-2`]);
    t.deepEqual(await pathsTo(lab, "node-1", two), [
      `${two.podCidr4} ${two.ipv4} by ${two.ipv4}`,
      `${two.podCidr6} ${two.ipv6} by ${two.ipv4}`,
    ]);
    t.deepEqual(await kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
    const { code } = await lab.exec("default/near", ["ping", "-c", "1", "-W", "10", lab.plan.externals[0]?.ipv4 ?? ""]);
    t.is(code, 0, "as the node, to a host that knows no pod");
  }));

test("IPv6 sessions bring both families", (t) =>
  withTopology(t, { topology: "ipv6", nodes: 2 }, async (lab, peersOf) => {
    const two = lab.node("node-2");
    t.deepEqual(sorted(await peersOf("node-1")), [`${two.ipv6} node-2`, `${lab.plan.tor.ipv6} null`].sort());
    t.deepEqual(await pathsTo(lab, "node-1", two), [
      `${two.podCidr4} ${two.ipv4} by ${two.ipv6}`,
      `${two.podCidr6} ${two.ipv6} by ${two.ipv6}`,
    ]);
    t.deepEqual(await kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
  }));

test("route reflectors: clients learn of each other by a node and by a router, and lose nothing with one of the two", (t) =>
  withTopology(t, { topology: "reflectors", nodes: 3 }, async (lab, peersOf) => {
    const [one, two, three] = [lab.node("node-1"), lab.node("node-2"), lab.node("node-3")];
    const { tor } = lab.plan;
    t.deepEqual(sorted(await peersOf("node-2")), [`${one.ipv4} node-1`, `${tor.ipv4} null`].sort());
    t.is((await peersOf("node-1")).length, 3);
    const reflected = async (by: string) => {
      const paths = await pathsTo(lab, "node-2", three);
      return (
        String(paths) ===
        String([`${three.podCidr4} ${three.ipv4} by ${by}`, `${three.podCidr6} ${three.ipv6} by ${by}`])
      );
    };
    t.true((await reflected(one.ipv4)) || (await reflected(tor.ipv4)), String(await pathsTo(lab, "node-2", three)));
    t.deepEqual(await kindsTo(lab, "node-2", "node-3"), ["direct", "direct"]);
    const [path] = await ask<readonly BgpPathDto[]>(lab, "node-2", "bgp", "routes", "node-3");
    t.is(path?.originatorId, three.ipv4);

    await lab.stopBgp("node-1");
    await lab.until("the router is the only one that tells", () => reflected(tor.ipv4));
    const routes = await ask<readonly RouteDto[]>(lab, "node-2", "routes", "node-3");
    t.true(
      routes.every(({ present, why }) => present && why === null),
      JSON.stringify(routes),
    );
    t.is((await peersOf("node-2")).find(({ node }) => node === "node-1")?.state === "ESTABLISHED", false);
    t.is(two.as, three.as);
  }));

test("an AS number for each node: two routers tell of every node, and the next hop is the node", (t) =>
  withTopology(t, { topology: "per-node-asn", nodes: 2 }, async (lab, peersOf) => {
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const addresses = lab.plan.routers.map(({ ipv4 }) => ipv4);
    t.not(one.as, two.as);
    t.deepEqual(sorted(await peersOf("node-1")), addresses.map((address) => `${address} null`).sort());
    const paths = await ask<readonly BgpPathDto[]>(lab, "node-1", "bgp", "routes", "node-2");
    t.deepEqual(paths.map(({ nextHop }) => nextHop).sort(), [two.ipv4, two.ipv6].sort());
    for (const { asPath, peer } of paths) {
      t.is(asPath, `65000 ${two.as}`);
      t.true(addresses.includes(peer ?? ""));
    }
    t.deepEqual(await kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
  }));

test("ECMP: both uplinks carry connections both ways, and without one of them all go on by the other", (t) =>
  withTopology(t, { topology: "ecmp", nodes: 2 }, async (lab, peersOf) => {
    const two = lab.node("node-2");
    const { routers } = lab.plan;
    t.deepEqual(
      sorted(await peersOf("node-1")),
      routers.flatMap(({ ipv4, ipv6 }) => [`${ipv4} null`, `${ipv6} null`]).sort(),
    );
    const routes = () => ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2");
    for (const { podCidr, via, kind, device } of await routes()) {
      const family = podCidr === two.podCidr4 ? "ipv4" : "ipv6";
      t.deepEqual([...via].sort(), routers.map((router) => router[family]).sort());
      t.deepEqual([...device].sort(), ["eth0", "eth1"]);
      t.is(kind, "fabric");
    }

    // What each router forwards of new connections to the pods' port, and of their answers.
    for (const { netns } of routers) {
      const nft = (...words: readonly string[]) => mustRun(["ip", "netns", "exec", netns, "/usr/sbin/nft", ...words]);
      await nft("add table inet seen");
      await nft("add chain inet seen forward { type filter hook forward priority 0; }");
      await nft("add rule inet seen forward tcp dport 8080 tcp flags & (syn|ack) == syn counter");
      await nft("add rule inet seen forward tcp sport 8080 tcp flags & (syn|ack) == (syn|ack) counter");
    }
    const seen = async ({ netns }: { readonly netns: string }) => {
      const text = await mustRun(["ip", "netns", "exec", netns, "/usr/sbin/nft", "list", "table", "inet", "seen"]);
      return [...text.matchAll(/counter packets (\d+)/g)].map(([, packets]) => Number(packets));
    };
    const [far4, far6] = [await podAddress(lab, "default/far", 4), await podAddress(lab, "default/far", 6)];
    const connect = async () => {
      for (const address of [far4, far6]) t.is(await answererOf(lab, "default/near", address, 8080), "default/far");
    };
    // By chance alone one of them is left out in one of 2^30 runs.
    for (let i = 0; i < 16; i++) await connect();
    for (const router of routers) {
      const counts = await seen(router);
      t.is(counts.length, 2);
      t.true(
        counts.every((packets) => packets > 0),
        `${router.netns}: ${counts}`,
      );
    }

    const flows = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        beginFlow(lab, "default/near", { kind: "tcp", address: i % 2 === 0 ? far4 : far6, port: 8080 }),
      ),
    );
    // The cable of one uplink of the other node.
    await mustRun(["ip", "-n", lab.plan.fabric.netns, "link", "set", two.slot, "down"]);
    await lab.until("routes lead through the other", async () =>
      (await routes()).every(({ device }) => String(device) === "eth1"),
    );
    for (let i = 0; i < 4; i++) await connect();
    for (const flow of flows) {
      const { sent, answered } = await flow.end();
      t.is(answered, sent);
    }
    await mustRun(["ip", "-n", lab.plan.fabric.netns, "link", "set", two.slot, "up"]);
    await lab.until("both are taken again", async () => (await routes()).every(({ device }) => device.length === 2));
    await connect();
  }));
