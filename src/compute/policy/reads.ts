/**
 * What was asked of the surroundings while something was made from them. As long as the same questions have the same answers, it
 * would be made the same again.
 */
import type { RuleSurroundings, Surroundings } from "./surroundings.ts";

interface Read {
  readonly look: (surroundings: Surroundings) => unknown;
  readonly seen: unknown;
}

export class Reads implements RuleSurroundings {
  readonly selectors: Surroundings["selectors"];
  readonly peers: RuleSurroundings["peers"];
  readonly endpoints: Surroundings["endpoints"];
  readonly names: Surroundings["names"];
  readonly #reads: Read[] = [];
  #surroundings: Surroundings;

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
    this.names = { blocks: (pattern) => this.#read((each) => each.names.blocks(pattern)) };
  }

  get apiServer(): Surroundings["apiServer"] {
    return this.#read((each) => each.apiServer);
  }

  get services(): Surroundings["services"] {
    return this.#read((each) => each.services);
  }

  get groups(): Surroundings["groups"] {
    return this.#read((each) => each.groups);
  }

  get nodes(): Surroundings["nodes"] {
    return this.#read((each) => each.nodes);
  }

  /** Whether all answers are still the same. Surroundings for which they were are not asked twice. */
  hold(surroundings: Surroundings): boolean {
    if (surroundings === this.#surroundings) return true;
    const same = this.#reads.every(({ look, seen }) => look(surroundings) === seen);
    if (same) this.#surroundings = surroundings;
    return same;
  }

  #read<T>(look: (surroundings: Surroundings) => T): T {
    const seen = look(this.#surroundings);
    this.#reads.push({ look, seen });
    return seen;
  }
}
