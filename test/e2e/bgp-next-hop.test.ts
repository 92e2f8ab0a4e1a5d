/** Service addresses where nodes have two uplinks with a router on each: a next hop on one link is of no use to the router on the other. */
import { join } from "node:path";
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { fetchFrom, pod, settled, withLab } from "../support/lab.ts";

const vips = ["203.0.113.10", "2001:db8:113::10"] as const;
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    externalTrafficPolicy: "Local",
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

type Router = Lab["plan"]["routers"][number];

/** What the router has of an address: next hops by BGP, and the way of its kernel. */
async function waysAt(router: Router, vip: string): Promise<string> {
  const socket = join(router.folder, "bird.ctl");
  const prefix = `${vip}/${vip.includes(":") ? 128 : 32}`;
  const bird = await mustRun(["birdc", "-s", socket, "show", "route", "for", prefix, "all"]).catch(() => "");
  const told = bird.includes(`${vip}/`) ? [...bird.matchAll(/BGP\.next_hop: (\S+)/g)].map(([, hop]) => hop) : [];
  const kernel = await mustRun(["ip", "-n", router.netns, "route", "get", vip]).catch(() => "none");
  return `${told.sort().join(",")} via ${/ via (\S+) dev eth0/.exec(kernel)?.[1] ?? "nobody"}`;
}

test("with advertiseNextHop self each router leads to the node by its own link, and clients are served by both", (t) => {
  const options = {
    topology: "ecmp",
    nodes: 2,
    agent: { advertiseServices: "all", advertiseNextHop: "self" },
    objects: [pod("web", { node: "node-1" }), service],
  } as const;
  return withLab(t, options, async (lab) => {
    await settled(lab);
    const { uplinks } = lab.node("node-1");
    for (const [at, router] of lab.plan.routers.entries()) {
      for (const [family, vip] of [
        ["ipv4", vips[0]],
        ["ipv6", vips[1]],
      ] as const) {
        const hop = uplinks[at]?.[family] ?? "";
        // With the node's address the router on its second link has no route at all.
        await lab.until(
          `${router.netns} leads ${vip} by its own link`,
          async () => (await waysAt(router, vip)) === `${hop} via ${hop}`,
        );
      }
    }
    // Flows are spread over the routers by ports.
    for (let i = 0; i < 12; i++)
      for (const vip of vips)
        t.regex((await fetchFrom(lab, "external/client", vip, 80)) ?? "nobody", /^default\/web /, vip);
  });
});

test("with advertiseNextHop self and IPv4 sessions alone, IPv6 addresses go out with the node's and are not dropped", (t) => {
  const agent = { advertiseServices: "all", advertiseNextHop: "self" };
  return withLab(t, { nodes: 1, agent, objects: [pod("web", { node: "node-1" }), service] }, async (lab) => {
    await settled(lab);
    const { ipv4, ipv6 } = lab.node("node-1");
    for (const [vip, hop] of [
      [vips[0], ipv4],
      [vips[1], ipv6],
    ] as const) {
      // bird says "Invalid NEXT_HOP attribute" to an address of IPv4, and has no path then.
      await lab.until(`the router has ${vip}`, async () => (await waysAt(lab.plan.tor, vip)) === `${hop} via ${hop}`);
      t.regex((await fetchFrom(lab, "external/client", vip, 80)) ?? "nobody", /^default\/web /, vip);
    }
  });
});
