/**
 * Tables of the proxy: what the redirecting groups of the kernel's policy sets demand, each text once under a number that it keeps. The
 * number is the same after a restart of the agent, so that counters and records of a proxy that ran on go on meaning the same.
 */
import type { DemandsBySet, GroupDemand, SetDemands } from "../../datapath/set-demands.ts";
import type { L7RuleSet, L7Tables } from "../../native/l7-contract.ts";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
export type L7Rules = WithoutId<L7RuleSet>;

/** @returns null: there is something among it that no proxy of ours enforces */
export type ReadDemands = (text: string) => L7Rules | null;

/** As it is on disk. */
export interface KeptTables {
  readonly nextRuleSet: number;
  /** Numbers of policy sets up to it may mean something to a proxy. */
  readonly highestSet: number;
  readonly ruleSets: readonly { readonly id: number; readonly text: string }[];
  readonly sets: readonly {
    readonly set: number;
    readonly egress: readonly (readonly [group: number, ruleSet: number])[];
    readonly ingress: readonly (readonly [group: number, ruleSet: number])[];
  }[];
}

export const noTables: KeptTables = { nextRuleSet: 1, highestSet: 0, ruleSets: [], sets: [] };

/** No request matches it: what it demands stays closed. */
const closed: L7Rules = { protocol: "http", rules: [] };

export class L7Book {
  readonly #read: ReadDemands;
  readonly #rules = new Map<string, L7Rules>();
  #kept: KeptTables;
  #sets: ReadonlyMap<number, SetDemands>;

  constructor(read: ReadDemands, kept: KeptTables) {
    this.#read = read;
    this.#kept = kept;
    const textOf = new Map(kept.ruleSets.map(({ id, text }) => [id, text]));
    const demands = (pairs: readonly (readonly [number, number])[]): readonly GroupDemand[] =>
      pairs.map(([group, id]) => ({ group, text: textOf.get(id) ?? "" }));
    this.#sets = new Map(
      kept.sets.map(({ set, egress, ingress }) => [set, { egress: demands(egress), ingress: demands(ingress) }]),
    );
  }

  get kept(): KeptTables {
    return this.#kept;
  }

  known(set: number): SetDemands | null {
    return this.#sets.get(set) ?? null;
  }

  /** @returns false: they were these already */
  update(demands: DemandsBySet): boolean {
    if (demands.size === this.#sets.size && [...demands].every(([set, each]) => this.#sets.get(set) === each)) {
      return false;
    }
    const before = JSON.stringify(this.#kept);
    this.#sets = new Map(demands);
    const ids = new Map(this.#kept.ruleSets.map(({ id, text }) => [text, id]));
    let { nextRuleSet } = this.#kept;
    const used = new Map<string, number>();
    const idOf = (text: string): number => {
      const id = ids.get(text) ?? nextRuleSet++;
      ids.set(text, id);
      used.set(text, id);
      return id;
    };
    const pairs = (each: readonly GroupDemand[]) => each.map(({ group, text }) => [group, idOf(text)] as const);
    const sets = [...demands]
      .sort(([a], [b]) => a - b)
      .map(([set, { egress, ingress }]) => ({ set, egress: pairs(egress), ingress: pairs(ingress) }));
    const ruleSets = [...used].map(([text, id]) => ({ id, text })).sort((a, b) => a.id - b.id);
    const highestSet = Math.max(this.#kept.highestSet, ...demands.keys());
    this.#kept = { nextRuleSet, highestSet, ruleSets, sets };
    for (const text of this.#rules.keys()) if (!used.has(text)) this.#rules.delete(text);
    return JSON.stringify(this.#kept) !== before;
  }

  tables(): L7Tables {
    const { ruleSets, sets } = this.#kept;
    return {
      ruleSets: ruleSets.map(({ id, text }): L7RuleSet => ({ ...this.#rulesOf(text), id })),
      groups: sets.flatMap(({ set, egress, ingress }) =>
        ([["egress", egress] as const, ["ingress", ingress] as const] as const).flatMap(([direction, pairs]) =>
          pairs.map(([group, ruleSet]) => ({ policySet: set, direction, group, ruleSet })),
        ),
      ),
    };
  }

  #rulesOf(text: string): L7Rules {
    const known = this.#rules.get(text);
    if (known !== undefined) return known;
    const rules = this.#read(text) ?? closed;
    this.#rules.set(text, rules);
    return rules;
  }
}
