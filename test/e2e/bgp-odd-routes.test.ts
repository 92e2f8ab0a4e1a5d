/** What no fabric should announce: addresses of nodes as a pod CIDR, and a default route. Each is told, and packets go on as the kernel's routes say. */
import { appendFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { RouteDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { far, serveFar } from "../support/far.ts";
import { beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { now, problemOf, tells, tellsProblem } from "../support/told.ts";

const status = async (lab: Lab) => (await lab.agentStatus("node-1")) as StatusDto;
const codesOf = async (lab: Lab) => (await status(lab)).problems.map(({ code, object }) => `${code} ${object}`);
const families = [4, 6] as const;
const objects = [pod("client", { node: "node-1" }), pod("web", { node: "node-2" })];

/** Has the router announce these, until it is told to stop. */
async function announcing(lab: Lab, prefixes: readonly string[]) {
  const { folder } = lab.plan.tor;
  const bird = (...words: readonly string[]) => mustRun(["birdc", "-s", join(folder, "bird.ctl"), ...words]);
  for (const family of families) {
    const routes = prefixes.filter((prefix) => prefix.includes(":") === (family === 6));
    const lines = routes.map((prefix) => `route ${prefix} blackhole;`).join(" ");
    await appendFile(join(folder, "bird.conf"), `protocol static odd${family} { disabled; ipv${family}; ${lines} }\n`);
  }
  await bird("configure");
  for (const family of families) await bird("enable", `odd${family}`);
  return async () => {
    for (const family of families) await bird("disable", `odd${family}`);
  };
}

test("a pod CIDR over nodes' own addresses, and a default route: told, no session ends and no flow breaks", (t) =>
  withLab(t, { nodes: 2, agent: { masqueradeIpv4: true, masqueradeIpv6: true }, objects }, async (lab) => {
    await settled(lab);
    await serveFar(lab);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const [web4, web6] = [await podAddress(lab, "default/web", 4), await podAddress(lab, "default/web", 6)];
    const ip = (line: string) => mustRun(["ip", "-n", one.netns, ...line.split(" ")]);
    /** The world sees the node and not the pod. */
    const isSeenAsNode = async () => {
      for (const family of families) {
        const seen = (await fetchFrom(lab, "default/client", far[family], 8080)) ?? "";
        t.true(seen.includes(family === 4 ? `peer ${one.ipv4}:` : `peer [${one.ipv6}]:`), seen);
      }
    };
    const reachesWeb = async (from: string) => {
      for (const address of [web4, web6]) t.not(await fetchFrom(lab, from, address, 8080), null, `${from} ${address}`);
    };
    await lab.until("all is well at first", async () => (await status(lab)).ok);
    await isSeenAsNode();
    const flows = await Promise.all(
      [web4, web6, far[4], far[6]].map((address) =>
        beginFlow(lab, "default/client", { kind: "tcp", address, port: 8080, lateMs: 30_000 }),
      ),
    );

    // The first four addresses of the nodes' link, those of both nodes among them.
    const [cidr4, cidr6] = [one.ipv4.replace(/\.\d+$/, ".0/30"), one.ipv6.replace(/::.*$/, "::/126")];
    const file = join(lab.plan.manifests, "zz-node-9.json");
    const other = {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node-9" },
      spec: { podCIDR: cidr4, podCIDRs: [cidr4, cidr6] },
      status: { addresses: ["172.30.99.9", "fd99::9"].map((address) => ({ type: "InternalIP", address })) },
    };
    await writeFile(file, JSON.stringify(other));
    const stop = await announcing(lab, [cidr4, "0.0.0.0/0", cidr6, "::/0"]);
    await lab.until("both nodes are named", async () => {
      const codes = await codesOf(lab);
      // By the addresses of both families.
      return ["node-1", "node-2"].every(
        (name) => codes.filter((each) => each === `POD_CIDR_NODE_ADDRESS Node ${name}`).length === 2,
      );
    });
    const { tor } = lab.plan;
    for (const [cidr, gateway, hidden] of [
      [cidr4, tor.ipv4, two.ipv4],
      [cidr6, tor.ipv6, two.ipv6],
    ] as const) {
      const routeTo9 = async () => {
        const { stdout } = await lab.agent("node-1", ["routes", "--json"]);
        return (JSON.parse(stdout) as readonly RouteDto[]).find(({ podCidr }) => podCidr === cidr);
      };
      await lab.until(`the kernel has the route to ${cidr}`, async () => (await routeTo9())?.present === true);
      t.like(await routeTo9(), { kind: "fabric", via: [gateway] });
      t.regex(await ip(`route get ${hidden}`), new RegExp(`via ${gateway} `), "it does hide the node");
    }
    await reachesWeb("default/client");
    await reachesWeb("node/node-1");
    t.regex((await status(lab)).sources.find(({ name }) => name === "gobgp")?.detail ?? "", /2 of 2 peers established/);

    // kube-router since 1.3.1 rejects a default route.
    for (const family of families) t.is((await ip(`-${family} route show default proto 17`)).trim(), "");
    t.false((await codesOf(lab)).some((code) => code.startsWith("BGP_DEFAULT_ROUTE")));
    // One before it takes it, in the place of the node's own.
    for (const [family, prefix, gateway] of [
      [4, "0.0.0.0/0", tor.ipv4],
      [6, "::/0", tor.ipv6],
    ] as const) {
      const taken = now(t, lab, "node-1");
      await ip(`-${family} route replace default via ${gateway} proto 17`);
      await tellsProblem(taken, "BGP_DEFAULT_ROUTE", `Route ${prefix}`);
    }
    await isSeenAsNode();
    await reachesWeb("default/client");
    // And takes it away again, with which the node has none until somebody writes its own.
    for (const [family, gateway] of [
      [4, tor.ipv4],
      [6, tor.ipv6],
    ] as const) {
      const withdrawn = now(t, lab, "node-1");
      await ip(`-${family} route del default proto 17`);
      const prefix = family === 4 ? "0.0.0.0/0" : "::/0";
      await tells(withdrawn, `${prefix} is gone`, (all) => problemOf(all, "BGP_DEFAULT_ROUTE", prefix) === undefined);
      await ip(`-${family} route add default via ${gateway}`);
    }
    await isSeenAsNode();

    await stop();
    await rm(file);
    await lab.until("all is well again", async () => (await status(lab)).ok);
    for (const flow of flows) {
      const { sent, answered } = await flow.end();
      t.true(sent > 50 && answered === sent, `${answered} of ${sent}`);
    }
  }));
