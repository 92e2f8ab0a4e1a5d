import test from "ava";
import type { BgpPathDto, BgpPeerDto, RouteDto, ServiceDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import type { ServiceDetailsDto } from "../../src/api/service-dto.ts";
import { fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

const standIn = "paths come and go by the command gobgp, which is of GoBGP 3";

const source = ({ sources }: StatusDto) => sources.find(({ name }) => name === "gobgp");

test("peers and paths are shown, a withdrawn route is explained, and a killed kube-router changes nothing but what is known", (t) =>
  withLab(t, { nodes: 2, standIn, objects: [pod("web", { node: "node-2" })] }, async (lab) => {
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    await lab.until("the agent knows its BGP daemon", async () => {
      const peers = await ask<readonly BgpPeerDto[]>(lab, "node-1", "bgp", "peers");
      return peers.length === 2 && peers.every(({ state }) => state === "ESTABLISHED");
    });
    const peers = await ask<readonly BgpPeerDto[]>(lab, "node-1", "bgp", "peers");
    t.deepEqual(
      peers.map(({ address, node }) => [address, node]).sort(),
      [
        [two.ipv4, "node-2"],
        [lab.plan.tor.ipv4, null],
      ].sort(),
    );
    const paths = await ask<readonly BgpPathDto[]>(lab, "node-1", "bgp", "routes");
    const told = paths.map(({ prefix, node, nextHop, peer }) => [prefix, node, nextHop, peer]);
    t.true(
      told.some((row) => String(row) === String([two.podCidr4, "node-2", two.ipv4, two.ipv4])),
      String(told),
    );
    t.true(
      told.some((row) => String(row) === String([two.podCidr6, "node-2", two.ipv6, two.ipv4])),
      String(told),
    );
    t.true(
      told.some((row) => String(row) === String([one.podCidr4, "node-1", one.ipv4, null])),
      String(told),
    );
    const every = await ask<readonly BgpPathDto[]>(lab, "node-1", "bgp", "routes", "all");
    t.like(
      every.find(({ prefix }) => prefix === lab.plan.externalPrefix4),
      { kind: "other", peer: lab.plan.tor.ipv4 },
    );
    const routes = await ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2");
    t.deepEqual(
      routes.map(({ present, kind, why }) => [present, kind, why]),
      [
        [true, "direct", null],
        [true, "direct", null],
      ],
    );
    t.regex(source(await ask<StatusDto>(lab, "node-1", "status"))?.detail ?? "", /GoBGP 3.*2 of 2 peers established/);

    // Withdrawn there: the session stands, and does not announce it.
    const gobgp = ["ip", "netns", "exec", two.netns, "gobgp", "global", "rib"];
    await mustRun([...gobgp, "del", two.podCidr4]);
    await lab.until("the withdrawn route is explained", async () => {
      const [row] = (await ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2")).filter(
        ({ podCidr }) => podCidr === two.podCidr4,
      );
      return row?.present === false && row.why?.code === "not-announced";
    });
    const { routes: summary } = await ask<StatusDto>(lab, "node-1", "status");
    t.regex(summary.missing.join(), /the session with node-2 stands, and it does not announce/);
    await mustRun([...gobgp, "add", two.podCidr4, "nexthop", two.ipv4, "origin", "igp"]);
    await lab.waitForRoutes();

    // kube-router of this node is killed: forwarding goes on by the kernel's routes of this node.
    const web = await podAddress(lab, "default/web");
    await lab.stopBgp("node-1");
    await lab.until("its end is in the status", async () => {
      const status = await ask<StatusDto>(lab, "node-1", "status");
      return source(status)?.stale === true && status.problems.some(({ code }) => code === "GOBGP_UNREACHABLE");
    });
    // Without graceful restart the others drop the way back to its pods; the node's own address is on their link.
    t.not(await fetchFrom(lab, "node/node-1", web, 8080), null);
    const kept = await ask<readonly RouteDto[]>(lab, "node-1", "routes", "node-2");
    t.true(kept.every(({ present }) => present));
    await lab.startBgp("node-1");
    await lab.until(
      "it is known again",
      async () => source(await ask<StatusDto>(lab, "node-1", "status"))?.stale === false,
    );
  }));

const vip = "203.0.113.10";
const web = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    externalTrafficPolicy: "Local",
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: [{ ip: vip }] } },
};

test("an address that a node announces without a backend there is told on that node, and over when it is withdrawn", (t) =>
  withLab(
    t,
    { nodes: 2, standIn, objects: [pod("web", { node: "node-2", labels: { app: "web" } }), web] },
    async (lab) => {
      await settled(lab);
      const announcement = async (node: string) => {
        const { advertisements } = await ask<ServiceDetailsDto>(lab, node, "service", "get", "default/web");
        const { path, by, unserved } = advertisements.find(({ address }) => address === vip) ?? {};
        return [path, by, ...(unserved ?? [])].join(" ");
      };
      const told = async (node: string) => {
        const { problems } = await ask<StatusDto>(lab, node, "status");
        return problems.some(
          ({ code, object }) => code === "SERVICE_ADVERTISED_UNSERVED" && object === "Service default/web",
        );
      };
      const rib = (node: string, ...words: readonly string[]) =>
        mustRun(["ip", "netns", "exec", lab.node(node).netns, "gobgp", "global", "rib", ...words]);
      for (const name of ["node-1", "node-2"]) {
        await lab.until(`nobody announces it, says ${name}`, async () => (await announcement(name)) === "none ");
        await rib(name, "add", `${vip}/32`, "nexthop", lab.node(name).ipv4, "origin", "igp");
      }
      await lab.until(
        "the node with the backend serves it",
        async () => (await announcement("node-2")) === "own node-2",
      );
      await lab.until("the node without says so", async () => (await announcement("node-1")) === "own node-1 80/TCP");
      await lab.until("and it is a problem there", () => told("node-1"));
      t.false(await told("node-2"));
      const listed = await ask<readonly ServiceDto[]>(lab, "node-1", "service", "list");
      t.is(listed.find(({ frontend }) => frontend === `${vip}:80`)?.advertisedBy, "node-1");
      await rib("node-1", "del", `${vip}/32`);
      await lab.until("withdrawn, it is none any more", async () => !(await told("node-1")));
      t.regex(await announcement("node-1"), /^none/);

      // As kube-router leaves it that was down while a node went: of its protocol, and of no node.
      const gone = ["10.250.9.0/24", "via", lab.node("node-2").ipv4, "proto", "17"];
      const route = (verb: string) =>
        mustRun(["ip", "netns", "exec", lab.node("node-1").netns, "ip", "route", verb, ...gone]);
      const isLeft = async () => {
        const { problems } = await ask<StatusDto>(lab, "node-1", "status");
        return problems.some(({ code, object }) => code === "ROUTE_LEFT_OVER" && object === "Route 10.250.9.0/24");
      };
      await route("add");
      await lab.until("a route that was left over is told", isLeft, 120_000);
      await route("del");
      await lab.until("and is none any more when it is gone", async () => !(await isLeft()));
    },
  ));
