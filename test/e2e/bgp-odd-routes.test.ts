/** What no fabric should announce: addresses of nodes as a pod CIDR, and a default route. Each is told, and packets go on as the kernel's routes say. */
import { appendFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { RouteDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { far, serveFar } from "../support/far.ts";
import { beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

const status = async (lab: Lab) => (await lab.agentStatus("node-1")) as StatusDto;
const codesOf = async (lab: Lab) => (await status(lab)).problems.map(({ code, object }) => `${code} ${object}`);
const objects = [pod("client", { node: "node-1" }), pod("web", { node: "node-2" })];

/** Has the router announce these, until it is told to stop. */
async function announcing(lab: Lab, prefixes: readonly string[]) {
  const { folder } = lab.plan.tor;
  const bird = (...words: readonly string[]) => mustRun(["birdc", "-s", join(folder, "bird.ctl"), ...words]);
  const routes = prefixes.map((prefix) => `route ${prefix} blackhole;`).join(" ");
  await appendFile(join(folder, "bird.conf"), `protocol static odd { disabled; ipv4; ${routes} }\n`);
  await bird("configure");
  await bird("enable", "odd");
  return () => bird("disable", "odd");
}

test("a pod CIDR over nodes' own addresses, and a default route: told, no session ends and no flow breaks", (t) =>
  withLab(t, { nodes: 2, agent: { masqueradeIpv4: true }, objects }, async (lab) => {
    await settled(lab);
    await serveFar(lab);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const web = await podAddress(lab, "default/web");
    const ip = (line: string) => mustRun(["ip", "-n", one.netns, ...line.split(" ")]);
    const seenByFar = async () => (await fetchFrom(lab, "default/client", far[4], 8080)) ?? "";
    await lab.until("all is well at first", async () => (await status(lab)).ok);
    t.true((await seenByFar()).includes(`peer ${one.ipv4}:`));
    const inside = await beginFlow(lab, "default/client", { kind: "tcp", address: web, port: 8080 });
    const outside = await beginFlow(lab, "default/client", { kind: "tcp", address: far[4], port: 8080 });

    // The first four addresses of the nodes' link, those of both nodes among them.
    const cidr = one.ipv4.replace(/\.\d+$/, ".0/30");
    const file = join(lab.plan.manifests, "zz-node-9.json");
    const other = {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node-9" },
      spec: { podCIDR: cidr, podCIDRs: [cidr] },
      status: { addresses: [{ type: "InternalIP", address: "172.30.99.9" }] },
    };
    await writeFile(file, JSON.stringify(other));
    const stop = await announcing(lab, [cidr, "0.0.0.0/0"]);
    await lab.until("both nodes are named", async () => {
      const codes = await codesOf(lab);
      return ["node-1", "node-2"].every((name) => codes.includes(`POD_CIDR_NODE_ADDRESS Node ${name}`));
    });
    const routeTo9 = async () => {
      const { stdout } = await lab.agent("node-1", ["routes", "--json"]);
      return (JSON.parse(stdout) as readonly RouteDto[]).find(({ podCidr }) => podCidr === cidr);
    };
    await lab.until("the kernel has the route", async () => (await routeTo9())?.present === true);
    t.like(await routeTo9(), { kind: "fabric", via: [lab.plan.tor.ipv4] });
    t.regex(await ip(`route get ${two.ipv4}`), new RegExp(`via ${lab.plan.tor.ipv4} `), "it does hide the node");
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);
    t.not(await fetchFrom(lab, "node/node-1", web, 8080), null);
    t.regex((await status(lab)).sources.find(({ name }) => name === "gobgp")?.detail ?? "", /2 of 2 peers established/);

    // kube-router since 1.3.1 rejects a default route.
    t.is((await ip("route show default proto 17")).trim(), "");
    t.false((await codesOf(lab)).some((code) => code.startsWith("BGP_DEFAULT_ROUTE")));
    // One before it takes it, in the place of the node's own.
    const before = (await ip("route show default")).trim();
    await ip(`route replace default via ${lab.plan.tor.ipv4} proto 17`);
    await lab.until("it is told", async () => (await codesOf(lab)).includes("BGP_DEFAULT_ROUTE Route 0.0.0.0/0"));
    t.true((await seenByFar()).includes(`peer ${one.ipv4}:`), "the world sees the node and not the pod, as before");
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);
    await ip(`route replace ${before}`);

    await stop();
    await rm(file);
    await lab.until("all is well again", async () => (await status(lab)).ok);
    for (const flow of [inside, outside]) {
      const { sent, answered } = await flow.end();
      t.true(sent > 50 && answered === sent, `${answered} of ${sent}`);
    }
  }));
