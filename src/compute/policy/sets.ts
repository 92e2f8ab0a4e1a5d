/**
 * The policy sets of the local pods. Pods of one identity share a set, unless port names in ingress rules mean different numbers on
 * them, or their annotations make other ports visible; then there is one for each meaning.
 */
import { compareText } from "../../model/labels.ts";
import type { ContainerPort, PodVisibility } from "../../model/tables.ts";
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
import { visibilityKey, withVisibility } from "./visibility.ts";

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
  readonly #visible: boolean;
  readonly #resolver = new RuleResolver();
  readonly #subjects = new SubjectIndex();
  #remembered = new Map<string, Remembered>();

  /** @param visible annotations for visibility count: there is a proxy */
  constructor(enforcement: Enforcement, visible: boolean) {
    this.#enforcement = enforcement;
    this.#visible = visible;
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
      const visibility = this.#visible ? fact.row.visibility : undefined;
      const key = setKey(fact, selecting.named, visibilityKey(visibility));
      setOf.set(fact.key, key);
      if (!remembered.has(key))
        remembered.set(key, this.#build(key, selecting, fact.row.ports, surroundings, visibility));
    }
    this.#remembered = remembered;
    const sets = [...remembered.values()].map(({ set }) => set).sort((a, b) => compareText(a.key, b.key));
    return { sets, setOf };
  }

  /** @param visibility said by the key */
  #build(
    key: string,
    selecting: Selecting,
    ports: readonly ContainerPort[],
    surroundings: Surroundings,
    visibility: readonly PodVisibility[] | undefined,
  ): Remembered {
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
      if (same) return { resolution, enforced, compiled: known.compiled };
      const entries = withVisibility(resolution.entries, direction, enforced, visibility);
      return { resolution, enforced, compiled: compileDirection(entries, enforced) };
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

/** "300", or "300 6 http=6:8080-8080" where a name is used, or "300 visible egress 17/53 dns". */
function setKey({ identity, row }: PodFact, named: ReadonlyMap<string, NamedPort>, visible: string): string {
  const meanings = [...named].map(
    ([name, port]) => `${name}=${portSetText(makePortSet(namedRanges([port], row.ports)))}`,
  );
  return [String(identity), ...meanings, ...(visible === "" ? [] : ["visible", visible])].join(" ");
}
