import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import type { BgpServiceDto, StatusDto } from "../../src/api/dto.ts";
import type { ServiceDetailsDto } from "../../src/api/service-dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, beginFlow, fetchFrom, pod, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

const vip = "203.0.113.10";
const vip6 = "2001:db8:113::10";

function service(name: string, addresses: readonly string[], more: Readonly<Record<string, unknown>> = {}) {
  const { annotations, ...spec } = more;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default", ...(annotations !== undefined && { annotations }) },
    spec: {
      type: "LoadBalancer",
      selector: { app: "web" },
      ports: [{ port: 80, targetPort: 8080 }],
      ipFamilyPolicy: "PreferDualStack",
      ...spec,
    },
    status: { loadBalancer: { ingress: addresses.map((ip) => ({ ip })) } },
  };
}

async function ask<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { stdout } = await lab.agent(node, [...words, "--json"]);
  return JSON.parse(stdout) as T;
}

/** What the top of rack knows of an address: all that bird prints. */
async function atTor(lab: Lab, address: string): Promise<string> {
  const prefix = `${address}/${address.includes(":") ? 128 : 32}`;
  const socket = join(lab.plan.tor.folder, "bird.ctl");
  return mustRun(["birdc", "-s", socket, "show", "route", "for", prefix, "all"]).catch(() => "");
}

/** Names of nodes from which the top of rack has it, exactly. */
async function from(lab: Lab, address: string): Promise<string> {
  const text = await atTor(lab, address);
  if (!text.includes(`${address}/`)) return "";
  return lab.plan.nodes
    .filter(({ slot }) => text.includes(`[${slot.replaceAll("-", "_")} `))
    .map(({ name }) => name)
    .join(" ");
}

const rib = (lab: Lab, node: string, ...words: readonly string[]) =>
  mustRun(["ip", "netns", "exec", lab.node(node).netns, "gobgp", "global", "rib", ...words]);

const row = async (lab: Lab, node: string, address: string) =>
  (await ask<readonly BgpServiceDto[]>(lab, node, "bgp", "services")).find((each) => each.address === address);

/** A node whose kernel takes an uplink no more is left by clients, though its daemon and its agent are well; its addresses are back when that is over. */
async function withoutDatapath(t: ExecutionContext, lab: Lab): Promise<void> {
  const two = lab.node("node-2");
  const everyNode = "203.0.113.20";
  const ip = (words: string) => mustRun(["ip", "-n", two.netns, ...words.split(" ")]);
  /** A connection that is under way when the router turns to another node ends there: the first ones may. */
  const isServed = async () => {
    await lab.until(
      "clients are served",
      async () => (await fetchFrom(lab, "external/client", everyNode, 80, 2)) !== null,
    );
    for (let i = 0; i < 5; i++) t.not(await fetchFrom(lab, "external/client", everyNode, 80), null);
  };
  // Nobody can write into this map from now on: as if it had no room, or the kernel refused.
  await mustRun(["bpftool", "map", "freeze", "pinned", join(two.bpffs, "maps", "device")]);
  await ip("link add second type veth peer name nowhere");
  await ip("link set second up");
  await ip("address add 192.0.2.1/24 dev second");
  await lab.until("the fabric leaves the node", async () => (await from(lab, everyNode)) === "node-1");
  await lab.until(
    "and has no way to what it alone serves",
    async () => `${await from(lab, vip)}${await from(lab, vip6)}` === "",
  );
  t.like(await row(lab, "node-2", everyNode), { state: "withheld" });
  t.regex((await row(lab, "node-2", everyNode))?.why ?? "", /map device has not taken/);
  t.true(
    (await agentStatus(lab, "node-2")).problems.some(({ message }) => message.includes("device")),
    "it is told",
  );
  t.is((await row(lab, "node-1", everyNode))?.state, "advertised");
  await isServed();

  await ip("link del second");
  await lab.until("it is back", async () => (await from(lab, everyNode)) === "node-1 node-2");
  await lab.until("with what it alone serves", async () => (await from(lab, vip)) === "node-2");
  await isServed();
  await lab.until("and it serves", async () => (await fetchFrom(lab, "external/client", vip, 80, 2)) !== null);
}

