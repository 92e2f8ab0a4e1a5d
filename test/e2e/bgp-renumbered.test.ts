/**
 * A node that comes back with another pod CIDR, while kube-router of another node is away: that one keeps its routes to the old CIDR for ever. Pods are reached at
 * their new addresses all the same, and what is left over is told.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RouteDto } from "../../src/api/dto.ts";
import { bgpRoutes, startNodeBgp } from "../../src/lab/bgp.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { NodePlan } from "../../src/lab/plan.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";
import { now, tells, tellsProblem } from "../support/told.ts";

/** Its Node says these pod CIDRs from now on. */
async function register(lab: Lab, node: NodePlan, podCidrs: readonly string[]): Promise<void> {
  const path = join(lab.plan.manifests, "node_.json");
  const list = JSON.parse(await readFile(path, "utf8")) as {
    readonly items: readonly { metadata: { name: string } }[];
  };
  const items = list.items.map((object) =>
    object.metadata.name === node.name
      ? { ...object, ...{ spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs } } }
      : object,
  );
  await writeFile(path, JSON.stringify({ ...list, items }));
}

/** Of both families, as the kernel has it. */
async function routesOf(netns: string): Promise<string> {
  return `${await mustRun(["ip", "-n", netns, "route"])}${await mustRun(["ip", "-n", netns, "-6", "route"])}`;
}

longTest("a node that comes back with other pod CIDRs is reached by them, and routes to the old ones are told", (t) => {
  const web = (node: string) => pod("web", { node });
  const objects = [pod("client", { node: "node-1" }), pod("stays", { node: "node-3" }), web("node-2")];
  const standIn = "the node's BGP is started with another CIDR than that of the lab";
  return withLab(t, { nodes: 3, standIn, objects }, async (lab) => {
    await settled(lab);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const old = [two.podCidr4, two.podCidr6];
    const renumbered = {
      ...two,
      podCidr4: two.podCidr4.replace(/\.2\.0\/24$/, ".22.0/24"),
      podCidr6: two.podCidr6.replace(/:2::\/64$/, ":22::/64"),
    };
    const fresh = [renumbered.podCidr4, renumbered.podCidr6];
    t.false(fresh.some((cidr) => old.includes(cidr)));
    const routes = async (): Promise<readonly RouteDto[]> =>
      JSON.parse((await lab.agent("node-1", ["routes", "node-2", "--json"])).stdout);
    const bystander = await beginFlow(lab, "default/client", {
      kind: "tcp",
      address: await podAddress(lab, "default/stays"),
      port: 8080,
      lateMs: 60_000,
    });

    // It is drained and goes, while kube-router of node-1 is away.
    await lab.stopBgp("node-1");
    await lab.deleteObjects([web("node-2")]);
    await lab.stopAgent("node-2");
    await lab.stopBgp("node-2");
    const kept = await bgpRoutes(one.netns, "17");
    t.true(
      old.every((cidr) => kept.has(cidr)),
      "nobody takes them away",
    );

    const told = now(t, lab, "node-1");
    await register(lab, two, fresh);
    await tells(told, "its new CIDRs have no route", ({ routes: { missing } }) =>
      fresh.every((cidr) => missing.join().includes(cidr)),
    );
    await startNodeBgp(lab.plan, renumbered, { gracefulRestart: false });
    await lab.startAgent("node-2");
    await lab.startBgp("node-1");
    await lab.until("node-1 has routes to the new CIDRs", async () =>
      (await routes()).every(({ podCidr, present, kind }) => fresh.includes(podCidr) && present && kind === "direct"),
    );

    await lab.applyObjects([web("node-2")]);
    for (const family of [4, 6] as const) {
      const address = await podAddress(lab, "default/web", family);
      t.true(address.startsWith((family === 4 ? fresh[0] : fresh[1])?.replace(/(0\/24|:\/64)$/, "") ?? "?"), address);
      for (const from of ["default/client", "default/stays", "external/client"])
        await lab.until(`${from} reaches ${address}`, async () => {
          return (await answererOf(lab, from, address, 8080, 5)) === "default/web";
        });
      const client = await podAddress(lab, "default/client", family);
      t.is(await answererOf(lab, "default/web", client, 8080), "default/client");
    }
    const own = await routesOf(two.netns);
    for (const cidr of old) t.false(own.includes(cidr), "the node itself has forgotten its old CIDRs");
    for (const cidr of fresh) t.true(own.includes(cidr), own);

    // A kube-router that starts is given 30 s for its paths.
    const stale = { ...now(t, lab, "node-1"), since: told.since, withinMs: 90_000 };
    for (const cidr of old) {
      const { message } = await tellsProblem(stale, "ROUTE_LEFT_OVER", `Route ${cidr}`);
      t.regex(message, /no node has this pod CIDR/);
    }
    for (const cidr of old) await mustRun(["ip", "-n", one.netns, "route", "del", cidr, "proto", "17"]);
    await lab.until("all is well", async () => {
      const { ok, problems } = await agentStatus(lab, "node-1");
      return ok && !problems.some(({ code }) => /^(ROUTE|BGP|NODE|POD)_/.test(code));
    });
    const { sent, answered } = await bystander.end();
    t.is(answered, sent, "between other nodes nothing is lost");
  });
});
