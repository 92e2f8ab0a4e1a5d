/** Which pods take part, and the identity of each: equal labels, equal number. */
import { TandemError } from "../../lib/errors.ts";
import { compareText, type LabelMap } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { Labels, NamespaceRow, PodRow } from "../../model/tables.ts";
import type { IdentityAllocator } from "../result.ts";
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
  /** Pods with an identity, in order of their keys. */
  readonly pods: ReadonlyMap<string, PodFact>;
  readonly identities: ReadonlyMap<number, PodIdentity>;
  readonly problems: readonly Problem[];
}

/** It has ended, or it uses its node's addresses and is its node. */
export function takesPart({ phase, hostNetwork }: PodRow): boolean {
  return !hostNetwork && phase !== "Succeeded" && phase !== "Failed";
}

interface Remembered {
  readonly namespaceLabels: Labels;
  readonly named: ReadonlySet<string>;
  readonly labelSet: LabelSet;
}

const noLabels: Labels = {};

/** Remembers the labels of each row, so that a change of one pod is work for one pod. */
export class PodIdentifier {
  readonly #allocator: IdentityAllocator;
  readonly #remembered = new WeakMap<PodRow, Remembered>();
  #labelSets = new Map<string, LabelSet>();
  #identities: ReadonlyMap<number, PodIdentity> = new Map();

  constructor(allocator: IdentityAllocator) {
    this.#allocator = allocator;
  }

  /** @param named label keys that policies name */
  identify(
    pods: ReadonlyMap<string, PodRow>,
    namespaces: ReadonlyMap<string, NamespaceRow>,
    named: ReadonlySet<string>,
  ): PodIdentities {
    const problems: Problem[] = [];
    const used = new Map<string, LabelSet>();
    const numbers = new Map<string, number | null>();
    const facts = new Map<string, PodFact>();
    const members = new Map<number, PodFact[]>();
    for (const key of [...pods.keys()].sort(compareText)) {
      const row = pods.get(key);
      if (row === undefined || !takesPart(row)) continue;
      const labelSet = this.#labelsOf(row, namespaces.get(row.namespace)?.labels ?? noLabels, named);
      used.set(labelSet.key, labelSet);
      let identity = numbers.get(labelSet.key);
      if (identity === undefined) {
        identity = this.#numberFor(labelSet, key, problems);
        numbers.set(labelSet.key, identity);
      }
      if (identity === null) continue;
      const fact: PodFact = { key, row, labelSet, identity };
      facts.set(key, fact);
      const others = members.get(identity);
      if (others === undefined) members.set(identity, [fact]);
      else others.push(fact);
    }
    this.#labelSets = used;
    this.#identities = new Map([...members].map(([id, each]) => [id, this.#identity(id, each)]));
    return { pods: facts, identities: this.#identities, problems };
  }

  /** The same object as before, where nothing changed for it. */
  #identity(id: number, pods: readonly PodFact[]): PodIdentity {
    const before = this.#identities.get(id);
    const labelSet = pods[0]?.labelSet;
    if (
      before !== undefined &&
      before.key === labelSet?.key &&
      before.pods.length === pods.length &&
      pods.every(({ row }, index) => row === before.pods[index]?.row)
    ) {
      return before;
    }
    const { labels, texts, key } = labelSet ?? { labels: new Map(), texts: [], key: "" };
    return { id, labels, texts, key, pods };
  }

  #labelsOf(row: PodRow, namespaceLabels: Labels, named: ReadonlySet<string>): LabelSet {
    const known = this.#remembered.get(row);
    if (known !== undefined && known.namespaceLabels === namespaceLabels && known.named === named) {
      // One object for all pods of equal labels, also if they were seen at different times.
      const shared = this.#labelSets.get(known.labelSet.key) ?? known.labelSet;
      this.#labelSets.set(shared.key, shared);
      return shared;
    }
    const labels = identityLabels(row, namespaceLabels, named);
    const texts = labelTexts(labels);
    // A label has no line break, so different texts make different keys.
    const key = texts.join("\n");
    const labelSet = this.#labelSets.get(key) ?? { labels, texts, key };
    this.#labelSets.set(key, labelSet);
    this.#remembered.set(row, { namespaceLabels, named, labelSet });
    return labelSet;
  }

  /** Null: there is none left; its pods stay closed. */
  #numberFor({ key }: LabelSet, pod: string, problems: Problem[]): number | null {
    try {
      return this.#allocator.numberFor(key);
    } catch (error) {
      if (!(error instanceof TandemError)) throw error;
      const { code, message, remedy } = error;
      problems.push({ code, severity: "error", object: `Pod ${pod}`, field: "metadata.labels", message, remedy });
      return null;
    }
  }
}
