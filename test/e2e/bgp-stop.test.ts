/**
 * kube-router is told to end (SIGTERM), as each rollout does it. Without graceful restart it tells its peers, and routes go on both sides; with it, it says nothing,
 * and packets go on until it is back. Either is in `tandem status` within 2 s.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { BgpPathDto, RouteDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { NodePlan } from "../../src/lab/plan.ts";
import { bgpRoutes } from "../../src/lab/bgp.ts";
import { agentStatus, answererOf, beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";
import { now, problemOf, tells, tellsProblem } from "../support/told.ts";

const objects = [
  pod("client", { node: "node-1" }),
  pod("web", { node: "node-2", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
];
const client = "default/client";
const outside = "external/client";

const has = (code: string, object: string) => (status: StatusDto) => problemOf(status, code, object) !== undefined;

/** How often each of the other ends of a node's sessions was told of an end (NOTIFICATION), by their logs: bird's, and that of node-1's gobgpd if that is what it has. */
async function notifications(lab: Lab, { slot, ipv4 }: NodePlan): Promise<readonly number[]> {
  const bird = (await readFile(join(lab.plan.tor.folder, "bird.log"), "utf8")).split("\n");
  const gobgpd = await readFile(join(lab.node("node-1").folder, "gobgpd.log"), "utf8").catch(() => null);
  const ofNode = (line: string) => line.includes(`"Key":"${ipv4}"`) && line.includes('"received notification"');
  const told = bird.filter((line) => line.includes(`${slot.replaceAll("-", "_")}: Received:`)).length;
  return gobgpd === null ? [told] : [told, gobgpd.split("\n").filter(ofNode).length];
}

/** How many of the pod CIDRs of a node have a route in that kernel. */
async function routesTo(node: NodePlan, netns: string, protocol: string): Promise<number> {
  const routes = await bgpRoutes(netns, protocol);
  return [node.podCidr4, node.podCidr6].filter((cidr) => routes.has(cidr)).length;
}

const ask = async <T>(lab: Lab, ...words: readonly string[]) =>
  JSON.parse((await lab.agent("node-1", [...words, "--json"])).stdout) as T;

const isWell = (status: StatusDto) =>
  status.routes.missing.length === 0 && !status.problems.some(({ code }) => /^(GOBGP|BGP)_/.test(code));

async function well(lab: Lab): Promise<void> {
  for (const node of ["node-1", "node-2"])
    await lab.until(`${node} is well`, async () => isWell(await agentStatus(lab, node)));
}

async function begin(lab: Lab): Promise<{ readonly web: Readonly<Record<4 | 6, string>> }> {
  await settled(lab);
  await well(lab);
  return { web: { 4: await podAddress(lab, "default/web"), 6: await podAddress(lab, "default/web", 6) } };
}

longTest(
  "kube-router that ends without graceful restart says so, routes go on both sides, and connections go on when it is back",
  (t) =>
    withLab(t, { nodes: 2, gracefulRestart: false, objects }, async (lab) => {
      const { web } = await begin(lab);
      const [one, two] = [lab.node("node-1"), lab.node("node-2")];
      const flow = await beginFlow(lab, client, { kind: "tcp", address: web[4], port: 8080, lateMs: 60_000 });
      try {
        // Sessions that collide as they come up are told of it, too.
        const before = await notifications(lab, two);
        const [other, own] = [now(t, lab, "node-1"), now(t, lab, "node-2")];
        await Promise.all([
          lab.stopBgp("node-2", "SIGTERM"),
          tellsProblem(other, "BGP_PEER_DOWN", "node-2"),
          tells(other, "its routes went", ({ routes }) => routes.missing.length === 2),
          tellsProblem(own, "GOBGP_UNREACHABLE", ""),
        ]);
        t.deepEqual(
          await notifications(lab, two),
          before.map((times) => times + 1),
        );
        const rows = await ask<readonly RouteDto[]>(lab, "routes", "node-2");
        t.deepEqual(
          rows.map(({ present, why }) => [present, why?.code]),
          [
            [false, "peer-down"],
            [false, "peer-down"],
          ],
        );
        await lab.until(
          "the router has none to its pods",
          async () => (await routesTo(two, lab.plan.tor.netns, "bird")) === 0,
        );
        // It deletes its own as far as it gets before its end; what is left in the kernel is what counts.
        const left = await routesTo(one, two.netns, "17");
        t.log(`node-2 itself: ${left} of 2 routes to node-1 are left`);
        await tells(now(t, lab, "node-2"), "what is left", ({ routes }) => routes.missing.length === 2 - left);
        for (const address of [web[4], web[6]]) t.is(await fetchFrom(lab, client, address, 8080, 2), null);

        await lab.startBgp("node-2");
        await lab.waitForRoutes();
        await well(lab);
        for (const address of [web[4], web[6]]) t.is(await answererOf(lab, client, address, 8080), "default/web");
      } finally {
        const { sent, answered } = await flow.end();
        t.is(answered, sent, "the connection goes on");
      }
    }),
);

