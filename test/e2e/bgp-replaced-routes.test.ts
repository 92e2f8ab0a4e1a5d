/**
 * Somebody else's hand on the ways to other nodes: routes that lead nowhere or another way, sessions that flap, an uplink with another name, two nodes that announce one
 * pod CIDR. Each is explained as it is, and what the kernel's routes carry is carried.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionContext } from "ava";
import type { RouteDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { NodePlan } from "../../src/lab/plan.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";
import { now, tells, tellsProblem } from "../support/told.ts";

const families = [4, 6] as const;
type Family = (typeof families)[number];
const cidrOf = (node: NodePlan, family: Family) => (family === 4 ? node.podCidr4 : node.podCidr6);
const addressOf = (node: NodePlan, family: Family) => (family === 4 ? node.ipv4 : node.ipv6);

const standIn = "paths come and go by the command gobgp, which is of GoBGP 3";

async function rowOf(lab: Lab, cidr: string): Promise<RouteDto | undefined> {
  const { stdout } = await lab.agent("node-1", ["routes", "--json"]);
  return (JSON.parse(stdout) as readonly RouteDto[]).find(({ podCidr }) => podCidr === cidr);
}

const ipOn = (netns: string) => (words: string) => mustRun(["ip", "-n", netns, ...words.split(" ")]);

/**
 * How a connection from a pod fails: exit codes of curl, 7 for an answer that says no, 28 for none. The pod has no other connection there: hosts answer one only so
 * often (net.ipv4.icmp_ratelimit), and what is sent again would take the answers.
 */
async function refusal(lab: Lab, address: string): Promise<number | null> {
  const host = address.includes(":") ? `[${address}]` : address;
  return (await lab.exec("default/asker", ["curl", "-sg", "-m", "3", `http://${host}:8080/`])).code;
}

/** In place of kube-router's, which writes its own again within a minute: it is put back before. */
async function leadsNowhere(t: ExecutionContext, lab: Lab, kind: string, family: Family, web: string): Promise<void> {
  const [one, two] = [lab.node("node-1"), lab.node("node-2")];
  const ip = ipOn(one.netns);
  const cidr = cidrOf(two, family);
  const replaced = now(t, lab, "node-1");
  await ip(`-${family} route replace ${kind} ${cidr}`);
  const { routes } = await tells(replaced, `${kind} ${cidr}`, ({ routes: { missing } }) =>
    missing.join().includes(cidr),
  );
  t.regex(routes.missing.join(), /leads nowhere/);
  t.like(await rowOf(lab, cidr), { present: false, why: { code: "unreachable" } });
  // As the kernel says it of packets that it forwards: a blackhole is silent, the others tell.
  t.is(await refusal(lab, web), kind === "blackhole" ? 28 : 7, `${kind} IPv${family}`);
  const back = now(t, lab, "node-1");
  await ip(`-${family} route replace ${cidr} via ${addressOf(two, family)} proto 17`);
  await tells(back, "it leads there again", ({ routes: { missing } }) => missing.length === 0);
}

async function otherRoutes(t: ExecutionContext, lab: Lab, family: Family): Promise<void> {
  const [one, two] = [lab.node("node-1"), lab.node("node-2")];
  const ip = ipOn(one.netns);
  const [cidr, via] = [cidrOf(two, family), addressOf(two, family)];
  const router = family === 4 ? lab.plan.tor.ipv4 : lab.plan.tor.ipv6;
  const isBy = (origin: string, gateway: string, kind: RouteDto["kind"]) => async () => {
    const row = await rowOf(lab, cidr);
    return row?.present === true && row.origin === origin && String(row.via) === gateway && row.kind === kind;
  };
  // One that loses against kube-router's changes nothing.
  await ip(`-${family} route add blackhole ${cidr} metric 9000`);
  await lab.until("kube-router's holds", isBy("bgp (kube-router)", via, "direct"));
  // And takes over when that is gone.
  const gone = now(t, lab, "node-1");
  await ip(`-${family} route del ${cidr} via ${via}`);
  await tells(gone, "what is left leads nowhere", ({ routes: { missing } }) =>
    missing.join().includes("leads nowhere"),
  );
  await ip(`-${family} route add ${cidr} via ${router} proto static metric 50`);
  await lab.until("another's leads through the router", isBy("static", router, "fabric"));
  await ip(`-${family} route del blackhole ${cidr} metric 9000`);
  await ip(`-${family} route add ${cidr} via ${via} proto 17`);
  if (family === 6) await ip(`-6 route del ${cidr} via ${router} metric 50`);
  await lab.until("kube-router's is back", isBy("bgp (kube-router)", via, "direct"));
  if (family === 4) await ip(`route del ${cidr} via ${router} metric 50`);
  // Another daemon's in its place.
  await ip(`-${family} route replace ${cidr} via ${via} proto bird`);
  await lab.until("bird's is as good", isBy("bgp (bird)", via, "direct"));
  await ip(`-${family} route replace ${cidr} via ${via} proto 17`);
  await lab.until("and kube-router's again", isBy("bgp (kube-router)", via, "direct"));
}

const isWell = ({ routes, problems }: StatusDto) =>
  routes.missing.length === 0 && !problems.some(({ code }) => /^(ROUTE|BGP|NODE|POD|GOBGP|UPLINK)_/.test(code));

