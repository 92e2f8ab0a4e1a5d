/**
 * Identities as they are known here: by number, and by their labels. Of several numbers for a set, the lowest of the cluster counts: labels name
 * the cluster, but nothing keeps others from writing what they like.
 */
import type { Batch } from "../kube/index.ts";
import type { ClusterIdentity } from "./cilium-identity.ts";
import { isWithin, type NumberRange } from "./record.ts";

export class IdentityDirectory {
  readonly #range: NumberRange;
  readonly #byNumber = new Map<number, ClusterIdentity>();
  readonly #byKey = new Map<string, Set<number>>();

  /** @param range numbers of the cluster; others are known by number alone */
  constructor(range: NumberRange) {
    this.#range = range;
  }

  get size(): number {
    return this.#byNumber.size;
  }

  get(number: number): ClusterIdentity | undefined {
    return this.#byNumber.get(number);
  }

  /** The one that everybody uses for these labels. */
  find(key: string): ClusterIdentity | undefined {
    const numbers = [...(this.#byKey.get(key) ?? [])].filter((number) => isWithin(this.#range, number));
    return this.#byNumber.get(Math.min(...numbers));
  }

  all(): Iterable<ClusterIdentity> {
    return this.#byNumber.values();
  }

  /** @returns keys of which something changed */
  update({ added, updated, deleted }: Batch<ClusterIdentity>): ReadonlySet<string> {
    const keys = new Set<string>();
    for (const name of deleted) {
      const key = this.#remove(Number(name));
      if (key !== undefined) keys.add(key);
    }
    for (const [, identity] of [...added, ...updated]) {
      const before = this.put(identity);
      if (before !== undefined) keys.add(before);
      keys.add(identity.key);
    }
    return keys;
  }

  /** @returns the key that its number stood for */
  put(identity: ClusterIdentity): string | undefined {
    const { number, key } = identity;
    const before = this.#remove(number);
    this.#byNumber.set(number, identity);
    const numbers = this.#byKey.get(key);
    if (numbers === undefined) this.#byKey.set(key, new Set([number]));
    else numbers.add(number);
    return before;
  }

  #remove(number: number): string | undefined {
    const key = this.#byNumber.get(number)?.key;
    if (key === undefined) return undefined;
    this.#byNumber.delete(number);
    const numbers = this.#byKey.get(key);
    numbers?.delete(number);
    if (numbers?.size === 0) this.#byKey.delete(key);
    return key;
  }
}
