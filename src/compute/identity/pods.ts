/**
 * Which pods take part, and the identity of each: equal labels, equal number. The identifier follows the tables: what it costs is
 * the pods that changed, and those of namespaces that did.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { SetMap } from "../../lib/set-map.ts";
import { put, take } from "../../lib/sorted.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { TandemError } from "../../lib/errors.ts";
import { compareText, type LabelMap } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { Labels } from "../../model/labels.ts";
import type { NamespaceRow, PodRow } from "../../model/tables.ts";
import { type IdentityAllocator, identityDelayed, identityPending } from "../result.ts";
import { identityLabels, labelTexts } from "./labels.ts";

/** A set of labels that pods have. The same object as long as anything refers to it. */
export interface LabelSet {
  readonly labels: LabelMap;
  /** "k8s:key=value", sorted. */
  readonly texts: readonly string[];
  /** The texts as one. */
  readonly key: string;
}

export interface PodFact {
  /** "namespace/name" */
  readonly key: string;
  readonly row: PodRow;
  readonly labelSet: LabelSet;
  readonly identity: number;
}

export interface PodIdentity extends LabelSet {
  readonly id: number;
  /** In order of their keys. */
  readonly pods: readonly PodFact[];
}

export interface PodIdentities {
  /** Pods with an identity. */
  readonly pods: ReadonlyMap<string, PodFact>;
  /** Their numbers. */
  readonly identityOfPod: ReadonlyMap<string, number>;
  readonly identities: ReadonlyMap<number, PodIdentity>;
  readonly problems: readonly Problem[];
}

/** It has ended, or it uses its node's addresses and is its node. */
export function takesPart({ phase, hostNetwork }: PodRow): boolean {
  return !hostNetwork && phase !== "Succeeded" && phase !== "Failed";
}

const noLabels: Labels = {};
const noProblems: readonly Problem[] = [];

/** The pods of identities while they change. */
class Members {
  readonly #before: ReadonlyMap<number, PodIdentity>;
  readonly #lists = new Map<number, PodFact[]>();

  constructor(before: ReadonlyMap<number, PodIdentity>) {
    this.#before = before;
  }

