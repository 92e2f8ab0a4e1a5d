/** When pods are let onto a node, and that it is decided once in a boot. */
import test, { type ExecutionContext } from "ava";
import { NetworkReadiness } from "../../../src/agent/network-readiness.ts";
import { type BootMarks, noMarks } from "../../../src/api/boot-file.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { BgpKnowledge } from "../../../src/observe/route-reasons.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** What agents of one boot remember. */
class Boot {
  marks: BootMarks = noMarks;
  read = async () => this.marks;
  write = async (marks: BootMarks) => {
    this.marks = marks;
  };
}

/** An agent that looks for its network; the only lack that it can have is that of kube-router. */
async function started(t: ExecutionContext, marks: Boot, timeoutSeconds = 60) {
  const clock = new ManualClock();
  const bgp: { state: BgpKnowledge["state"] } = { state: "waiting" };
  const said: string[] = [];
  let problems: readonly Problem[] = [];
  const network = new NetworkReadiness({
    nodeName: "n1",
    families: new Set([4 as const]),
    share: 100,
    timeoutSeconds,
    marks,
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
  await network.restore();
  await network.start();
  const pass = async (seconds: number) => {
    for (let at = 0; at < seconds; at++) await clock.advance(1_000);
  };
  return { network, bgp, said, pass, codes: () => problems.map(({ code }) => code) };
}

const silent = "kube-router's BGP daemon does not answer";

test("pods wait for the network; when it is there they are let in, and that is remembered for this boot only", async (t) => {
  const boot = new Boot();
  const first = await started(t, boot);
  t.deepEqual(boot.marks, { datapath: true, network: "waiting" }, "kube-router need not wait for BGP");
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

  const next = await started(t, boot);
  t.deepEqual(next.said, ["open: "], "a restart makes nobody wait, though kube-router is away");
  await next.pass(30);
  t.deepEqual([next.said, next.codes()], [["open: "], []]);
  const rebooted = await started(t, new Boot());
  await rebooted.pass(2);
  t.is(rebooted.said.at(-1), `waits: ${silent}`);
});

test("after the time limit pods are let in without it, which stays a problem until it is there", async (t) => {
  const boot = new Boot();
  const agent = await started(t, boot);
  await agent.pass(58);
  t.is(agent.said.at(-1), `waits: ${silent}`);
  t.true((agent.network.status().secondsLeft ?? 99) <= 3);
  await agent.pass(5);
  t.is(agent.said.at(-1), `open: ${silent}`);
  t.deepEqual(agent.codes(), ["NETWORK_INCOMPLETE"]);
  t.deepEqual(boot.marks, { datapath: true, network: "degraded" });
  await agent.network.stop();

  const next = await started(t, boot);
  t.deepEqual(next.said, ["open: "], "nor does a restart then");
  await next.pass(7);
  t.deepEqual([next.said.at(-1), next.codes()], [`open: ${silent}`, ["NETWORK_INCOMPLETE"]]);
  next.bgp.state = "synced";
  await next.pass(7);
  t.deepEqual([next.said.at(-1), next.codes(), next.network.status().state], ["open: ", [], "ready"]);
});

test("with a limit of 0 nothing is waited for", async (t) => {
  const agent = await started(t, new Boot(), 0);
  t.deepEqual(agent.said, ["open: "]);
  await agent.pass(3);
  t.deepEqual([agent.said, agent.codes()], [["open: "], []]);
});
