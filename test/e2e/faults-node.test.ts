/**
 * What can go wrong on a node itself: a disk below the agent's state or its manifests that is full or broken, and two agents at once. The kernel goes
 * on, the agent says what is wrong, also one that starts in the middle of it, and when it is mended so is the agent.
 *
 * The clock of a lab cannot be stepped: its agents read the machine's, and time namespaces (time_namespaces(7)) shift the clocks that
 * never step but not CLOCK_REALTIME. What a step may do is tested where the clock is handed in: test/unit/agent/clock-steps.test.ts.
 */
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { inside, mustRun, run, type RunResult } from "../../src/lab/run.ts";
import { program } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { type FaultCluster, podOn, statusOf, withFaultLab } from "../support/faults-cluster.ts";
import { FaultTraffic } from "../support/faults-traffic.ts";
import { answererOf, pod, podAddress, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

/** A folder gets a disk of its own, of some KB, with what was in it. Taken down with the lab. */
async function onSmallDisk(folder: string, kilobytes: number): Promise<void> {
  const aside = await mkdtemp(join(tmpdir(), "tandem-faults-"));
  await cp(folder, aside, { recursive: true });
  await mustRun(["mount", "-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", folder]);
  await cp(aside, folder, { recursive: true });
  await rm(aside, { recursive: true });
}

/** Until nothing more can be written there. @returns what to remove to mend it */
async function fillDisk(t: ExecutionContext, folder: string): Promise<string> {
  const file = join(folder, "filler");
  const { code } = await run(["dd", "if=/dev/zero", `of=${file}`, "bs=4k"]);
  t.not(code, 0, "the disk is full");
  return file;
}

async function untilProblem(lab: Lab, node: string, code: string, remedy: RegExp): Promise<void> {
  await lab.until(`${node} tells ${code}`, async () => {
    const problems = (await statusOf(lab, node))?.problems ?? [];
    return problems.some((problem) => problem.code === code && remedy.test(problem.remedy));
  });
}

async function untilWell(lab: Lab, node: string): Promise<void> {
  const well = async () => {
    const status = await statusOf(lab, node);
    return status?.ready === true && status.problems.length === 0;
  };
  await lab.until(`${node} has no problem`, well, 120_000);
}

/** Runs an agent of that node as another DaemonSet would, until it ends or the signal. */
function anotherAgent(lab: Lab, name: string, signal: AbortSignal): Promise<RunResult> {
  const node = lab.node(name);
  const command = [...program("agent"), "--config", join(node.folder, "agent.json")];
  return run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, command), { signal, timeoutMs: 400_000 });
}

async function fullState(t: ExecutionContext, lab: Lab, traffic: FaultTraffic): Promise<void> {
  const { stateDir } = lab.node("node-1");
  await lab.stopAgent("node-1");
  await onSmallDisk(stateDir, 512);
  await lab.startAgent("node-1");
  await traffic.during(t, "the disk is full", async () => {
    const filler = await fillDisk(t, stateDir);
    // Labels are known, so policy goes on; what the next agent would start from is old.
    await traffic.admitVisitor(true);
    await traffic.untilVisitor(true);
    await untilProblem(lab, "node-1", "STATE_DIR", /free some space/);
    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    await traffic.admitVisitor(false);
    await traffic.untilVisitor(false);
    await rm(filler);
    await untilWell(lab, "node-1");
  });
}

/** As a file system that met an error: the kernel mounts it read-only. */
async function readOnlyState(
  t: ExecutionContext,
  lab: Lab,
  cluster: FaultCluster,
  traffic: FaultTraffic,
): Promise<void> {
  const { stateDir } = lab.node("node-1");
  const file = (name: string) => join(stateDir, name);
  const leaving = podOn("node-1", "leaving", "client");
  await cluster.runPods([leaving]);
  await traffic.during(t, "the disk takes no writes", async () => {
    // What an agent that was killed in the middle of its work, and pods that went without a word, leave behind.
    const [endpoint = "none"] = (await readdir(file("cni"))).filter((name) => name.endsWith(".json"));
    const gone = {
      ...JSON.parse(await readFile(file(`cni/${endpoint}`), "utf8")),
      containerId: "gone",
      hostDevice: "tdm-gone",
    };
    await writeFile(file("cni/gone.json"), JSON.stringify(gone));
    const leftovers = ["cni/.cut-short.json", "cni/no-endpoint.json", "last-good/policies/cut-short.json.next"];
    await mkdir(file("last-good/policies"), { recursive: true });
    for (const name of leftovers) await writeFile(file(name), "{");
    await mustRun(["mount", "-o", "remount,ro", stateDir]);
    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    await traffic.admitVisitor(true);
    await traffic.untilVisitor(true);
    await untilProblem(lab, "node-1", "STATE_DIR", /make the folder writable/);
    await cluster.endPods(lab, [leaving]);
    await mustRun(["mount", "-o", "remount,rw", stateDir]);
    await untilWell(lab, "node-1");
    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    await traffic.admitVisitor(false);
    await traffic.untilVisitor(false);
    for (const name of ["cni/gone.json", ...leftovers]) t.false(existsSync(file(name)), name);
    await untilWell(lab, "node-1");
  });
}

