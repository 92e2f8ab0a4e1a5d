/**
 * What the redirecting groups of policy sets demand of requests. The kernel knows only that such a group goes to the proxy: what it asks
 * there is told to the proxy under the set's number, before anybody is judged by that set.
 */
import { createHash } from "node:crypto";
import type { CompiledDirection, CompiledSet } from "../compute/desired.ts";
import { groupCount } from "./policy-encode.ts";

export interface GroupDemand {
  /** Bit of the group in the kernel's vectors. */
  readonly group: number;
  /** Canonical text (CompiledDirection.demands). */
  readonly text: string;
}

export interface SetDemands {
  readonly egress: readonly GroupDemand[];
  readonly ingress: readonly GroupDemand[];
}

/** By set number; sets that redirect nothing are not in it. */
export type DemandsBySet = ReadonlyMap<number, SetDemands>;

/** Who tells the proxy. */
export interface DemandsPublisher {
  /** What was told of a set, by this agent or one before it; null: nothing. */
  known(set: number): SetDemands | null;
  /** Numbers up to it may mean something to the proxy, and are not given again. */
  readonly highest: number;
  /**
   * Resolves when the proxy has it, or when waiting longer would hold policies up. Never rejects: what it cannot do is its own to report.
   * @param urgent endpoints are about to be switched to one of these sets
   */
  publish(demands: DemandsBySet, urgent: boolean): Promise<void>;
}

export const nothingDemanded: SetDemands = { egress: [], ingress: [] };

export function demandsOf({ egress, ingress }: CompiledSet): SetDemands {
  return { egress: ofDirection(egress), ingress: ofDirection(ingress) };
}

function ofDirection(direction: CompiledDirection): readonly GroupDemand[] {
  const { demands = [] } = direction;
  const first = groupCount(direction) - demands.length;
  return demands.map((text, at) => ({ group: first + at, text }));
}

export function demandsNothing({ egress, ingress }: SetDemands): boolean {
  return egress.length + ingress.length === 0;
}

/** Part of a set's digest: two sets of equal entries are two where they ask for other requests. */
export function demandsDigest(demands: SetDemands): string {
  if (demandsNothing(demands)) return "";
  const texts = [demands.egress, demands.ingress].map((each) => each.map(({ group, text }) => [group, text]));
  return ` ${createHash("sha1").update(JSON.stringify(texts)).digest("hex")}`;
}
