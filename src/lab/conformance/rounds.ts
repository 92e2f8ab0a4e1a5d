/**
 * Names that clients have learned before a probe. Whether an address is allowed depends on all names that have given it, and what one pod
 * was answered may count for its whole node (`dnsShared`): so probes that want an address to have been given by other names are sent one round after the other.
 */
import type { CaseProbe } from "./case.ts";

export interface Round<P> {
  readonly probes: readonly P[];
  /** Names as they compare, and their addresses. Empty: nothing is resolved in this round. */
  readonly records: ReadonlyMap<string, readonly string[]>;
}

/** As few rounds as come of taking each probe into the first one that it fits into. */
export function planRounds<P extends { readonly probe: CaseProbe }>(probes: readonly P[]): readonly Round<P>[] {
  const rounds: P[][] = [];
  for (const probe of probes) {
    const fitting = rounds.find((round) => fits([...round, probe]));
    if (fitting === undefined) rounds.push([probe]);
    else fitting.push(probe);
  }
  return rounds.map((round) => ({ probes: round, records: recordsOf(round) }));
}

/** Lower case, without a final dot. */
export function comparable(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

/** Whether each probe's destination is given by its own names only. */
function fits(round: readonly { readonly probe: CaseProbe }[]): boolean {
  const records = recordsOf(round);
  return round.every(({ probe }) => {
    const own = recordsOf([{ probe }]);
    return [...records].every(
      ([name, addresses]) => addresses.includes(probe.to) === (own.get(name)?.includes(probe.to) ?? false),
    );
  });
}

function recordsOf(round: readonly { readonly probe: CaseProbe }[]): ReadonlyMap<string, readonly string[]> {
  const records = new Map<string, readonly string[]>();
  for (const { name, addresses } of round.flatMap(({ probe }) => probe.resolved)) {
    const known = records.get(comparable(name)) ?? [];
    records.set(comparable(name), [...new Set([...known, ...addresses])]);
  }
  return records;
}
