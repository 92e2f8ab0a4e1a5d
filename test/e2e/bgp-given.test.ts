/**
 * A kube-router that is given, as a program that has its flags and Nodes and nothing else: what TANDEM_KUBE_ROUTER does to labs of tests is here with the program of the tests
 * (test/support/kube-router).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { BgpPeerDto } from "../../src/api/dto.ts";
import { bgpRoutes } from "../../src/lab/bgp.ts";
import { ownApiServerScript } from "../support/api-server-process.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { ownKubeRouter } from "../support/lab-kube-router.ts";
import { longTest } from "../support/long.ts";

longTest(
  "with a program as kube-router pods of two nodes and a client outside reach each other, and it ends and comes back as it is told",
  (t) => {
    const options = {
      nodes: 2,
      kubeRouter: ownKubeRouter,
      nodesApi: { kind: "script", path: ownApiServerScript },
      gracefulRestart: true,
      objects: [pod("client", { node: "node-1" }), pod("web", { node: "node-2" })],
    } as const;
    return withLab(t, options, async (lab) => {
      await settled(lab);
      const two = lab.node("node-2");
      t.false(existsSync(join(two.folder, "gobgpd.pid")), "nothing plays it");
      const web = { 4: await podAddress(lab, "default/web"), 6: await podAddress(lab, "default/web", 6) };
      for (const from of ["default/client", "external/client"])
        for (const family of [4, 6] as const) t.is(await answererOf(lab, from, web[family], 8080), "default/web");
      const stateOf = async () => {
        const { stdout } = await lab.agent("node-1", ["bgp", "peers", "--json"]);
        return (JSON.parse(stdout) as readonly BgpPeerDto[]).find(({ node }) => node === "node-2")?.state;
      };
      await lab.until("the session stands", async () => (await stateOf()) === "ESTABLISHED");

      const flow = await beginFlow(lab, "default/client", { kind: "tcp", address: web[4], port: 8080, lateMs: 30_000 });
      try {
        await lab.stopBgp("node-2", "SIGTERM");
        await lab.until("the session is down", async () => (await stateOf()) !== "ESTABLISHED");
        await lab.until("node-2 says so", async () =>
          (await agentStatus(lab, "node-2")).problems.some(({ code }) => code === "GOBGP_UNREACHABLE"),
        );
        const routes = await bgpRoutes(lab.node("node-1").netns, "17");
        t.true(routes.has(two.podCidr4) && routes.has(two.podCidr6), "its routes stay for a restart");
        await lab.startBgp("node-2");
        await lab.until("the session stands again", async () => (await stateOf()) === "ESTABLISHED");
        await lab.waitForRoutes();
      } finally {
        const { sent, answered } = await flow.end();
        t.is(answered, sent);
      }
    });
  },
);