longTest("a full or broken disk below the state, two agents for a node: the kernel goes on, and it is told", (t) =>
  withFaultLab(t, async (lab, cluster) => {
    const traffic = await FaultTraffic.prepare(lab, cluster);
    await fullState(t, lab, traffic);
    await readOnlyState(t, lab, cluster, traffic);

    const { stateDir } = lab.node("node-1");
    const [brief, fresh] = [podOn("node-1", "brief", "client"), podOn("node-1", "fresh", "fresh")];
    await cluster.runPods([brief]);
    await traffic.during(t, "a pod is added to a full disk", async () => {
      const filler = await fillDisk(t, stateDir);
      await cluster.client.create(kinds.pods, fresh);
      await lab.until("its kubelet tells why it has no network", async () => {
        const { status } = await cluster.client.get(kinds.pods, { namespace: "default", name: "fresh" });
        return /STATE_DIR.*ENOSPC/.test(JSON.stringify(status));
      });
      // Its labels are new, and their number cannot be kept here; the cluster has it, so policy goes on.
      await traffic.admitVisitor(true);
      await traffic.untilVisitor(true);
      // One that goes needs no room.
      await cluster.endPods(lab, [brief]);
      await rm(filler);
      await lab.until("it runs", async () => {
        const { status } = await cluster.client.get(kinds.pods, { namespace: "default", name: "fresh" });
        return (status as { readonly phase?: string } | undefined)?.phase === "Running";
      });
      await untilWell(lab, "node-1");
      await cluster.endPods(lab, [fresh]);
    });

    await traffic.during(t, "two agents", async () => {
      const stop = new AbortController();
      const second = await anotherAgent(lab, "node-1", stop.signal);
      t.is(second.code, 1);
      t.regex(second.stderr, /AGENT_RUNNING: .*another agent works with this folder: process \d+.*stop that one first/);
      await untilWell(lab, "node-1");

      await lab.stopAgent("node-1", "SIGKILL");
      const ended: RunResult[] = [];
      const both = [1, 2].map(() => anotherAgent(lab, "node-1", stop.signal).then((result) => ended.push(result)));
      try {
        await untilWell(lab, "node-1");
        await lab.until("one of two that started at once has given up", async () => ended.length > 0);
        t.is(ended.length, 1);
        t.is(ended[0]?.code, 1);
        t.regex(ended[0]?.stderr ?? "", /AGENT_RUNNING/);
        await traffic.admitVisitor(false);
        await traffic.untilVisitor(false);
      } finally {
        stop.abort();
        await Promise.all(both);
      }
      await lab.startAgent("node-1");
      await untilWell(lab, "node-1");
    });
  }),
);

const closed = (comment: string) =>
  JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "closed", namespace: "default", annotations: { comment } },
    spec: { podSelector: { matchLabels: { app: "server" } }, policyTypes: ["Ingress"] },
  });

longTest(
  "a manifest that a full disk cut short is not what its writer meant: what it said before stays in force",
  (t) =>
    withLab(t, { nodes: 1, externals: [], agents: false }, async (lab) => {
      const { manifests } = lab.plan;
      await onSmallDisk(manifests, 256);
      await lab.startAgent("node-1");
      await lab.applyObjects([pod("server"), pod("client")]);
      const server = await podAddress(lab, "default/server");
      const reaches = async (seconds: number) =>
        (await answererOf(lab, "default/client", server, 8080, seconds)) === "default/server";
      const file = join(manifests, "closed.json");
      await writeFile(file, closed(""));
      await lab.until("the server is closed", async () => !(await reaches(1)));

      const filler = await fillDisk(t, manifests);
      await t.throwsAsync(writeFile(file, closed("x".repeat(9_000))), { code: "ENOSPC" });
      t.is((await readFile(file)).length, 4_096, "the first page had room where the old text was");
      await untilProblem(lab, "node-1", "MANIFEST_SYNTAX", /./);
      t.false(await reaches(1));
      await lab.stopAgent("node-1", "SIGKILL");
      await lab.startAgent("node-1");
      await untilProblem(lab, "node-1", "MANIFEST_SYNTAX", /./);
      t.false(await reaches(1));

      await rm(filler);
      await writeFile(file, closed("x".repeat(9_000)));
      await untilWell(lab, "node-1");
      t.false(await reaches(1));
      await rm(file);
      await lab.until("the server is open", () => reaches(2));
    }),
);
