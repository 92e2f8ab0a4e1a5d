/**
 * The policy sets of the local pods. Pods of one identity share a set, unless port names in ingress rules mean different numbers on
 * them; then there is one for each meaning.
 */
import { compareText } from "../../model/labels.ts";
import type { ContainerPort } from "../../model/tables.ts";
import type { CompiledDirection, CompiledSet } from "../desired.ts";
import type { PodFact } from "../identity/pods.ts";
import type { PolicyInForce } from "./book.ts";
import { compileDirection, makeSet } from "./compile.ts";
import { makePortSet, portSetText } from "./port-sets.ts";
import { type NamedPort, namedRanges } from "./named-ports.ts";
import { Resolution, RuleResolver, sameEntries } from "./resolve.ts";
import type { Direction, Spec } from "./rules.ts";
import { type Selecting, SubjectIndex } from "./subject-index.ts";
import type { Surroundings } from "./surroundings.ts";

export type Enforcement = "default" | "always" | "never";

interface Direct {
  readonly resolution: Resolution;
  readonly enforced: boolean;
  readonly compiled: CompiledDirection;
}

interface Remembered {
  readonly selecting: Selecting;
  readonly surroundings: Surroundings;
  readonly ingress: Direct;
  readonly egress: Direct;
  readonly set: CompiledSet;
}

const nothingSaid = new Resolution([], []);

export class SetCompiler {
  readonly #enforcement: Enforcement;
  readonly #resolver = new RuleResolver();
  readonly #subjects = new SubjectIndex();
  #remembered = new Map<string, Remembered>();

  constructor(enforcement: Enforcement) {
    this.#enforcement = enforcement;
  }

  /**
   * @param pods those of this node
   * @returns the sets, sorted by key, and each pod's
   */
  compile(
    pods: Iterable<PodFact>,
    policies: readonly PolicyInForce[],
    surroundings: Surroundings,
  ): { readonly sets: readonly CompiledSet[]; readonly setOf: ReadonlyMap<string, string> } {
    const remembered = new Map<string, Remembered>();
    const setOf = new Map<string, string>();
    this.#subjects.update(policies);
    for (const fact of pods) {
      const selecting = this.#subjects.selecting(fact.labelSet);
      const key = setKey(fact, selecting.named);
      setOf.set(fact.key, key);
      if (!remembered.has(key)) remembered.set(key, this.#build(key, selecting, fact.row.ports, surroundings));
    }
    this.#remembered = remembered;
    const sets = [...remembered.values()].map(({ set }) => set).sort((a, b) => compareText(a.key, b.key));
    return { sets, setOf };
  }

  #build(key: string, selecting: Selecting, ports: readonly ContainerPort[], surroundings: Surroundings): Remembered {
    const before = this.#remembered.get(key);
    if (before?.selecting === selecting && before.surroundings === surroundings) return before;
    const subject = { specs: selecting.specs, ports };
    const direct = (direction: Direction): Direct => {
      const known = before?.[direction];
      if (known !== undefined && before?.selecting === selecting && known.resolution.holds(surroundings)) return known;
      const enforced = this.#isEnforced(subject.specs, direction);
      const resolution =
        this.#enforcement === "never"
          ? nothingSaid
          : this.#resolver.resolve(subject, direction, enforced, surroundings);
      const same = known?.enforced === enforced && sameEntries(known.resolution.entries, resolution.entries);
      return { resolution, enforced, compiled: same ? known.compiled : compileDirection(resolution.entries, enforced) };
    };
    const ingress = direct("ingress");
    const egress = direct("egress");
    const same = before?.ingress.compiled === ingress.compiled && before.egress.compiled === egress.compiled;
    const set = same ? before.set : makeSet(key, egress.compiled, ingress.compiled);
    return { selecting, surroundings, ingress, egress, set };
  }

  #isEnforced(specs: readonly Spec[], direction: Direction): boolean {
    switch (this.#enforcement) {
      case "always":
        return true;
      case "never":
        return false;
      case "default":
        return specs.some(({ isolates }) => isolates[direction]);
    }
  }
}

/** "300", or "300 6 http=6:8080-8080" where a name is used. */
function setKey({ identity, row }: PodFact, named: ReadonlyMap<string, NamedPort>): string {
  const meanings = [...named].map(
    ([name, port]) => `${name}=${portSetText(makePortSet(namedRanges([port], row.ports)))}`,
  );
  return [String(identity), ...meanings].join(" ");
}
