/** Which policies the kernel of this node holds, for the agent's report: brought up to date by what changed since the last computation. */
import type { ComputeResult } from "../compute/result.ts";
import { type KindReport, mostNamed, PolicyDigest, type PolicyKind } from "../kube-objects/index.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { compareText } from "../model/labels.ts";
import type { PolicyRow } from "../model/tables.ts";

/** Of a kind. */
class Held {
  readonly all = new PolicyDigest();
  readonly failing = new PolicyDigest();
  /** "namespace/name" or "name" of those that fail. */
  readonly keys = new Set<string>();
}

export type AppliedResult = Pick<ComputeResult, "lastValid" | "desired" | "policies">;

export class KernelPolicies {
  #rows: ReadonlyMap<string, PolicyRow> = new Map();
  /** Keys of the table that fail. */
  #failing: ReadonlySet<string> = new Set();
  readonly #held: Readonly<Record<PolicyKind, Held>> = {
    NetworkPolicy: new Held(),
    CiliumNetworkPolicy: new Held(),
    CiliumClusterwideNetworkPolicy: new Held(),
  };

  /**
   * @param result that is in the kernel as a whole
   * @param rows of the table `policies` that it is of
   */
  update(result: AppliedResult, rows: ReadonlyMap<string, PolicyRow>): Readonly<Record<PolicyKind, KindReport>> {
    const refused = refusedPolicies(result);
    const failing = new Set(refused);
    const changes = mapChanges(this.#rows, rows);
    const changed = new Set(changes.map(({ key }) => key));
    for (const key of this.#failing) if (!changed.has(key) && isInvalid(key, rows, result)) failing.add(key);
    for (const { key, before, after } of changes) {
      if (before !== undefined) this.#held[before.kind].all.remove(before);
      if (after !== undefined) this.#held[after.kind].all.add(after);
      if (isInvalid(key, rows, result)) failing.add(key);
    }
    for (const key of this.#failing) {
      const row = this.#rows.get(key);
      if (row !== undefined && (changed.has(key) || !failing.has(key))) this.#fail(row, false);
    }
    for (const key of failing) {
      const row = rows.get(key);
      if (row !== undefined && (changed.has(key) || !this.#failing.has(key))) this.#fail(row, true);
    }
    this.#rows = rows;
    this.#failing = failing;
    const { NetworkPolicy, CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy } = this.#held;
    return {
      NetworkPolicy: reportOf(NetworkPolicy),
      CiliumNetworkPolicy: reportOf(CiliumNetworkPolicy),
      CiliumClusterwideNetworkPolicy: reportOf(CiliumClusterwideNetworkPolicy),
    };
  }

  #fail(row: PolicyRow, fails: boolean): void {
    const { failing, keys } = this.#held[row.kind];
    if (fails) {
      failing.add(row);
      keys.add(nameOf(row));
    } else {
      failing.remove(row);
      keys.delete(nameOf(row));
    }
  }
}

/** Whether another version than this one is in force, or none. */
function isInvalid(key: string, rows: ReadonlyMap<string, PolicyRow>, { lastValid }: AppliedResult): boolean {
  const row = rows.get(key);
  return row !== undefined && lastValid.get(key) !== row;
}

/** Keys of the policies of pods, or of the node, whose set as a whole is more than the kernel takes. */
function refusedPolicies({ desired, policies }: AppliedResult): readonly string[] {
  const refused = new Set(desired.sets.filter((set) => set.refused !== null).map(({ key }) => key));
  if (refused.size === 0) return [];
  const pods = new Set(desired.endpoints.filter(({ set }) => refused.has(set ?? "")).map(({ row }) => row.pod));
  const host = desired.host !== undefined && refused.has(desired.host.set);
  return policies
    .filter((policy) => policy.pods.some((pod) => pods.has(pod)) || (host && policy.ownNode))
    .map(({ kind, namespace, name }) => `${kind}/${namespace}/${name}`);
}

function nameOf({ namespace, name }: PolicyRow): string {
  return namespace === "" ? name : `${namespace}/${name}`;
}

function reportOf({ all, failing, keys }: Held): KindReport {
  const named = keys.size === 0 ? [] : [...keys].sort(compareText).slice(0, mostNamed);
  return { count: all.count, digest: all.text, failing: { count: failing.count, digest: failing.text, keys: named } };
}
