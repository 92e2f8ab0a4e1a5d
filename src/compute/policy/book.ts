/**
 * The policies in force, kept over time: a row is read once, and what nobody changed is not looked at again. A policy that became
 * invalid goes on with its last valid version: the only history that compute keeps, as a mistake in an edit must not open what was
 * closed; it ends with the object (another uid). It is a result, and given back to the next computation after a restart, so that it does
 * not end with the agent.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { put, take } from "../../lib/sorted.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { PolicyRow } from "../../model/tables.ts";
import { isNodeSubject } from "./node-subjects.ts";
import { parsePolicy } from "./parse.ts";
import type { ParsedPolicy, Peer, Spec } from "./rules.ts";

export interface PolicyInForce {
  readonly key: string;
  readonly row: PolicyRow;
  /** As the row is now. */
  readonly valid: boolean;
  /** Of the row, or of its last valid version. */
  readonly specs: readonly Spec[];
  readonly problems: readonly Problem[];
}

/** Each list is in order of the keys, and the same object as before if it holds the same. */
export interface Policies {
  readonly all: readonly PolicyInForce[];
  /** About which there is something to say. */
  readonly withProblems: readonly PolicyInForce[];
  /** That select nodes. */
  readonly ofNodes: readonly PolicyInForce[];
  /** That name CIDR groups. */
  readonly withGroups: readonly PolicyInForce[];
  /** That name services. */
  readonly withServices: readonly PolicyInForce[];
}

const kinds: Readonly<Record<keyof Policies, (policy: PolicyInForce) => boolean>> = {
  all: () => true,
  withProblems: ({ problems }) => problems.length > 0,
  ofNodes: ({ specs }) => specs.some(({ subject }) => isNodeSubject(subject)),
  withGroups: (policy) => names(policy, "group"),
  withServices: (policy) => names(policy, "service"),
};

function names({ specs }: PolicyInForce, kind: Peer["kind"]): boolean {
  return specs.some(({ rules }) => rules.some(({ peers }) => peers.some((peer) => peer.kind === kind)));
}

interface LastValid {
  readonly row: PolicyRow;
  readonly specs: readonly Spec[];
}

export class PolicyBook {
  #rows: ReadonlyMap<string, PolicyRow> = new Map();
  readonly #inForce = new Map<string, PolicyInForce>();
  #policies: Policies = { all: [], withProblems: [], ofNodes: [], withGroups: [], withServices: [] };
  #lastValid = VersionedMap.from<string, LastValid>();
  #lastValidRows: VersionedMap<string, PolicyRow>;

  /** @param lastValid what a computation before this one had in force */
  constructor(lastValid: ReadonlyMap<string, PolicyRow> = new Map()) {
    const valid = new Map<string, LastValid>();
    for (const [key, row] of lastValid) {
      const parsed = parsePolicy(row);
      if (parsed.valid) valid.set(key, { row, specs: parsed.specs });
    }
    this.#lastValid = VersionedMap.from(valid);
    this.#lastValidRows = VersionedMap.from([...valid].map(([key, { row }]) => [key, row] as const));
  }

  /** The rows in force at the last `read`: those that are valid, and the last valid ones of the others. */
  get lastValid(): ReadonlyMap<string, PolicyRow> {
    return this.#lastValidRows;
  }

  read(rows: ReadonlyMap<string, PolicyRow>): Policies {
    const changes = mapChanges(this.#rows, rows);
    const lastValid = new Map<string, LastValid | undefined>();
    // What an agent before this one had in force, and whose policy went while none ran.
    if (this.#rows.size === 0)
      for (const key of this.#lastValid.keys()) if (!rows.has(key)) lastValid.set(key, undefined);
    this.#rows = rows;
    const edited = new EditedLists(this.#policies);
    for (const { key, after } of changes) {
      const before = this.#inForce.get(key);
      if (before !== undefined) edited.take(before);
      if (after === undefined) {
        this.#inForce.delete(key);
        lastValid.set(key, undefined);
        continue;
      }
      const { policy, valid } = this.#inForceNow(key, after);
      this.#inForce.set(key, policy);
      lastValid.set(key, valid);
      edited.put(policy);
    }
    this.#policies = edited.lists();
    this.#lastValid = this.#lastValid.with(lastValid);
    this.#lastValidRows = this.#lastValidRows.with([...lastValid].map(([key, valid]) => [key, valid?.row] as const));
    return this.#policies;
  }

  #inForceNow(key: string, row: PolicyRow): { readonly policy: PolicyInForce; readonly valid: LastValid | undefined } {
    const parsed = parsePolicy(row);
    const { specs, problems } = parsed;
    if (parsed.valid) return { policy: { key, row, valid: true, specs, problems }, valid: { row, specs } };
    const before = this.#lastValid.get(key);
    if (before === undefined || before.row.uid !== row.uid)
      return { policy: { key, row, valid: false, specs: [], problems }, valid: undefined };
    const policy = { key, row, valid: false, specs: before.specs, problems: [...problems, kept(parsed, before)] };
    return { policy, valid: before };
  }
}

/** Lists while they change; copied at the first change. */
class EditedLists {
  readonly #before: Policies;
  readonly #edited: { -readonly [K in keyof Policies]?: PolicyInForce[] } = {};

  constructor(before: Policies) {
    this.#before = before;
  }

  put(policy: PolicyInForce): void {
    for (const kind of kindsOf(policy)) put(this.#edit(kind), policy, (a, b) => compareText(a.key, b.key));
  }

  take(policy: PolicyInForce): void {
    for (const kind of kindsOf(policy)) take(this.#edit(kind), ({ key }) => compareText(key, policy.key));
  }

  lists(): Policies {
    return { ...this.#before, ...this.#edited };
  }

  #edit(kind: keyof Policies): PolicyInForce[] {
    const list = this.#edited[kind] ?? [...this.#before[kind]];
    this.#edited[kind] = list;
    return list;
  }
}

function kindsOf(policy: PolicyInForce): readonly (keyof Policies)[] {
  return (Object.keys(kinds) as (keyof Policies)[]).filter((kind) => kinds[kind](policy));
}

function kept({ object }: ParsedPolicy, { row }: LastValid): Problem {
  return {
    code: "POLICY_KEPT",
    severity: "warning",
    object,
    field: "",
    message: `its last valid version (generation ${row.generation}) stays in force until it is corrected or deleted`,
    remedy: "correct what is said about it",
  };
}
