/**
 * `scripts/bench policy`: what policy costs to compute, to hold, to bring to the kernel, and to ask. Published figures are those of
 * Cilium's Go engine on one core and of its datapath on this platform (reference figures of the project, other runs: read as +-20 %).
 */
import { oneChange, fromNothing } from "./policy-compute.ts";
import { entriesPerPods } from "./policy-entries.ts";
import { manifestToPacket } from "./policy-packet.ts";
import { verdictsByRules } from "./policy-verdicts.ts";
import { printTable, type Row } from "./support.ts";

export interface PolicyOptions {
  readonly rounds: number;
  /** Changes of each kind. */
  readonly changes: number;
}

export async function benchPolicy({ rounds, changes }: PolicyOptions): Promise<readonly Row[]> {
  const parts: readonly (readonly [string, () => readonly Row[] | Promise<readonly Row[]>])[] = [
    ["Computing policy from nothing, on a node with 50 pods of the cluster", () => fromNothing(rounds)],
    ["Computing after one change, tables to desired state", () => oneChange(changes * 2)],
    ["Entries of the kernel's policy maps", () => entriesPerPods()],
    ["A new flow's verdict by number of rules, ns net of the driver", () => verdictsByRules(rounds)],
    ["From a manifest's change to the first packet that obeys it", () => manifestToPacket(changes)],
  ];
  const all: Row[] = [];
  for (const [title, run] of parts) {
    const rows = await run();
    printTable(title, rows);
    all.push(...rows);
  }
  return all;
}
