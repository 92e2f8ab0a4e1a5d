/**
 * Nodes as subjects. `nodeSelector` becomes a selector that no pod's labels can match, and nodes have labels that no selector of pods
 * means: so policies of pods never select nodes, nor the other way round, wherever a subject is compared with labels.
 */
import { type LabelMap, makeSelector, requirement, type Selector } from "../../model/labels.ts";
import type { Labels } from "../../model/labels.ts";

/** Before the keys of Node objects' labels; alone, what makes a set of labels a node's. No key of a label ends with a colon. */
const source = "node:";

export function nodeSubject({ requirements }: Selector): Selector {
  return makeSelector([
    requirement(source, "Exists", []),
    ...requirements.map((each) => requirement(source + each.key, each.operator, each.values)),
  ]);
}

export function isNodeSubject({ requirements }: Selector): boolean {
  return requirements.some(({ key }) => key === source);
}

/** What `nodeSubject` selectors are compared with. */
export function nodeSubjectLabels(labels: Labels): LabelMap {
  return new Map([
    [source, ""],
    ...Object.entries(labels).map(([key, value]): [string, string] => [source + key, value]),
  ]);
}
