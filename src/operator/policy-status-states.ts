/**
 * The states that the policies of a kind have gone through, as far as this process saw them: of each the digest, by which it is recognised in what
 * an agent says of its kernel. Everybody gets the changes of a kind in one order, so an agent that is at a state has every policy that came
 * with it or before, at the generation that it has now.
 *
 *   state      1    2    3    4        a came with 1, b with 2, a at its next generation with 4
 *   policies   a    a b  b    b a'     an agent at 3 has b, and not a'
 *
 * What is said by a digest is true of exactly that set, whichever way it came about: states that somebody skipped, or saw in another order,
 * are only not recognised.
 */
import { PolicyDigest, type PolicyVersion } from "../kube-objects/index.ts";

/** States that are remembered: agents are behind by some at most. */
const mostStates = 2_048;

export interface PolicyState {
  /** Counts up. */
  readonly number: number;
  /** Digest of those of its policies that are not valid. */
  readonly invalid: string;
}

interface Present extends PolicyVersion {
  readonly valid: boolean;
  /** Number of the state that it came with. */
  readonly since: number;
}

export class PolicyStates {
  readonly #limit: number;
  readonly #all = new PolicyDigest();
  readonly #invalid = new PolicyDigest();
  readonly #present = new Map<string, Present>();
  /** Oldest first. */
  readonly #states = new Map<string, PolicyState>();
  #number = 0;

  /** @param limit states that are remembered */
  constructor(limit = mostStates) {
    this.#limit = limit;
    this.#remember();
  }

  /** It is there, instead of what was there under its key. */
  put(key: string, { uid, generation }: PolicyVersion, valid: boolean): void {
    const before = this.#present.get(key);
    if (before?.uid === uid && before.generation === generation) return;
    if (before !== undefined) this.#take(before);
    this.#all.add({ uid, generation });
    if (!valid) this.#invalid.add({ uid, generation });
    this.#present.set(key, { uid, generation, valid, since: this.#number + 1 });
    this.#remember();
  }

  remove(key: string): void {
    const before = this.#present.get(key);
    if (before === undefined) return;
    this.#take(before);
    this.#present.delete(key);
    this.#remember();
  }

  /** The newest state with this digest. */
  find(digest: string): PolicyState | null {
    return this.#states.get(digest) ?? null;
  }

  /** @returns number of the state with which this version came; null: it is not what is there */
  since(key: string, { uid, generation }: PolicyVersion): number | null {
    const present = this.#present.get(key);
    return present?.uid === uid && present.generation === generation ? present.since : null;
  }

  #take(policy: Present): void {
    this.#all.remove(policy);
    if (!policy.valid) this.#invalid.remove(policy);
  }

  #remember(): void {
    const digest = this.#all.text;
    this.#states.delete(digest);
    this.#states.set(digest, { number: ++this.#number, invalid: this.#invalid.text });
    const [oldest] = this.#states.keys();
    if (this.#states.size > this.#limit && oldest !== undefined) this.#states.delete(oldest);
  }
}