  add(fact: PodFact): void {
    put(this.#listOf(fact.identity), fact, (a, b) => compareText(a.key, b.key));
  }

  remove({ identity, key }: PodFact): void {
    take(this.#listOf(identity), (each) => compareText(each.key, key));
  }

  changes(): readonly (readonly [number, PodIdentity | undefined])[] {
    return [...this.#lists].map(([id, pods]) => {
      const [first] = pods;
      return [id, first === undefined ? undefined : { id, ...first.labelSet, pods }];
    });
  }

  #listOf(identity: number): PodFact[] {
    const known = this.#lists.get(identity);
    if (known !== undefined) return known;
    const list = [...(this.#before.get(identity)?.pods ?? [])];
    this.#lists.set(identity, list);
    return list;
  }
}

/** A set of labels with its number, for as many pods as have it. */
interface Numbered {
  readonly labelSet: LabelSet;
  readonly identity: number;
  pods: number;
}

export class PodIdentifier {
  readonly #allocator: IdentityAllocator;
  #rows: ReadonlyMap<string, PodRow> = new Map();
  #namespaces: ReadonlyMap<string, NamespaceRow> = new Map();
  #named: ReadonlySet<string> = new Set();
  /** Keys of the pods, by namespace. */
  readonly #ofNamespace = new SetMap<string, string>();
  /** By the key of the labels. */
  readonly #numbered = new Map<string, Numbered>();
  #pods = VersionedMap.from<string, PodFact>();
  #numbers = VersionedMap.from<string, number>();
  #identities = VersionedMap.from<number, PodIdentity>();
  /** Pods for which there was no number, with the reason; null: it is on its way. */
  readonly #without = new Map<string, { readonly labelSet: LabelSet; readonly problem: Problem | null }>();

  constructor(allocator: IdentityAllocator) {
    this.#allocator = allocator;
  }

  /** @param named label keys that policies name */
  identify(
    pods: ReadonlyMap<string, PodRow>,
    namespaces: ReadonlyMap<string, NamespaceRow>,
    named: ReadonlySet<string>,
  ): PodIdentities {
    const keys = this.#concerned(pods, namespaces, named);
    this.#rows = pods;
    this.#namespaces = namespaces;
    this.#named = named;
    const members = new Members(this.#identities);
    const facts = new Map<string, PodFact | undefined>();
    for (const key of keys) {
      const before = this.#pods.get(key);
      const fact = this.#fact(key, pods.get(key), before);
      if (fact === before) continue;
      facts.set(key, fact);
      if (fact !== undefined) this.#take(fact);
      if (before !== undefined) {
        members.remove(before);
        this.#release(before);
      }
      if (fact !== undefined) members.add(fact);
    }
    this.#pods = this.#pods.with(facts);
    this.#numbers = this.#numbers.with([...facts].map(([key, fact]) => [key, fact?.identity] as const));
    this.#identities = this.#identities.with(members.changes());
    return {
      pods: this.#pods,
      identityOfPod: this.#numbers,
      identities: this.#identities,
      problems: this.#problems(),
    };
  }

  /** Sorted: who asks first for a number must not depend on how the tables were filled. */
  #concerned(
    pods: ReadonlyMap<string, PodRow>,
    namespaces: ReadonlyMap<string, NamespaceRow>,
    named: ReadonlySet<string>,
  ): readonly string[] {
    // Where a pod got no number, ask again: numbers become free without a change of the tables.
    const keys = new Set(this.#without.keys());
    for (const key of this.#renumbered()) keys.add(key);
    for (const { key, before, after } of mapChanges(this.#rows, pods)) {
      keys.add(key);
      if (before !== undefined) this.#ofNamespace.delete(before.namespace, key);
      if (after !== undefined) this.#ofNamespace.add(after.namespace, key);
    }
    if (named !== this.#named) for (const key of pods.keys()) keys.add(key);
    for (const { key: namespace, before, after } of mapChanges(this.#namespaces, namespaces)) {
      if (before?.labels === after?.labels) continue;
      for (const key of this.#ofNamespace.get(namespace)) keys.add(key);
    }
    return [...keys].sort(compareText);
  }

  /** The same object as before, where nothing changed for the pod. */
  #fact(key: string, row: PodRow | undefined, before: PodFact | undefined): PodFact | undefined {
    this.#without.delete(key);
    if (row === undefined || !takesPart(row)) return undefined;
    const labels = identityLabels(row, this.#namespaces.get(row.namespace)?.labels ?? noLabels, this.#named);
    const texts = labelTexts(labels);
    // A label has no line break, so different texts make different keys.
    const labelKey = texts.join("\n");
    const known = this.#numbered.get(labelKey);
    if (before?.row === row && before.labelSet.key === labelKey && before.identity === known?.identity) return before;
    // One object for all pods of equal labels.
    const labelSet = known?.labelSet ?? { labels, texts, key: labelKey };
    const identity = known?.identity ?? this.#numberFor(labelSet, key, row.node);
    return identity === null ? this.#meanwhile(key, row, before) : { key, row, labelSet, identity };
  }

  /**
   * What a pod is while the number of its labels is on its way. One whose labels changed, or count now because a policy names them, stays what
   * it was: it would be cut off each time otherwise. One that is new, if only under an old name, is nothing yet.
   */
  #meanwhile(key: string, row: PodRow, before: PodFact | undefined): PodFact | undefined {
    const problem = this.#without.get(key)?.problem ?? null;
    if (before === undefined || before.row.uid !== row.uid) return undefined;
    if (problem !== null && problem.code !== identityDelayed) return undefined;
    // That number may be somebody else's by now.
    if (this.#numbered.get(before.labelSet.key)?.identity !== before.identity) return undefined;
    return before.row === row ? before : { ...before, row };
  }

  #take({ labelSet, identity }: PodFact): void {
    const known = this.#numbered.get(labelSet.key);
    if (known === undefined) this.#numbered.set(labelSet.key, { labelSet, identity, pods: 1 });
    else known.pods++;
  }

  #release({ labelSet, identity }: PodFact): void {
    const known = this.#numbered.get(labelSet.key);
    // Its number may have been another then: it does not count for this one.
    if (known?.identity === identity && --known.pods === 0) this.#numbered.delete(labelSet.key);
  }

  /** Pods whose labels have another number than before, or none for now. */
  *#renumbered(): Iterable<string> {
    for (const labelKey of this.#allocator.renumbered?.() ?? []) {
      const known = this.#numbered.get(labelKey);
      if (known === undefined || this.#hasStill(known)) continue;
      this.#numbered.delete(labelKey);
      for (const { key } of this.#identities.get(known.identity)?.pods ?? []) yield key;
    }
  }

  #hasStill({ labelSet, identity }: Numbered): boolean {
    try {
      return this.#allocator.numberFor(labelSet.key, "") === identity;
    } catch (error) {
      if (!(error instanceof TandemError)) throw error;
      return false;
    }
  }

  /** Null: there is none, or none yet; its pods stay closed. */
  #numberFor(labelSet: LabelSet, pod: string, node: string): number | null {
    try {
      return this.#allocator.numberFor(labelSet.key, node);
    } catch (error) {
      if (!(error instanceof TandemError)) throw error;
      const { code, message, remedy } = error;
      if (code === identityPending) {
        this.#without.set(pod, { labelSet, problem: null });
        return null;
      }
      const problem: Problem = {
        code,
        severity: code === identityDelayed ? "warning" : "error",
        object: `Pod ${pod}`,
        field: "metadata.labels",
        message,
        remedy,
      };
      this.#without.set(pod, { labelSet, problem });
      return null;
    }
  }

  /** One for each set of labels, at its first pod. */
  #problems(): readonly Problem[] {
    if (this.#without.size === 0) return noProblems;
    const told = new Set<string>();
    return [...this.#without]
      .sort(([a], [b]) => compareText(a, b))
      .flatMap(([, { labelSet, problem }]) => {
        if (problem === null || told.has(labelSet.key)) return [];
        told.add(labelSet.key);
        return [problem];
      });
  }
}
