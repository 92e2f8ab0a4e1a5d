/**
 * An API server that is there and says nothing, in the two ways that no connection tells of: its packets are lost on the way, or its process
 * hangs while the kernel of its machine goes on. Watches are quiet by nature, so that each agent knows of it within a minute, without asking for
 * more than its Lease, is shown here by the real kernel's timers; that it does by ours: test/unit/kube/pulse.test.ts.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { connectKube } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { runningProcess } from "../../src/lab/processes.ts";
import { inside, mustRun } from "../../src/lab/run.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { isRealApiServer, labApiServer } from "../support/api-server-process.ts";
import { defineCustomKinds, statusOf, untilWell } from "../support/faults-cluster.ts";
import { withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

/**
 * Seconds until every status tells of a server or a path that says nothing. What a watch that is dead alone takes, on a server that answers
 * everything else, is longer: docs/decisions/0008-silence-of-watches.md, test/unit/kube/reflector-server.test.ts.
 */
const withinSeconds = 60;

/** What an agent says of kinds that it does not follow. */
const silence = /^KUBE_(SILENT|UNREACHABLE|CUT|TIMEOUT)$/;
const nodes = ["node-1", "node-2"] as const;

/** @param folder of the lab's API server */
async function serverProcess(folder: string): Promise<number> {
  if (isRealApiServer) return Number.parseInt(await readFile(join(folder, "data/kube-apiserver.pid"), "utf8"), 10);
  const running = await runningProcess(join(folder, "apiserver.pid"));
  if (running === null) throw new Error("no API server runs");
  return running.pid;
}

/** Until every agent's status tells of it. @returns what they say */
async function untilTold(lab: Lab, what: string): Promise<readonly string[]> {
  const told: string[] = [];
  for (const node of nodes) {
    const tells = async () => {
      const problem = (await statusOf(lab, node))?.problems.find(({ code }) => silence.test(code));
      if (problem !== undefined) told.push(`${node}: ${problem.code} ${problem.object}: ${problem.message}`);
      return problem !== undefined;
    };
    await lab.until(`${node} tells that ${what}`, tells, 240_000);
  }
  return told;
}

async function during(
  t: ExecutionContext,
  lab: Lab,
  what: string,
  begin: () => Promise<unknown>,
  end: () => Promise<unknown>,
): Promise<void> {
  await untilWell(lab, nodes);
  try {
    await begin();
    const began = performance.now();
    const told = await untilTold(lab, what);
    const seconds = (performance.now() - began) / 1_000;
    t.log(`${what}: in every status after ${seconds.toFixed(1)} s\n${told.join("\n")}`);
    t.is(told.length, nodes.length);
    t.true(seconds < withinSeconds, `${what}: told after ${seconds} s`);
  } finally {
    await end();
  }
  await untilWell(lab, nodes);
}

longTest(
  "an API server that is there and says nothing is known within a minute, by its packets or by its process",
  async (t) => {
    await withLab(t, { nodes: 2, externals: [], api: labApiServer, agent: { identities: "cluster" } }, async (lab) => {
      const { api } = lab.plan;
      const client = connectKube({ kubeconfig: api.kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
      t.teardown(() => client.close());
      await defineCustomKinds(client);
      const routes = async (verb: string) => {
        for (const { ipv4 } of lab.plan.nodes)
          await mustRun(inside(api, ["ip", "route", verb, "blackhole", `${ipv4}/32`]));
      };
      await during(
        t,
        lab,
        "packets from the API server are lost",
        () => routes("add"),
        () => routes("del"),
      );
      const pid = await serverProcess(api.folder);
      await during(
        t,
        lab,
        "the process of the API server hangs",
        async () => process.kill(pid, "SIGSTOP"),
        async () => process.kill(pid, "SIGCONT"),
      );
    });
  },
);
