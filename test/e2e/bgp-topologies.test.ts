import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import test, { type ExecutionContext } from "ava";
import type { BgpPathDto, BgpPeerDto, RouteDto } from "../../src/api/dto.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import { type NodePlan, type RouterDaemon, routerDaemons } from "../../src/lab/plan.ts";
import { kubeRouterArgs, kubeRouterPidFile } from "../../src/lab/kube-router.ts";
import { runningProcess } from "../../src/lab/processes.ts";
import { mustRun } from "../../src/lab/run.ts";
import { ownApiServerScript } from "../support/api-server-process.ts";
import { answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

/** Polls until it is as expected; a difference that stays is shown. */
async function becomes<T>(t: ExecutionContext, lab: Lab, get: () => Promise<T>, expected: T): Promise<void> {
  const what = JSON.stringify(expected);
  await lab
    .until(what, async () => isDeepStrictEqual(await get(), expected))
    .catch(async () => {
      t.deepEqual(await get(), expected);
    });
}

/** A lab with a pod on each of the last two nodes, and agents that know all of their sessions. */
function withTopology(
  t: ExecutionContext,
  options: Pick<LabOptions, "topology" | "agent" | "tor"> & { readonly nodes: number },
  work: (lab: Lab, peersOf: (node: string) => Promise<readonly BgpPeerDto[]>) => Promise<void>,
): Promise<void> {
  const objects = [pod("near", { node: `node-${options.nodes - 1}` }), pod("far", { node: `node-${options.nodes}` })];
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
    // Whatever is done to sessions: one that goes on must not notice.
    const flows = await Promise.all(
      ([4, 6] as const).map(async (family) =>
        beginFlow(lab, "default/near", {
          kind: "tcp",
          address: await podAddress(lab, "default/far", family),
          port: 8080,
          lateMs: 30_000,
        }),
      ),
    );
    try {
      await work(lab, peersOf);
    } finally {
      for (const flow of flows) {
        const { sent, answered } = await flow.end();
        t.true(sent > 0 && answered === sent, `${answered} of ${sent}`);
      }
    }
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
    await becomes(t, lab, () => pathsTo(lab, "node-1", two), [
      `${two.podCidr4} ${two.ipv4} by ${two.ipv4}`,
      `${two.podCidr6} ${two.ipv6} by ${two.ipv4}`,
    ]);
    await becomes(t, lab, () => kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
    const { code } = await lab.exec("default/near", ["ping", "-c", "1", "-W", "10", lab.plan.externals[0]?.ipv4 ?? ""]);
    t.is(code, 0, "as the node, to a host that knows no pod");
  }));

