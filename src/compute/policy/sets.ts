/**
 * The policy sets of the local pods. Pods of one identity share a set, unless port names in ingress rules mean different numbers on
 * them; then there is one for each meaning.
 */
import { compareText, selects } from "../../model/labels.ts";
import type { CompiledDirection, CompiledSet } from "../desired.ts";
import type { PodFact } from "../identity/pods.ts";
import type { PolicyInForce } from "./book.ts";
import { compileDirection, makeSet } from "./compile.ts";
import { makePortSet, portSetText } from "./port-sets.ts";
import { type NamedPort, namedRanges } from "./named-ports.ts";
import { type Entry, RuleResolver, sameEntries, type Subject } from "./resolve.ts";
import type { Direction, Spec } from "./rules.ts";
import type { Surroundings } from "./surroundings.ts";

export type Enforcement = "default" | "always" | "never";

interface Direct {
  readonly entries: readonly Entry[];
  readonly enforced: boolean;
  readonly compiled: CompiledDirection;
}

interface Remembered {
  readonly ingress: Direct;
  readonly egress: Direct;
  readonly set: CompiledSet;
}

interface Selected {
  readonly policies: readonly PolicyInForce[];
  readonly specs: readonly Spec[];
  /** Port names that its ingress rules use. */
  readonly named: ReadonlyMap<string, NamedPort>;
}

export class SetCompiler {
  readonly #enforcement: Enforcement;
  readonly #resolver = new RuleResolver();
  #remembered = new Map<string, Remembered>();
  #selected = new Map<string, Selected>();

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
    const selected = new Map<string, Selected>();
    const setOf = new Map<string, string>();
    for (const fact of pods) {
      const { specs, named } = this.#selectedFor(fact, policies, selected);
      const key = setKey(fact, named);
      setOf.set(fact.key, key);
      if (!remembered.has(key)) remembered.set(key, this.#build(key, { specs, ports: fact.row.ports }, surroundings));
    }
    this.#remembered = remembered;
    this.#selected = selected;
    const sets = [...remembered.values()].map(({ set }) => set).sort((a, b) => compareText(a.key, b.key));
    return { sets, setOf };
  }

  /** Those that select the identity, in order of the policies. */
  #selectedFor({ labelSet }: PodFact, policies: readonly PolicyInForce[], now: Map<string, Selected>): Selected {
    let selected = now.get(labelSet.key) ?? this.#selected.get(labelSet.key);
    if (selected?.policies !== policies) {
      const all = policies.flatMap(({ specs }) => specs);
      const specs = all.filter(({ subject }) => selects(subject, labelSet.labels));
      selected = { policies, specs, named: ingressNames(specs) };
    }
    now.set(labelSet.key, selected);
    return selected;
  }

  #build(key: string, subject: Subject, surroundings: Surroundings): Remembered {
    const before = this.#remembered.get(key);
    const direct = (direction: Direction): Direct => {
      const enforced = this.#isEnforced(subject.specs, direction);
      const entries =
        this.#enforcement === "never" ? [] : this.#resolver.resolve(subject, direction, enforced, surroundings);
      const known = before?.[direction];
      if (known?.enforced === enforced && sameEntries(known.entries, entries)) return known;
      return { entries, enforced, compiled: compileDirection(entries, enforced) };
    };
    const ingress = direct("ingress");
    const egress = direct("egress");
    if (before?.ingress === ingress && before.egress === egress) return before;
    return { ingress, egress, set: makeSet(key, egress.compiled, ingress.compiled) };
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

function ingressNames(specs: readonly Spec[]): ReadonlyMap<string, NamedPort> {
  const names = new Map<string, NamedPort>();
  for (const { rules } of specs) {
    for (const { direction, ports } of rules) {
      if (direction !== "ingress") continue;
      for (const port of ports) if (port.kind === "named") names.set(`${port.protocol} ${port.name}`, port);
    }
  }
  return new Map([...names].sort(([a], [b]) => compareText(a, b)));
}

/** "300", or "300 6 http=6:8080-8080" where a name is used. */
function setKey({ identity, row }: PodFact, named: ReadonlyMap<string, NamedPort>): string {
  const meanings = [...named].map(
    ([name, port]) => `${name}=${portSetText(makePortSet(namedRanges([port], row.ports)))}`,
  );
  return [String(identity), ...meanings].join(" ");
}
