/** A top of rack that is gobgpd: pods and service addresses are reached through it, and what is withdrawn is gone from its kernel. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { answererOf, beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

const families = [4, 6] as const;
const vips = { 4: "203.0.113.10", 6: "2001:db8:113::10" } as const;
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    externalTrafficPolicy: "Local",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: Object.values(vips).map((ip) => ({ ip })) } },
};
const backend = (number: number) => pod(`web-${number}`, { node: `node-${number}`, labels: { app: "web" } });

/** The node to which the router's kernel sends packets for that address; null when it has no route of its own. */
async function nodeFor(lab: Lab, family: 4 | 6): Promise<string | null> {
  const prefix = `${vips[family]}/${family === 4 ? 32 : 128}`;
  const text = await mustRun(["ip", "-n", lab.plan.tor.netns, `-${family}`, "-j", "route", "show", "exact", prefix]);
  const [route] = JSON.parse(text || "[]") as readonly { readonly gateway?: string; readonly protocol?: string }[];
  if (route === undefined) return null;
  return lab.plan.nodes.find(({ ipv4, ipv6 }) => route.gateway === (family === 4 ? ipv4 : ipv6))?.name ?? "another";
}

test("through a gobgpd a client outside reaches pods and a service of two nodes, as long as the addresses are announced", (t) => {
  const objects = [backend(1), backend(2), service];
  return withLab(t, { nodes: 2, tor: "gobgpd", agent: { advertiseServices: "all" }, objects }, async (lab) => {
    await settled(lab);
    for (const family of families) {
      for (const name of ["web-1", "web-2"])
        t.is(
          await answererOf(lab, "external/client", await podAddress(lab, `default/${name}`, family), 8080),
          `default/${name}`,
        );
      t.is(
        await answererOf(lab, "default/web-1", await podAddress(lab, "default/web-2", family), 8080),
        "default/web-2",
      );
      await lab.until(`the address of IPv${family} is announced`, async () => (await nodeFor(lab, family)) !== null);
      t.regex((await answererOf(lab, "external/client", vips[family], 80)) ?? "", /^default\/web-[12]$/);
    }

    // Announced by one node alone: it is where new connections go, and one that is open there goes on.
    await lab.deleteObjects([backend(1)]);
    for (const family of families)
      await lab.until("it is the other node's alone", async () => (await nodeFor(lab, family)) === "node-2");
    const flow = await beginFlow(lab, "external/client", { kind: "tcp", address: vips[4], port: 80 });
    for (const family of families)
      t.is(await answererOf(lab, "external/client", vips[family], 80), "default/web-2", `IPv${family}`);
    await lab.applyObjects([backend(1)]);
    await settled(lab);
    const { sent, answered, from } = await flow.end();
    t.is(answered, sent);
    t.deepEqual(from, ["default/web-2"]);

    // Of no node: withdrawn, and the router has no way there.
    await lab.deleteObjects([backend(1), backend(2)]);
    for (const family of families)
      await lab.until("it is withdrawn", async () => (await nodeFor(lab, family)) === null);
    t.is(await fetchFrom(lab, "external/client", vips[4], 80, 2), null);

    await lab.applyObjects([backend(1)]);
    for (const family of families) {
      await lab.until("it is announced again", async () => (await nodeFor(lab, family)) === "node-1");
      t.is(await answererOf(lab, "external/client", vips[family], 80), "default/web-1");
    }
  });
});
