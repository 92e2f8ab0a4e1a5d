/** Service addresses that nothing answers for end at the node: the client is told, and the fabric does not get the packet back. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { settled, withLab } from "../support/lab.ts";

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "nobody", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "nobody" },
    ports: [{ name: "http", port: 80, targetPort: 8080, nodePort: 30080 }],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

/** curl's exit code: 7 is told that nobody is there, 28 waited in vain. */
async function ask(lab: Lab, vip: string, port: number): Promise<number> {
  const url = `http://${vip.includes(":") ? `[${vip}]` : vip}:${port}/`;
  return (await lab.exec("external/client", ["curl", "-sg", "-m", "20", url])).code;
}

test("a client outside is told that nobody serves, at any port of a service's address, also while no agent runs", (t) =>
  withLab(t, { nodes: 1, objects: [service] }, async (lab) => {
    await settled(lab);
    const { ipv4, ipv6 } = lab.node("node-1");
    const { tor } = lab.plan;
    for (const [family, vip, via, back] of [
      ["-4", vips[0], ipv4, tor.ipv4],
      ["-6", vips[1], ipv6, tor.ipv6],
    ] as const) {
      // As the fabric has it that learned the address, and a node that sends what it does not know to the fabric.
      for (const [on, route] of [
        ["tor", `${vip} via ${via}`],
        ["node/node-1", `default via ${back}`],
      ] as const) {
        const { code, stderr } = await lab.exec(on, ["ip", family, "route", "replace", ...route.split(" ")]);
        if (code !== 0) throw new Error(stderr);
      }
    }
    for (const vip of vips) for (const port of [80, 81]) t.is(await ask(lab, vip, port), 7, `${vip} ${port}`);
    await lab.stopAgent("node-1", "SIGKILL");
    for (const vip of vips) for (const port of [80, 81]) t.is(await ask(lab, vip, port), 7, `no agent: ${vip} ${port}`);
  }));
