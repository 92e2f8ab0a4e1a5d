/**
 * What was asked of the surroundings while something was made from them. As long as the same questions have the same answers, it
 * would be made the same again.
 *
 * It may outlive by far the surroundings that it was made from, and old tables keep what changed since: those are referred to weakly.
 * What is no longer there is no longer the same.
 */
import type { RuleSurroundings, Surroundings } from "./surroundings.ts";

type Holds = (surroundings: Surroundings) => boolean;

export class Reads {
  readonly #answers: readonly Holds[];
  /** Number of the surroundings for which they held. */
  #held: number;

  constructor(answers: readonly Holds[], { moment }: Surroundings) {
    this.#answers = answers;
    this.#held = moment;
  }

  /** Whether all answers are still the same. Surroundings for which they were are not asked twice. */
  hold(surroundings: Surroundings): boolean {
    if (this.#held === surroundings.moment) return true;
    if (!this.#answers.every((holds) => holds(surroundings))) return false;
    this.#held = surroundings.moment;
    return true;
  }
}

/** Answers for the surroundings, and writes down what was asked. */
export class Recorder implements RuleSurroundings {
  readonly selectors: RuleSurroundings["selectors"];
  readonly peers: RuleSurroundings["peers"];
  readonly endpoints: RuleSurroundings["endpoints"];
  readonly #answers: Holds[] = [];
  readonly #surroundings: Surroundings;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
    const all = () => this.#read((each) => each.selectors.all);
    this.selectors = {
      match: (selector) => this.#read((each) => each.selectors.match(selector)),
      get all() {
        return all();
      },
    };
    let counted = false;
    this.peers = {
      // Whose pods is not asked again one by one: a rule may name every pod there is.
      podsOf: (id) => {
        if (!counted) this.#read((each) => each.peers.version);
        counted = true;
        return surroundings.peers.podsOf(id);
      },
    };
    this.endpoints = { blocks: (service) => this.#read((each) => each.endpoints.blocks(service)) };
  }

  get apiServer(): RuleSurroundings["apiServer"] {
    return this.#read((each) => each.apiServer);
  }

  get services(): RuleSurroundings["services"] {
    return this.#readTable((each) => each.services);
  }

  get groups(): RuleSurroundings["groups"] {
    return this.#readTable((each) => each.groups);
  }

  get nodes(): RuleSurroundings["nodes"] {
    return this.#read((each) => each.nodes);
  }

  /** What was asked so far. */
  reads(): Reads {
    return new Reads(this.#answers, this.#surroundings);
  }

  #read<T>(look: (surroundings: Surroundings) => T): T {
    const seen = look(this.#surroundings);
    this.#answers.push((surroundings) => look(surroundings) === seen);
    return seen;
  }

  #readTable<T extends object>(look: (surroundings: Surroundings) => T): T {
    const seen = look(this.#surroundings);
    const reference = new WeakRef(seen);
    this.#answers.push((surroundings) => look(surroundings) === reference.deref());
    return seen;
  }
}