longTest("IPv6 sessions bring both families", (t) =>
  withTopology(t, { topology: "ipv6", nodes: 2 }, async (lab, peersOf) => {
    const two = lab.node("node-2");
    t.deepEqual(sorted(await peersOf("node-1")), [`${two.ipv6} node-2`, `${lab.plan.tor.ipv6} null`].sort());
    await becomes(t, lab, () => pathsTo(lab, "node-1", two), [
      `${two.podCidr4} ${two.ipv4} by ${two.ipv6}`,
      `${two.podCidr6} ${two.ipv6} by ${two.ipv6}`,
    ]);
    await becomes(t, lab, () => kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
  }),
);

const reflectors = (tor: RouterDaemon) => (t: ExecutionContext) =>
  withTopology(t, { topology: "reflectors", nodes: 3, tor }, async (lab, peersOf) => {
    const [one, three] = [lab.node("node-1"), lab.node("node-3")];
    const { tor } = lab.plan;
    t.deepEqual(sorted(await peersOf("node-2")), [`${one.ipv4} node-1`, `${tor.ipv4} null`].sort());
    t.is((await peersOf("node-1")).length, 3);
    const reflected = async (by: string) => {
      const paths = [`${three.podCidr4} ${three.ipv4} by ${by}`, `${three.podCidr6} ${three.ipv6} by ${by}`];
      return isDeepStrictEqual(await pathsTo(lab, "node-2", three), paths);
    };
    await lab.until("one of the two tells", async () => (await reflected(one.ipv4)) || (await reflected(tor.ipv4)));
    const [path] = await ask<readonly BgpPathDto[]>(lab, "node-2", "bgp", "routes", "node-3");
    t.is(path?.originatorId, three.ipv4);
    await becomes(t, lab, () => kindsTo(lab, "node-2", "node-3"), ["direct", "direct"]);

    await lab.stopBgp("node-1");
    const state = async () => (await peersOf("node-2")).find(({ node }) => node === "node-1")?.state;
    await lab.until("the session with the node is down", async () => (await state()) !== "ESTABLISHED");
    await lab.until("the router is the only one that tells", () => reflected(tor.ipv4));
    await becomes(t, lab, () => kindsTo(lab, "node-2", "node-3"), ["direct", "direct"]);
    t.is(await answererOf(lab, "default/near", await podAddress(lab, "default/far"), 8080), "default/far");
  });

const perNodeAsn = (tor: RouterDaemon) => (t: ExecutionContext) =>
  withTopology(t, { topology: "per-node-asn", nodes: 2, tor }, async (lab, peersOf) => {
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const addresses = lab.plan.routers.map(({ ipv4 }) => ipv4);
    t.not(one.as, two.as);
    t.deepEqual(sorted(await peersOf("node-1")), addresses.map((address) => `${address} null`).sort());
    const told = async () => {
      const paths = await ask<readonly BgpPathDto[]>(lab, "node-1", "bgp", "routes", "node-2");
      t.true(paths.every(({ peer }) => addresses.includes(peer ?? "")));
      return paths.map(({ nextHop, asPath }) => `${nextHop} ${asPath}`).sort();
    };
    await becomes(t, lab, told, [`${two.ipv4} 65000 ${two.as}`, `${two.ipv6} 65000 ${two.as}`]);
    await becomes(t, lab, () => kindsTo(lab, "node-1", "node-2"), ["direct", "direct"]);
  });

const ecmp = (tor: RouterDaemon) => (t: ExecutionContext) =>
  withTopology(t, { topology: "ecmp", nodes: 2, tor }, async (lab, peersOf) => {
    const two = lab.node("node-2");
    const { routers } = lab.plan;
    t.deepEqual(
      sorted(await peersOf("node-1")),
      routers.flatMap(({ ipv4, ipv6 }) => [`${ipv4} null`, `${ipv6} null`]).sort(),
    );
    const routes = () => ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2");
    const waysBy = async () =>
      (await routes()).map(({ via, kind, device }) => [kind, ...[...via].sort(), ...[...device].sort()].join(" "));
    const ways = (["ipv4", "ipv6"] as const).map((family) =>
      ["fabric", ...routers.map((router) => router[family]).sort(), "eth0", "eth1"].join(" "),
    );
    await becomes(t, lab, waysBy, ways);

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
        beginFlow(lab, "default/near", { kind: "tcp", address: i % 2 === 0 ? far4 : far6, port: 8080, lateMs: 30_000 }),
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
    await becomes(t, lab, waysBy, ways);
    await connect();
  });

const ecmpTitle = "ECMP: both uplinks carry connections both ways, and without one of them all go on by the other";
for (const tor of routerDaemons) {
  const by = `(routers: ${tor})`;
  longTest(
    `route reflectors: clients learn of each other by a node and by a router, and lose nothing with one of the two ${by}`,
    reflectors(tor),
  );
  longTest(
    `an AS number for each node: two routers tell of every node, and the next hop is the node ${by}`,
    perNodeAsn(tor),
  );
  (tor === "bird" ? test : longTest)(`${ecmpTitle} ${by}`, ecmp(tor));
}

/** Records what it was called with, and writes the routes of two nodes' mesh as kube-router does, from the node's address alone. */
const standIn = `#!/bin/sh
cd "$(dirname "$0")" && printf '%s\\n' "$@" > "$NODE_NAME.args"
set -- $(ip -4 -o addr show dev eth0 | tr './' '  ')
lab=$6 own=$7 other=$((3 - $7))
six=$(ip -6 -o addr show dev eth0 scope global | sed 's/.*inet6 //; s/::.*//')
ip route replace "10.$((64 + lab)).$other.0/24" via "172.30.$lab.$other" proto 17
ip route replace "fd00:10:$(printf %x $((64 + lab))):$other::/64" via "$six::$other" proto 17
exec sleep infinity
`;

test("a kube-router that is given runs on each node with its flags, and is stopped and started as what plays it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-kube-router-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const kubeRouter = join(folder, "kube-router");
  await writeFile(kubeRouter, standIn, { mode: 0o755 });
  const options = {
    topology: "mesh",
    nodes: 2,
    agents: false,
    api: { kind: "script", path: ownApiServerScript },
    kubeRouter,
  } as const;
  await withLab(t, options, async (lab) => {
    for (const node of lab.plan.nodes) {
      const args = join(folder, `${node.name}.args`);
      t.deepEqual(
        (await readFile(args, "utf8")).trimEnd().split("\n"),
        kubeRouterArgs(lab.plan, node, { gracefulRestart: true }),
      );
      t.false(existsSync(join(node.folder, "gobgpd.pid")), "nothing plays it");
    }
    const two = lab.node("node-2");
    const runs = async () => (await runningProcess(kubeRouterPidFile(two))) !== null;
    t.true(await runs());
    await lab.stopBgp("node-2");
    t.false(await runs());
    await lab.startBgp("node-2");
    t.true(await runs());
  });
});
