/**
 * The policies in force. A row is read once. A policy that became invalid goes on with its last valid version: the only history that
 * compute keeps, as a mistake in an edit must not open what was closed; it ends with the object (another uid). It is a result, and
 * given back to the next computation after a restart, so that it does not end with the agent.
 */
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { PolicyRow, ServiceRow } from "../../model/tables.ts";
import { parsePolicy } from "./parse.ts";
import type { ParsedPolicy, Spec } from "./rules.ts";
import { podsBehind, servicesOf } from "./surroundings.ts";

export interface PolicyInForce {
  readonly key: string;
  readonly row: PolicyRow;
  /** As the row is now. */
  readonly valid: boolean;
  /** Of the row, or of its last valid version. */
  readonly specs: readonly Spec[];
  readonly problems: readonly Problem[];
}

interface LastValid {
  readonly row: PolicyRow;
  readonly specs: readonly Spec[];
}

export class PolicyBook {
  readonly #parsed = new WeakMap<PolicyRow, ParsedPolicy>();
  readonly #inForce = new WeakMap<PolicyRow, PolicyInForce>();
  #lastValid = new Map<string, LastValid>();
  #named: ReadonlySet<string> = new Set();

  /** @param lastValid what a computation before this one had in force */
  constructor(lastValid: ReadonlyMap<string, PolicyRow> = new Map()) {
    for (const [key, row] of lastValid) {
      const { valid, specs } = parsePolicy(row);
      if (valid) this.#lastValid.set(key, { row, specs });
    }
  }

  /** The rows in force at the last `read`: those that are valid, and the last valid ones of the others. */
  get lastValid(): ReadonlyMap<string, PolicyRow> {
    return new Map([...this.#lastValid].map(([key, { row }]) => [key, row]));
  }

  /** In order of their keys. */
  read(rows: ReadonlyMap<string, PolicyRow>): readonly PolicyInForce[] {
    const lastValid = new Map<string, LastValid>();
    const policies = [...rows.keys()].sort(compareText).flatMap((key): PolicyInForce[] => {
      const row = rows.get(key);
      if (row === undefined) return [];
      const parsed = this.#parse(row);
      if (parsed.valid) {
        lastValid.set(key, { row, specs: parsed.specs });
        const known = this.#inForce.get(row);
        if (known?.key === key) return [known];
        const policy = { key, row, valid: true, specs: parsed.specs, problems: parsed.problems };
        this.#inForce.set(row, policy);
        return [policy];
      }
      const before = this.#lastValid.get(key);
      if (before === undefined || before.row.uid !== row.uid) {
        return [{ key, row, valid: false, specs: [], problems: parsed.problems }];
      }
      lastValid.set(key, before);
      return [{ key, row, valid: false, specs: before.specs, problems: [...parsed.problems, kept(parsed, before)] }];
    });
    this.#lastValid = lastValid;
    return policies;
  }

  #parse(row: PolicyRow): ParsedPolicy {
    const known = this.#parsed.get(row);
    if (known !== undefined) return known;
    const parsed = parsePolicy(row);
    this.#parsed.set(row, parsed);
    return parsed;
  }

  /** Label keys that selectors of policies name; the same set as before, if it holds the same. */
  namedKeys(policies: readonly PolicyInForce[], services: ReadonlyMap<string, ServiceRow>): ReadonlySet<string> {
    const named = new Set<string>();
    for (const { specs } of policies) {
      for (const spec of specs) for (const key of keysOf(spec, services)) named.add(key);
    }
    if (named.size !== this.#named.size || [...named].some((key) => !this.#named.has(key))) this.#named = named;
    return this.#named;
  }
}

function* keysOf(spec: Spec, services: ReadonlyMap<string, ServiceRow>): Iterable<string> {
  const selectors = [spec.subject, ...spec.requires.map(({ selector }) => selector)];
  for (const { peers } of spec.rules) {
    for (const peer of peers) {
      if (peer.kind === "pods") selectors.push(peer.selector);
      if (peer.kind === "service") {
        for (const service of servicesOf(peer, services)) {
          const behind = podsBehind(service);
          if (behind !== null) selectors.push(behind);
        }
      }
    }
  }
  for (const { requirements } of selectors) for (const { key } of requirements) yield key;
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