longTest(
  "routes that others replace, sessions that flap, an uplink with another name and a CIDR of two nodes: told as they are, and carried as the kernel says",
  (t) => {
    const objects = [
      pod("client", { node: "node-1" }),
      pod("asker", { node: "node-1" }),
      pod("web", { node: "node-2", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
      pod("other", { node: "node-3", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
    ];
    return withLab(t, { nodes: 3, standIn, objects }, async (lab) => {
      await settled(lab);
      const [one, two, three] = [lab.node("node-1"), lab.node("node-2"), lab.node("node-3")];
      const web = { 4: await podAddress(lab, "default/web"), 6: await podAddress(lab, "default/web", 6) };
      const well = () => lab.until("all is well", async () => isWell(await agentStatus(lab, "node-1")));
      await well();
      const bystander = await beginFlow(lab, "default/client", {
        kind: "udp",
        address: await podAddress(lab, "default/other"),
        port: 9000,
        lifeMs: 400_000,
      });
      const flows = await Promise.all(
        families.map((family) =>
          beginFlow(lab, "default/client", {
            kind: "tcp",
            address: web[family],
            port: 8080,
            lateMs: 60_000,
            lifeMs: 400_000,
          }),
        ),
      );

      for (const family of families) {
        for (const kind of ["blackhole", "unreachable", "prohibit"])
          await leadsNowhere(t, lab, kind, family, web[family]);
        await otherRoutes(t, lab, family);
      }

      // Each second, and with it the paths: kube-router takes its routes away and writes them again, some 10 microseconds later or when the session is back.
      const datagrams = await beginFlow(lab, "default/client", { kind: "udp", address: web[4], port: 9000 });
      const neighbor = (...words: readonly string[]) =>
        mustRun(["ip", "netns", "exec", one.netns, "gobgp", "neighbor", two.ipv4, ...words]);
      for (let i = 0; i < 3; i++) {
        await neighbor("softresetin");
        await sleep(1_000);
      }
      const refreshed = await datagrams.end();
      t.log(`paths told anew: ${refreshed.sent - refreshed.answered} of ${refreshed.sent} datagrams lost`);
      // As many moments without a route are the kernel's.
      t.true(refreshed.sent - refreshed.answered <= 2);
      for (let i = 0; i < 5; i++) {
        // Its session ends, and is there again after a second or more.
        await neighbor("reset");
        await sleep(1_000);
      }
      await lab.waitForRoutes();
      await well();

      // The uplink gets another name, and all that leads through it stays.
      await ipOn(one.netns)("link set eth0 name uplink0");
      await tells(now(t, lab, "node-1"), "routes lead through uplink0", ({ attach }) =>
        attach.uplinks.includes("uplink0"),
      );
      await lab.until(
        "its name is in the routes",
        async () => String((await rowOf(lab, two.podCidr4))?.device) === "uplink0",
      );
      for (const family of families) t.is(await answererOf(lab, "default/client", web[family], 8080), "default/web");
      t.is(await answererOf(lab, "external/client", await podAddress(lab, "default/client"), 8080), "default/client");
      await ipOn(one.netns)("link set uplink0 name eth0");
      await lab.until("its old name is back", async () => String((await rowOf(lab, two.podCidr4))?.device) === "eth0");
      await well();

      // Another node announces the CIDR as well, and leaves again.
      const atThree = (...words: readonly string[]) => mustRun(["ip", "netns", "exec", three.netns, "gobgp", ...words]);
      const announced = now(t, lab, "node-3");
      await atThree("policy", "prefix", "add", "podcidrdefinedset", two.podCidr4, "24..24");
      await atThree("global", "rib", "add", two.podCidr4, "nexthop", three.ipv4, "origin", "igp");
      const heard = () => mustRun(["ip", "netns", "exec", one.netns, "gobgp", "neighbor", three.ipv4, "adj-in"]);
      await lab.until("node-1 hears of both", async () => (await heard()).includes(two.podCidr4));
      // It announces what another node has: that is known there, wherever BGP leads the others.
      await tellsProblem(announced, "POD_CIDR_ANNOUNCED", "Node node-3");
      const { stdout } = await lab.agent("node-3", ["routes", "node-2", "--json"]);
      const there = (JSON.parse(stdout) as readonly RouteDto[]).find(({ podCidr }) => podCidr === two.podCidr4);
      t.like(there, { present: true, why: { code: "own" } });
      const via = (await rowOf(lab, two.podCidr4))?.via;
      t.log(`of two nodes BGP leads to ${via}`);
      if (String(via) !== two.ipv4) t.like(await rowOf(lab, two.podCidr4), { why: { code: "other-node" } });
      // node-3 still has kube-router's route to node-2: by a detour, if not directly, the pod is reached.
      t.is(await answererOf(lab, "default/client", web[4], 8080), "default/web");
      await atThree("global", "rib", "del", two.podCidr4);
      await lab.until("it leads to node-2", async () => String((await rowOf(lab, two.podCidr4))?.via) === two.ipv4);
      await well();

      for (const flow of flows) {
        const { sent, answered } = await flow.end();
        t.is(answered, sent, "connections go on");
      }
      const { sent, answered } = await bystander.end();
      t.is(answered, sent, "what goes to another node lost nothing");
    });
  },
);
