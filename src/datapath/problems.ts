/** What could not be done to the kernel, in words: one problem per map and cause, so that a full map is one line and not thousands. */
import { messageOf } from "../lib/errors.ts";
import type { Problem } from "../model/status.ts";

/** One entry that was not written or removed. */
export interface EntryFailure {
  readonly map: string;
  /** What the entry is about, in the field's terms: "address 10.1.2.3". */
  readonly entry: string;
  /** Of the entry, in a map that is written entry by entry. */
  readonly key?: string;
  /** Text of the address of the service that it keeps from being served as it should be. */
  readonly service?: string;
  readonly maxEntries: number;
  readonly error: unknown;
}

/** How many entries a message names. */
const namedEntries = 5;

export function errorCode(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" ? code : "";
}

/** No room: E2BIG of hash maps, ENOSPC of tries. */
export function isFull(error: unknown): boolean {
  return ["E2BIG", "ENOSPC"].includes(errorCode(error));
}

export function entryProblems(failures: readonly EntryFailure[]): readonly Problem[] {
  const groups = new Map<string, EntryFailure[]>();
  for (const failure of failures) {
    const cause = isFull(failure.error) ? "full" : messageOf(failure.error);
    const topic = `${failure.map}\u0000${cause}`;
    const group = groups.get(topic);
    if (group === undefined) groups.set(topic, [failure]);
    else group.push(failure);
  }
  return [...groups.values()].flatMap((group) => groupProblem(group));
}

function groupProblem(group: readonly EntryFailure[]): readonly Problem[] {
  const first = group[0];
  if (first === undefined) return [];
  const names = [...new Set(group.map(({ entry }) => entry))];
  const more = names.length - namedEntries;
  const which = `${names.slice(0, namedEntries).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  const base = { severity: "error", object: `map ${first.map}`, field: "" } as const;
  if (isFull(first.error)) {
    return [
      {
        ...base,
        code: "MAP_FULL",
        message: `it is full (${first.maxEntries} entries at most): not in the kernel: ${which}`,
        remedy: `set mapSizes.${first.map} above ${first.maxEntries} and restart the agent; flows go on meanwhile`,
      },
    ];
  }
  return [
    {
      ...base,
      code: "MAP_WRITE_FAILED",
      message: `${messageOf(first.error)}: not as it should be in the kernel: ${which}`,
      remedy: "it is tried again with the next change; if it stays, see the kernel log",
    },
  ];
}
