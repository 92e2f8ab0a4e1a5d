import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import type { BgpPeerDto, ServiceDto, StatusDto } from "../../src/api/dto.ts";
import type { NodeHealthDto } from "../../src/api/health-dto.ts";
import type { MetricDto } from "../../src/api/metrics-dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, answererOf, flowFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

const healthOf = async (lab: Lab, from: string, to: string) =>
  (await ask<readonly NodeHealthDto[]>(lab, from, "health")).find(({ node }) => node === to);

const problem = ({ problems }: StatusDto, code: string, object: string) =>
  problems.find((each) => each.code === code && each.object.startsWith(object));

/** When the status of a node tells of it, and in which words then: BGP of a lab may know it, too, some seconds later. */
async function told(lab: Lab, node: string, code: string, object: string) {
  const from = performance.now();
  for (;;) {
    const found = problem((await lab.agentStatus(node)) as StatusDto, code, object);
    const seconds = (performance.now() - from) / 1000;
    if (found !== undefined) return { seconds, message: found.message };
    if (seconds > 60) throw new Error(`${node} does not tell ${code} of ${object}`);
    await sleep(50);
  }
}

/** What the node sends into the fabric is lost there, without a word: before it reaches anybody's programs. */
async function drop(t: ExecutionContext, lab: Lab, node: string): Promise<() => Promise<unknown>> {
  const nft = (command: string) =>
    mustRun(["nsenter", `--net=/run/netns/${lab.plan.fabric.netns}`, "/usr/sbin/nft", command]);
  await nft("add table netdev hole");
  await nft(`add chain netdev hole in { type filter hook ingress device ${node} priority -500 ; policy drop ; }`);
  t.log(`${node} is not heard any more`);
  return () => nft("delete table netdev hole");
}

const service = (name: string, ip: string) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default" },
  spec: { clusterIP: ip, selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
});

test("a node whose uplink drops is known in seconds, while BGP holds its routes: its backends get nothing new until it is back", (t) =>
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
        service("web", "10.96.7.1"),
        service("only", "10.96.7.2"),
      ],
    },
    async (lab) => {
      await settled(lab);
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

      const restore = await drop(t, lab, "node-2");
      const { seconds, message } = await told(lab, "node-1", "NODE_BLACK_HOLE", "Node node-2");
      t.log(`told after ${seconds.toFixed(1)} s`);
      // Else BGP's hold time were over, and it no black hole.
      t.true(seconds < 9, `${seconds} s`);
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

      const backends = async (name: string) =>
        (await ask<readonly ServiceDto[]>(lab, "node-1", "service", "list")).find(
          (each) => each.service === `default/${name}:80`,
        )?.backends.length;
      await lab.until("its backend has left the service", async () => (await backends("web")) === 1);
      t.is(await backends("only"), 1, "the last one of a service stays");
      for (let i = 0; i < 12; i++) t.is(await answererOf(lab, "default/client", "10.96.7.1", 80, 5), "default/web-3");

      await restore();
      await lab.until("it is back", async () => (await healthOf(lab, "node-1", "node-2"))?.state === "reachable");
      await lab.until("and so is its backend", async () => (await backends("web")) === 2);
      const seen = new Set<string | null>();
      await lab.until("both answer again", async () => {
        seen.add(await answererOf(lab, "default/client", "10.96.7.1", 80, 5));
        return seen.has("default/web-2") && seen.has("default/web-3");
      });
      await lab.until(
        "nothing is told of it any more",
        async () => problem(await agentStatus(lab, "node-1"), "NODE_BLACK_HOLE", "Node node-2") === undefined,
      );

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
        problem(await agentStatus(lab, "node-1"), "NODE_MTU", "Node node-2")?.message ?? "",
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
        async () => problem(await agentStatus(lab, "node-1"), "NODE_MTU", "Node node-2") === undefined,
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
      const web = await podAddress(lab, "default/web");
      const times: number[] = [];
      const { sent, answered } = await flowFrom(
        lab,
        "default/client",
        { kind: "tcp", address: web, port: 8080 },
        async () => {
          await lab.stopBgp("node-1");
          const [own, other] = await Promise.all([
            told(lab, "node-1", "GOBGP_UNREACHABLE", ""),
            told(lab, "node-2", "BGP_PEER_DOWN", "BGP peer node-1"),
          ]);
          times.push(own.seconds, other.seconds);
          t.regex(other.message, /^the session with node-1 \(\S+\) is not established since \S+Z$/);
          await sleep(2_000);
        },
      );
      t.log(`told after ${times.map((time) => time.toFixed(1)).join(" and ")} s`);
      for (const time of times) t.true(time < 5, `${time} s`);
      t.is(answered, sent, "forwarding goes on as the kernel's routes say");
      await lab.startBgp("node-1");
      await lab.until(
        "it is established again",
        async () => problem(await agentStatus(lab, "node-2"), "BGP_PEER_DOWN", "BGP peer node-1") === undefined,
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
