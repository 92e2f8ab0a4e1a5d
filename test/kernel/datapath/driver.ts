/**
 * A datapath as a process of its own, in whatever network namespace it was started, driven over IPC: what an agent is to it. Killing
 * the process is what a crash of an agent is.
 */
import type { AgentConfig } from "../../../src/config/index.ts";
import { Datapath } from "../../../src/datapath/index.ts";
import type { DatapathEvent } from "../../../src/datapath/report.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { runTool } from "../../../src/native/run-tool.ts";
import type { Problem } from "../../../src/model/status.ts";
import { loadNative } from "../../../src/native/index.ts";

type Calls = Readonly<Record<string, (...args: never[]) => unknown>>;

interface Request {
  readonly id: number;
  readonly call: string;
  readonly args: readonly unknown[];
}

const problems = new Map<string, readonly Problem[]>();
const events: DatapathEvent[] = [];
let datapath: Datapath | null = null;

function running(): Datapath {
  if (datapath === null) throw new Error("start comes first");
  return datapath;
}

const calls: Calls = {
  async start(config: AgentConfig) {
    datapath = new Datapath({
      native: loadNative(),
      config,
      log: silentLogger,
      clock: systemClock,
      conditions: { report: (topic, list) => problems.set(topic, list) },
      demands: { known: () => null, highest: 0, publish: async () => undefined },
      run: runTool,
    });
    datapath.onEvents((batch) => events.push(...batch.decode()));
    await datapath.start();
  },
  apply: (desired: Parameters<Datapath["apply"]>[0]) => running().apply(desired),
  verify: () => running().verify(),
  close: () => running().close(),
  report: () => running().report(),
  traffic: () => running().traffic(),
  endpointState: (id: number) => running().endpointState(id),
  conntrack: () => running().conntrack(),
  renamings: () => running().renamings(),
  identities: () => running().identities(),
  policySets: () => running().policySets(),
  services: () => running().services(),
  whenReady: (pod: string, timeoutMs: number) => running().whenReady(pod, AbortSignal.timeout(timeoutMs)),
  problems: () => [...problems.values()].flat(),
  events: () => events.splice(0),
};

process.on("message", (message) => {
  const { id, call, args } = message as Request;
  void Promise.resolve()
    .then(() => calls[call]?.(...(args as never[])))
    .then(
      (result) => process.send?.({ id, result }),
      (error: Error & { readonly code?: string; readonly object?: string; readonly remedy?: string }) => {
        const { name, message: text, code, object, remedy } = error;
        process.send?.({ id, error: { name, message: text, code, object, remedy } });
      },
    );
});
process.on("disconnect", () => process.exit(0));
process.send?.({ id: 0, result: null });
