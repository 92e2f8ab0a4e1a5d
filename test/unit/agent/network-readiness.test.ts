/** When pods are let onto a node, and that it is decided once in a boot. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { NetworkReadiness } from "../../../src/agent/network-readiness.ts";
import { bootFile, readMarks } from "../../../src/api/boot-file.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { Problem } from "../../../src/model/status.ts";
import type { BgpKnowledge } from "../../../src/observe/route-reasons.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";

interface Start {
  readonly folder: string;
  readonly boot?: string;
  readonly timeoutSeconds?: number;
}

async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-network-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** An agent that looks for its network; the only lack that it can have is that of kube-router. */
async function started(t: ExecutionContext, { folder, boot = "boot-1", timeoutSeconds = 60 }: Start) {
  const clock = new ManualClock();
  const bgp: { state: BgpKnowledge["state"] } = { state: "waiting" };
  const said: string[] = [];
  let problems: readonly Problem[] = [];
  const network = new NetworkReadiness({
    nodeName: "n1",
    families: new Set([4 as const]),
    share: 100,
    timeoutSeconds,
    socket: join(folder, "agent.sock"),
    boot,
    store: new TableStore(),
    bgp,
    conditions: {
      report: (_topic, all) => {
        problems = all;
      },
    },
    onWaiting: (lack) => void said.push(`waits: ${lack}`),
    onOpen: (lack) => void said.push(`open: ${lack}`),
    onTold: () => undefined,
    clock,
    log: silentLogger,
  });
  t.teardown(() => network.stop());
  await network.start();
  const pass = async (seconds: number) => {
    // Each look writes a file, which takes its own time.
    for (let at = 0; at < seconds; at++) {
      await clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  const marks = () => readMarks(join(folder, "agent.sock"), boot);
  return { network, bgp, said, pass, marks, codes: () => problems.map(({ code }) => code) };
}

const silent = "kube-router's BGP daemon does not answer";

test("pods wait for the network; when it is there they are let in, and that is remembered for this boot only", async (t) => {
  const folder = await folderOf(t);
  const first = await started(t, { folder });
  t.deepEqual(await first.marks(), { datapath: true, network: "waiting" }, "kube-router need not wait for BGP");
  await first.pass(3);
  t.is(first.said.at(-1), `waits: ${silent}`);
  t.deepEqual(first.codes(), [], "kube-router takes a while");
  await first.pass(20);
  t.deepEqual(first.codes(), ["NETWORK_WAITING"]);
  t.like(first.network.status(), { state: "waiting", text: silent });
  first.bgp.state = "synced";
  await first.pass(3);
  t.is(first.said.at(-1), "open: ");
  t.deepEqual(first.codes(), []);
  t.deepEqual(first.network.status(), { state: "ready", text: "", secondsLeft: null });
  await first.network.stop();

  const next = await started(t, { folder });
  t.deepEqual(next.said, ["open: "], "a restart makes nobody wait, though kube-router is away");
  await next.pass(30);
  t.deepEqual([next.said, next.codes()], [["open: "], []]);
  const rebooted = await started(t, { folder, boot: "boot-2" });
  await rebooted.pass(2);
  t.is(rebooted.said.at(-1), `waits: ${silent}`);
});

test("after the time limit pods are let in without it, which stays a problem until it is there", async (t) => {
  const folder = await folderOf(t);
  const agent = await started(t, { folder });
  await agent.pass(58);
  t.is(agent.said.at(-1), `waits: ${silent}`);
  t.true((agent.network.status().secondsLeft ?? 99) <= 3);
  await agent.pass(5);
  t.is(agent.said.at(-1), `open: ${silent}`);
  t.deepEqual(agent.codes(), ["NETWORK_INCOMPLETE"]);
  t.deepEqual(await agent.marks(), { datapath: true, network: "degraded" });
  await agent.network.stop();

  const next = await started(t, { folder });
  t.deepEqual(next.said, ["open: "], "nor does a restart then");
  await next.pass(7);
  t.deepEqual([next.said.at(-1), next.codes()], [`open: ${silent}`, ["NETWORK_INCOMPLETE"]]);
  next.bgp.state = "synced";
  await next.pass(7);
  t.deepEqual([next.said.at(-1), next.codes(), next.network.status().state], ["open: ", [], "ready"]);
});

test("with a limit of 0 nothing is waited for", async (t) => {
  const agent = await started(t, { folder: await folderOf(t), timeoutSeconds: 0 });
  t.deepEqual(agent.said, ["open: "]);
  await agent.pass(3);
  t.deepEqual([agent.said, agent.codes()], [["open: "], []]);
});

test("a file that is none makes the node wait as after a boot", async (t) => {
  const folder = await folderOf(t);
  const file = bootFile(join(folder, "agent.sock"));
  await writeFile(file, '{"boot": "boot-1", "network": "re');
  const agent = await started(t, { folder });
  await agent.pass(2);
  t.is(agent.said.at(-1), `waits: ${silent}`);
  t.deepEqual(JSON.parse(await readFile(file, "utf8")), { boot: "boot-1", datapath: true, network: "waiting" });
});