test("addresses are announced from nodes with ready backends, as annotations say, found again after a crash, and kube-router's own stay", (t) => {
  const web = pod("web", { node: "node-2", labels: { app: "web" } });
  const local = service("web", [vip, vip6], {
    externalTrafficPolicy: "Local",
    annotations: {
      "tandem.io/bgp-communities": "64512:100, nonsense, 64512:7:8",
      "tandem.io/bgp-as-path-prepend": "2",
      "tandem.io/bgp-local-preference": "high",
    },
  });
  const everywhere = service("all", ["203.0.113.20"], { annotations: { "tandem.io/bgp-local-preference": "250" } });
  const quiet = service("quiet", ["203.0.113.30"], { annotations: { "tandem.io/advertise": "false" } });
  const options = {
    nodes: 2,
    standIn: "paths come and go by the command gobgp, which is of GoBGP 3",
    agent: { advertiseServices: "all", advertiseOnStop: "withdraw" },
    objects: [web, local, everywhere, quiet],
  };
  return withLab(t, options, async (lab) => {
    await settled(lab);
    await lab.until("the fabric goes to the node with the backend", async () => (await from(lab, vip)) === "node-2");
    await lab.until("by IPv6, too", async () => (await from(lab, vip6)) === "node-2");
    await lab.until("any node serves the other", async () => (await from(lab, "203.0.113.20")) === "node-1 node-2");
    t.is(await from(lab, "203.0.113.30"), "");
    for (const address of [vip, vip6]) {
      const text = await atTor(lab, address);
      t.regex(text, /as_path: 64512 64512 64512\b/, address);
      t.regex(text, /community: \(64512,100\)/, address);
      t.regex(text, /large_community:.*\(64512, ?7, ?8\)/, address);
    }
    // Peers of the same AS see what a node prefers.
    const { ipv4: two } = lab.node("node-2");
    const heard = ["ip", "netns", "exec", lab.node("node-1").netns, "gobgp", "neighbor", two, "adj-in"];
    t.regex(await mustRun(heard), /203\.0\.113\.20\/32.*\{LocalPref: 250\}/);
    t.like(await row(lab, "node-2", vip), { state: "advertised", prepend: 2, services: ["default/web"] });
    t.like(await row(lab, "node-1", vip), { state: "withheld" });
    t.is(await row(lab, "node-1", "203.0.113.30"), undefined);
    const { advertisements, problems } = await ask<ServiceDetailsDto>(lab, "node-1", "service", "get", "default/web");
    t.regex(advertisements.find(({ address }) => address === vip)?.advertising?.why ?? "", /no backend on this node/);
    t.is(problems.filter(({ code }) => code === "SERVICE_ANNOTATION").length, 2);

    // kube-router's own path to the same address: it stays, and is explained.
    await rib(lab, "node-1", "add", `${vip}/32`, "nexthop", lab.node("node-1").ipv4, "origin", "igp");
    await lab.applyObjects([pod("web-1", { node: "node-1", labels: { app: "web" } })]);
    await lab.until("told as somebody else's", async () => (await row(lab, "node-1", vip))?.state === "foreign");
    await lab.deleteObjects([pod("web-1")]);
    await lab.until("withheld again", async () => (await row(lab, "node-1", vip))?.state === "withheld");
    t.regex(await rib(lab, "node-1"), /203\.0\.113\.10\/32/);
    await rib(lab, "node-1", "del", `${vip}/32`);

    // A crash leaves the path; the agent after it withdraws what is not wanted any more.
    await lab.stopAgent("node-2", "SIGKILL");
    t.is(await from(lab, vip), "node-2");
    await lab.deleteObjects([web]);
    await lab.startAgent("node-2");
    await lab.until("the address that was left is withdrawn", async () => (await from(lab, vip)) === "");
    t.notRegex(await rib(lab, "node-2"), /203\.0\.113\.10/);

    // Of two nodes that announce it one withdraws: the other's path, which it learned from there, does not go out in place of its own.
    await lab.applyObjects([web, pod("web-1", { node: "node-1", labels: { app: "web" } })]);
    await lab.until("both have a backend", async () => (await from(lab, vip)) === "node-1 node-2");
    await lab.deleteObjects([pod("web-1")]);
    await lab.until("one is left", async () => (await from(lab, vip)) === "node-2");
    t.is(await from(lab, vip6), "node-2");

    // gobgpd gone: the agent goes on, and announces anew when it is back.
    await lab.applyObjects([web]);
    await lab.until("announced again", async () => (await from(lab, vip)) === "node-2");
    await lab.stopBgp("node-2");
    await lab.until("told as waiting", async () => (await row(lab, "node-2", vip))?.state === "waiting");
    await lab.startBgp("node-2");
    await lab.until("announced by the new daemon", async () => (await from(lab, vip)) === "node-2", 90_000);

    // Stopped by choice with withdrawal.
    await lab.stopAgent("node-2");
    t.is(await from(lab, "203.0.113.20"), "node-1");
    await lab.startAgent("node-2");
    await lab.until("back", async () => (await from(lab, "203.0.113.20")) === "node-1 node-2");
    const status = await ask<StatusDto>(lab, "node-2", "status");
    t.false(status.problems.some(({ code }) => code.startsWith("ADVERTISE")));

    await withoutDatapath(t, lab);
  });
});

longTest(
  "a kube-router that is away for a while with graceful restart has service addresses again before its peers forget them",
  (t) => {
    const web = pod("web", { node: "node-2", ports: [8080, { containerPort: 9000, protocol: "UDP" }] });
    const ports = [
      { name: "tcp", port: 80, targetPort: 8080 },
      { name: "udp", port: 9000, targetPort: 9000, protocol: "UDP" },
    ];
    const objects = [web, service("web", [vip], { externalTrafficPolicy: "Local", ports })];
    const agent = { advertiseServices: "all" };
    return withLab(t, { nodes: 2, gracefulRestart: true, agent, objects }, async (lab) => {
      await settled(lab);
      const isThere = async () => (await from(lab, vip)) === "node-2";
      await lab.until("the fabric has the address", isThere);
      const flow = await beginFlow(lab, "external/client", { kind: "udp", address: vip, port: 9000 });
      const polls = { there: 0, gone: 0 };
      let isOver = false;
      const watching = (async () => {
        for (; !isOver; await sleep(20)) polls[(await isThere()) ? "there" : "gone"]++;
      })();
      await lab.stopBgp("node-2", "SIGTERM");
      // As long as an image takes: who waits for it tries less and less often.
      await sleep(14_000);
      await lab.startBgp("node-2");
      await lab.until("the session stands", async () => {
        const { problems } = await agentStatus(lab, "node-1");
        return !problems.some(({ code }) => code === "BGP_PEER_DOWN");
      });
      await lab.until("announced anew", async () => (await row(lab, "node-2", vip))?.state === "advertised");
      // Whatever the router had of before is forgotten at the end of what it is told now.
      await sleep(3_000);
      isOver = true;
      await watching;
      const { sent, answered } = await flow.end();
      t.log(
        `${polls.gone} of ${polls.there + polls.gone} times the router had no path, ${sent - answered} of ${sent} datagrams lost`,
      );
      t.is(polls.gone, 0);
      t.true(polls.there > 50 && sent - answered <= 3);
    });
  },
);
