import { isDeepStrictEqual } from "node:util";
import test from "ava";
import { mustRun } from "../../src/lab/run.ts";
import { withLab } from "../support/lab.ts";

/** Every route of a namespace's main table, both families, in a comparable form. */
async function routes(netns: string): Promise<readonly string[]> {
  const texts = await Promise.all(["-4", "-6"].map((family) => mustRun(["ip", "-n", netns, family, "route", "show"])));
  return texts
    .join("\n")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .sort();
}

test("a BGP session that goes away removes routes, and only them; when it is back, they are too", (t) =>
  withLab(t, { nodes: 3, agents: false }, async (lab) => {
    const one = lab.node("node-1");
    const two = lab.node("node-2");
    // Routes of others, one of them to a prefix beside the pod CIDR: they are nobody's business.
    await mustRun(["ip", "-n", one.netns, "route", "add", "10.250.0.0/16", "via", two.ipv4, "proto", "static"]);
    await mustRun(["ip", "-n", one.netns, "route", "add", "fd99::/64", "via", two.ipv6, "proto", "200"]);
    const before = {
      one: await routes(one.netns),
      two: await routes(two.netns),
      tor: await routes(lab.plan.tor.netns),
    };
    const ofTwo = (line: string) => line.startsWith(two.podCidr4) || line.startsWith(two.podCidr6);
    t.is(before.one.filter(ofTwo).length, 2);

    await lab.stopBgp("node-2");
    await lab.until("routes to node-2 are gone", async () => {
      const left = [...(await routes(one.netns)), ...(await routes(lab.plan.tor.netns))];
      return !left.some(ofTwo);
    });
    t.deepEqual(
      await routes(one.netns),
      before.one.filter((line) => !ofTwo(line)),
    );
    t.deepEqual(
      await routes(lab.plan.tor.netns),
      before.tor.filter((line) => !ofTwo(line)),
    );
    t.deepEqual(await routes(two.netns), before.two, "a killed kube-router leaves its own node's routes");

    await lab.startBgp("node-2");
    await lab.waitForRoutes();
    // A path that is announced again is deleted and written anew: who lists in between sees it missing.
    for (const [netns, known] of [
      [one.netns, before.one],
      [two.netns, before.two],
    ] as const)
      await lab.until(`${netns} has the routes of before`, async () => isDeepStrictEqual(await routes(netns), known));
  }));

test("routes look as kube-router writes them, and hosts behind the top of rack reach nodes over both families", (t) =>
  withLab(t, { nodes: 2, agents: false }, async (lab) => {
    const [one, two] = lab.plan.nodes;
    if (one === undefined || two === undefined) throw new Error("no nodes");
    const learned = await routes(one.netns);
    t.true(learned.includes(`${two.podCidr4} via ${two.ipv4} dev eth0 proto 17`), learned.join("\n"));
    t.true(
      learned.includes(`${two.podCidr6} via ${two.ipv6} dev eth0 proto 17 metric 1024 pref medium`),
      learned.join("\n"),
    );
    t.true(
      learned.includes(`${lab.plan.externalPrefix4} via ${lab.plan.tor.ipv4} dev eth0 proto 17`),
      learned.join("\n"),
    );
    t.false(
      learned.some((line) => line.startsWith(one.podCidr4)),
      "the own pod CIDR is the CNI plugin's",
    );
    for (const address of [two.ipv4, two.ipv6]) {
      const { code } = await lab.exec("external/client", ["ping", "-c", "1", "-W", "10", address]);
      t.is(code, 0, `client to ${address}`);
    }
    const { nodes } = await lab.status();
    t.true(nodes.every((node) => node.bgp?.every((peer) => peer.state === "ESTABLISHED")));
  }));
