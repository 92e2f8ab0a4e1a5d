import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import type { BgpPeerDto, RouteDto, ServiceDto } from "../../src/api/dto.ts";
import type { NodeHealthDto } from "../../src/api/health-dto.ts";
import type { MetricDto } from "../../src/api/metrics-dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, answererOf, flowFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { now, problemOf, tells, tellsProblem } from "../support/told.ts";

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

const healthOf = async (lab: Lab, from: string, to: string) =>
  (await ask<readonly NodeHealthDto[]>(lab, from, "health")).find(({ node }) => node === to);

/** What the node sends into the fabric is lost there, without a word: before it reaches anybody's programs. */
async function drop(t: ExecutionContext, lab: Lab, node: string): Promise<() => Promise<unknown>> {
  const nft = (command: string) =>
    mustRun(["nsenter", `--net=/run/netns/${lab.plan.fabric.netns}`, "/usr/sbin/nft", command]);
  await nft("add table netdev hole");
  await nft(`add chain netdev hole in { type filter hook ingress device ${node} priority -500 ; policy drop ; }`);
  t.log(`${node} is not heard any more`);
  return () => nft("delete table netdev hole");
}

/** @param addresses IPv4 first */
const service = (name: string, addresses: readonly [string, string]) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default" },
  spec: {
    clusterIP: addresses[0],
    clusterIPs: addresses,
    ipFamilies: ["IPv4", "IPv6"],
    selector: { app: name },
    ports: [{ port: 80, targetPort: 8080 }],
  },
});

const webAddresses = ["10.96.7.1", "fd00:10:96::71"] as const;