test("kube-router that ends with graceful restart says nothing, every packet finds its way meanwhile, and status tells what is going on", (t) =>
  withLab(t, { nodes: 2, gracefulRestart: true, objects }, async (lab) => {
    const { web } = await begin(lab);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const kept = async () => [
      await routesTo(two, one.netns, "17"),
      await routesTo(one, two.netns, "17"),
      await routesTo(two, lab.plan.tor.netns, "bird"),
    ];
    const flows = await Promise.all(
      [client, outside].flatMap((from) =>
        ([4, 6] as const).map((family) =>
          beginFlow(lab, from, { kind: "tcp", address: web[family], port: 8080, lateMs: 30_000 }),
        ),
      ),
    );
    const datagrams = await beginFlow(lab, client, { kind: "udp", address: web[4], port: 9000 });
    try {
      const before = await notifications(lab, two);
      const [other, own] = [now(t, lab, "node-1"), now(t, lab, "node-2")];
      await Promise.all([
        lab.stopBgp("node-2", "SIGTERM"),
        tellsProblem(other, "BGP_PEER_DOWN", "node-2"),
        tellsProblem(own, "GOBGP_UNREACHABLE", ""),
      ]);
      t.deepEqual(await notifications(lab, two), before);
      t.deepEqual(await kept(), [2, 2, 2]);
      const rows = await ask<readonly RouteDto[]>(lab, "routes", "node-2");
      t.deepEqual(
        rows.map(({ present, why }) => [present, why?.code]),
        [
          [true, "stale-path"],
          [true, "stale-path"],
        ],
      );
      const paths = await ask<readonly BgpPathDto[]>(lab, "bgp", "routes", "node-2");
      t.true(paths.length === 2 && paths.every(({ stale }) => stale));
      for (const asking of [client, outside])
        for (const address of [web[4], web[6]]) t.is(await answererOf(lab, asking, address, 8080), "default/web");
      const { sent, answered } = await datagrams.end();
      t.is(answered, sent, "no datagram is lost while it is away");

      await lab.startBgp("node-2");
      const stands = async () => !has("BGP_PEER_DOWN", "node-2")(await agentStatus(lab, "node-1"));
      await lab.until("the session stands", stands);
      const isTold = async () => {
        const told = await ask<readonly BgpPathDto[]>(lab, "bgp", "routes", "node-2");
        return told.length === 2 && told.every(({ stale }) => !stale);
      };
      await lab.until("its paths are told anew", isTold);
      await well(lab);
      await lab.waitForRoutes();
      t.deepEqual(await kept(), [2, 2, 2]);
    } finally {
      for (const flow of flows) {
        const { sent, answered } = await flow.end();
        t.is(answered, sent, "the connection goes on");
      }
    }
  }));

longTest(
  "a kube-router that does not come back within the time of graceful restart: routes hold until then, and go with a reason",
  (t) =>
    withLab(t, { nodes: 2, gracefulRestart: true, restartSeconds: 10, objects }, async (lab) => {
      const { web } = await begin(lab);
      const [one, two] = [lab.node("node-1"), lab.node("node-2")];
      const isMissing = ({ routes }: StatusDto) => routes.missing.length === 2;
      const rows = async () => {
        const told = await ask<readonly RouteDto[]>(lab, "routes", "node-2");
        return told.map(({ present, why }) => `${present} ${why?.code}`);
      };
      const flow = await beginFlow(lab, client, { kind: "tcp", address: web[4], port: 8080, lateMs: 60_000 });
      const datagrams = await beginFlow(lab, client, { kind: "udp", address: web[4], port: 9000 });
      try {
        const ended = now(t, lab, "node-1");
        await lab.stopBgp("node-2", "SIGTERM");
        await tellsProblem(ended, "BGP_PEER_DOWN", "node-2");
        t.deepEqual(await rows(), ["true stale-path", "true stale-path"]);
        const { sent, answered } = await datagrams.end();
        t.is(answered, sent, "no datagram is lost while the time is not over");
        t.is(await routesTo(two, one.netns, "17"), 2);

        // Of the whole time; that the reason comes with it is looked at below.
        const status = await tells({ ...ended, withinMs: 15_000 }, "the time is over", isMissing);
        t.true(Date.now() - ended.since > 8_000, "not before it is over");
        t.truthy(problemOf(status, "BGP_PEER_DOWN", "node-2"));
        for (const text of status.routes.missing)
          t.regex(text, /node-2: the session with node-2 .* not established since/);
        t.deepEqual(await rows(), ["false peer-down", "false peer-down"]);
        t.is(await routesTo(two, one.netns, "17"), 0);
        await lab.until(
          "the router has none either",
          async () => (await routesTo(two, lab.plan.tor.netns, "bird")) === 0,
        );
        t.is(await fetchFrom(lab, client, web[4], 8080, 2), null);

        await lab.startBgp("node-2");
        await lab.waitForRoutes();
        await well(lab);
        for (const address of [web[4], web[6]]) t.is(await answererOf(lab, client, address, 8080), "default/web");
      } finally {
        const { sent, answered } = await flow.end();
        t.is(answered, sent, "the connection goes on");
      }
    }),
);
