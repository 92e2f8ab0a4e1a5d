/**
 * Takes off a node what kube-proxy or kube-router's firewall and service proxy left there, once they do not run any more. Rules go before what they
 * refer to, and each table of iptables at once, so that no packet meets half of them.
 */
import { messageOf, TandemError } from "../../lib/errors.ts";
import type { NativeBinding } from "../../native/contract.ts";
import { nftRemoval, type Owner, removal } from "./chains.ts";
import type { RunTool } from "../../native/run-tool.ts";
import { type ForeignRules, findForeign } from "./find.ts";
import { ipvsWords } from "./ipvs.ts";
import { holdsRules, processesOf, type RunningProcess } from "./processes.ts";

export interface RemoveOptions {
  readonly native: Pick<NativeBinding, "links" | "addresses" | "applyNetlink">;
  readonly run: RunTool;
  readonly owner: Owner;
  /** Says what it would do and does nothing, also while its owner runs. */
  readonly dryRun: boolean;
  readonly processes?: (owner: Owner) => Promise<readonly RunningProcess[]>;
}

export interface ForeignStep {
  readonly what: "chains" | "nftables" | "IPVS service" | "device" | "ipset" | "not looked for";
  readonly object: string;
  readonly outcome: string;
  readonly failed: boolean;
}

interface Work {
  readonly what: ForeignStep["what"];
  readonly object: string;
  readonly run: () => Promise<unknown>;
}

/**
 * Doing it again does what is left.
 * @throws TandemError FOREIGN_RUNNING; what a tool refuses is a step that failed
 */
export async function removeForeign(options: RemoveOptions): Promise<readonly ForeignStep[]> {
  const { owner, dryRun, processes = processesOf } = options;
  const running = (await processes(owner)).find((process) => holdsRules(owner, process));
  if (running !== undefined && !dryRun) throw stillRunning(owner, running);
  const found = await findForeign(options);
  const steps: ForeignStep[] = [];
  for (const { what, object, run } of plan(found, options)) {
    try {
      if (!dryRun) await run();
      steps.push({ what, object, outcome: "removed", failed: false });
    } catch (error) {
      steps.push({ what, object, outcome: `not removed: ${messageOf(error)}`, failed: true });
    }
  }
  const missing = found.missing.map((program) => ({
    what: "not looked for" as const,
    object: program,
    outcome: "this program is not here, or failed: what it would show is not known",
    failed: false,
  }));
  return [...steps, ...missing];
}

function* plan(found: ForeignRules, { native, run }: RemoveOptions): Iterable<Work> {
  const must = async (program: string, words: readonly string[], input?: string) => {
    if ((await run(program, words, input)) === null) throw new Error(`there is no program ${program}`);
  };
  for (const { restore, tables } of found.chains) {
    for (const table of tables) {
      const object = `${table.chains.length} of ${table.table} (${restore.replace("-restore", "")})`;
      yield { what: "chains", object, run: () => must(restore, ["--noflush"], removal([table])) };
    }
  }
  for (const table of found.nftTables)
    yield { what: "nftables", object: table, run: () => must("nft", ["-f", "-"], nftRemoval(table)) };
  for (const service of found.services) {
    const object = `${service.protocol} ${service.address}`;
    yield { what: "IPVS service", object, run: () => must("ipvsadm", ["-D", ...ipvsWords(service)]) };
  }
  for (const { index, name } of found.devices) {
    const remove = async () => {
      const [failure] = await native.applyNetlink(null, [{ kind: "link", op: "delete", index }]);
      if (failure !== undefined && failure.code !== "ENODEV") throw new Error(failure.log ?? failure.code);
    };
    yield { what: "device", object: name, run: remove };
  }
  for (const set of found.sets) yield { what: "ipset", object: set, run: () => must("ipset", ["destroy", set]) };
}

function stillRunning(owner: Owner, { pid }: RunningProcess): TandemError {
  const remedy =
    owner === "kube-proxy"
      ? "delete its DaemonSet first; --dry-run shows what there is"
      : "run it with --run-service-proxy=false and --run-firewall=false first; --dry-run shows what there is";
  return new TandemError({
    code: "FOREIGN_RUNNING",
    object: owner,
    message: `it is at work on this node (process ${pid}) and would write its rules again`,
    remedy,
  });
}