test("a node whose uplink drops is known in seconds, before BGP takes its routes away and after: its backends get nothing new until it is back", (t) =>
  withLab(
    t,
    {
      nodes: 3,
      // The lab's BGP holds a session for 9 s: probes have to be first.
      agent: { healthActs: true, healthInterval: 1 },
      objects: [
        pod("client", { node: "node-1" }),
        pod("web-2", { node: "node-2", labels: { app: "web" } }),
        pod("web-3", { node: "node-3", labels: { app: "web" } }),
        pod("only", { node: "node-2", labels: { app: "only" } }),
        service("web", webAddresses),
        service("only", ["10.96.7.2", "fd00:10:96::72"]),
      ],
    },
    async (lab) => {
      await settled(lab);
      const two = lab.node("node-2");
      for (const name of ["node-2", "node-3"])
        await lab.until(`${name} is reachable by every path`, async () => {
          const health = await healthOf(lab, "node-1", name);
          return (
            health?.state === "reachable" &&
            // Of both families by ICMP, by TCP and to its pods.
            health.paths.length === 6 &&
            health.paths.every(({ state }) => state === "answers") &&
            health.agent === true
          );
        });
      const healthy = await healthOf(lab, "node-1", "node-2");
      t.deepEqual(healthy?.paths.map(({ kind }) => kind).sort(), ["icmp", "icmp", "pods", "pods", "tcp", "tcp"]);
      for (const { p50Ms, p99Ms } of healthy?.paths ?? []) t.true((p50Ms ?? -1) > 0 && (p99Ms ?? -1) >= (p50Ms ?? 0));
      const { code } = await lab.agent("node-1", ["health"]);
      t.is(code, 0);

      // Three misses are waited for; at 9 s BGP's hold time were over, and it no black hole.
      const silent = { ...now(t, lab, "node-1"), withinMs: 7_000 };
      const restore = await drop(t, lab, "node-2");
      const { message } = await tellsProblem(silent, "NODE_BLACK_HOLE", "Node node-2");
      t.regex(
        message,
        /^no answer since \S+Z, .* BGP's session with it is up, its route to \S+ \(via \S+ dev eth0\) is there/,
      );
      t.like(await healthOf(lab, "node-1", "node-2"), { state: "unreachable" });
      const figures = await ask<readonly MetricDto[]>(lab, "node-1", "metrics", "node*");
      const counted = (name: string) =>
        figures
          .find((each) => each.name === name)
          ?.samples.map((each) => [...Object.values(each.labels), "value" in each ? each.value : each.count]) ?? [];
      t.deepEqual(
        counted("tandem_nodes").filter(([, count]) => count !== 0),
        [
          ["reachable", 1],
          ["unreachable", 1],
        ],
      );
      for (const name of ["tandem_node_probes_total", "tandem_node_probes_lost_total", "tandem_node_probe_seconds"])
        t.deepEqual(
          counted(name)
            .flatMap(([kind, count]) => (Number(count) > 0 ? [kind] : []))
            .sort(),
          ["icmp", "pods", "tcp"],
          name,
        );
      t.is((await lab.agent("node-1", ["health", "node-2"])).code, 1);

      /** Of its IPv4 address, and of its IPv6 one. */
      const backends = async (name: string) =>
        (await ask<readonly ServiceDto[]>(lab, "node-1", "service", "list"))
          .filter((each) => each.service === `default/${name}:80`)
          .map((each) => each.backends.length)
          .join();
      await lab.until("its backend has left the service", async () => (await backends("web")) === "1,1");
      t.is(await backends("only"), "1,1", "the last one of a service stays");
      const onlyTheOther = async () => {
        for (let i = 0; i < 6; i++)
          for (const address of webAddresses)
            t.is(await answererOf(lab, "default/client", address, 80, 5), "default/web-3", address);
      };
      await onlyTheOther();

      // When BGP's hold time is over as well it says the same, and takes the routes away: none is a hole any more.
      const { message: away } = await tellsProblem({ ...silent, withinMs: 30_000 }, "NODE_UNREACHABLE", "Node node-2");
      t.regex(away, /^no answer since \S+Z, .* BGP's session with it is down/);
      const expired = await tells({ ...silent, withinMs: 30_000 }, "routes are gone with the session", (status) =>
        [two.podCidr4, two.podCidr6].every((cidr) => status.routes.missing.join().includes(cidr)),
      );
      t.is(problemOf(expired, "NODE_BLACK_HOLE", ""), undefined);
      t.truthy(problemOf(await agentStatus(lab, "node-1"), "BGP_PEER_DOWN", "BGP peer node-2"));
      const why = (await ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2")).map((row) => row.why?.code);
      t.deepEqual(why, ["peer-down", "peer-down"]);
      t.is(
        await backends("web"),
        "1,1",
        "without a route there is no way to ask its pods, and they are as lost as before",
      );
      await onlyTheOther();

      await restore();
      await lab.until("it is back", async () => (await healthOf(lab, "node-1", "node-2"))?.state === "reachable");
      await lab.until("and so is its backend", async () => (await backends("web")) === "2,2");
      for (const address of webAddresses) {
        const seen = new Set<string | null>();
        await lab.until(`both answer again at ${address}`, async () => {
          seen.add(await answererOf(lab, "default/client", address, 80, 5));
          return seen.has("default/web-2") && seen.has("default/web-3");
        });
      }
      await lab.until("nothing is told of it any more", async () => {
        const { problems, routes } = await agentStatus(lab, "node-1");
        const about = problems.filter(({ code, object }) => /^(NODE|BGP)_/.test(code) && object.includes("node-2"));
        return about.length === 0 && routes.missing.length === 0;
      });

      // Packets that its uplink takes no more, with routes that claim they do.
      await mustRun([
        "nsenter",
        `--net=/run/netns/${lab.node("node-2").netns}`,
        "ip",
        "link",
        "set",
        "eth0",
        "mtu",
        "1400",
      ]);
      await lab.until(
        "the least MTU on the way is found",
        async () => {
          const { mtu } = (await healthOf(lab, "node-1", "node-2")) ?? { mtu: [] };
          // A veth lets a VLAN's tag more pass.
          return mtu.length === 2 && mtu.every(({ claimed, carried }) => claimed === 1500 && carried === 1404);
        },
        180_000,
      );
      t.regex(
        problemOf(await agentStatus(lab, "node-1"), "NODE_MTU", "Node node-2")?.message ?? "",
        /packets of 1500 bytes, which the IPv[46] route to its pods takes, are lost on the way: 1404 bytes/,
      );
      await mustRun([
        "nsenter",
        `--net=/run/netns/${lab.node("node-2").netns}`,
        "ip",
        "link",
        "set",
        "eth0",
        "mtu",
        "1500",
      ]);
      await lab.until(
        "the mismatch is over",
        async () => problemOf(await agentStatus(lab, "node-1"), "NODE_MTU", "Node node-2") === undefined,
        90_000,
      );
    },
  ));

test("kube-router killed is told within seconds on both sides, and flows go on; a route of a node that is gone is removed by setting", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      gracefulRestart: true,
      agent: { removeStaleRoutes: 10 },
      objects: [pod("client", { node: "node-1" }), pod("web", { node: "node-2" })],
    },
    async (lab) => {
      await settled(lab);
      const [one, two] = [lab.node("node-1"), lab.node("node-2")];
      await lab.until("the sessions are known", async () => {
        const peers = await ask<readonly BgpPeerDto[]>(lab, "node-2", "bgp", "peers");
        return peers.length === 2 && peers.every(({ state }) => state === "ESTABLISHED");
      });
      await lab.until(
        "and told of no more",
        async () => problemOf(await agentStatus(lab, "node-2"), "BGP_PEER_DOWN", "") === undefined,
      );
      const web = await podAddress(lab, "default/web");
      const { sent, answered } = await flowFrom(
        lab,
        "default/client",
        { kind: "tcp", address: web, port: 8080 },
        async () => {
          const [own, other] = [now(t, lab, "node-1"), now(t, lab, "node-2")];
          const [down] = await Promise.all([
            tellsProblem(other, "BGP_PEER_DOWN", "BGP peer node-1"),
            tellsProblem(own, "GOBGP_UNREACHABLE", ""),
            lab.stopBgp("node-1"),
          ]);
          t.regex(down.message, /^the session with node-1 \(\S+\) is not established since \S+Z$/);
          await sleep(2_000);
        },
      );
      t.is(answered, sent, "forwarding goes on as the kernel's routes say");
      await lab.startBgp("node-1");
      await lab.until(
        "it is established again",
        async () => problemOf(await agentStatus(lab, "node-2"), "BGP_PEER_DOWN", "BGP peer node-1") === undefined,
        120_000,
      );

      const ip = (...words: readonly string[]) => mustRun(["nsenter", `--net=/run/netns/${one.netns}`, "ip", ...words]);
      // Of a node that is gone; and two that only look like it: of another length, and somebody else's.
      await ip("route", "add", "10.64.77.0/24", "via", two.ipv4, "proto", "17");
      await ip("route", "add", "10.70.0.0/16", "via", two.ipv4, "proto", "17");
      await ip("route", "add", "10.64.78.0/24", "via", two.ipv4, "proto", "186");
      await lab.until(
        "it is removed",
        async () => !(await ip("route", "show", "10.64.77.0/24")).includes("10.64.77.0/24"),
        60_000,
      );
      for (const kept of ["10.70.0.0/16", "10.64.78.0/24", two.podCidr4])
        t.true((await ip("route", "show", kept)).includes(kept), kept);
    },
  ));
