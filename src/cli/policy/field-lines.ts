/** The line of a field in a manifest: a problem is told where it stands, not where its object begins. */
import { isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseAllDocuments } from "yaml";

interface Parsed {
  readonly counter: LineCounter;
  readonly roots: readonly (Node | null)[];
}

const remembered = new Map<string, Parsed>();

/**
 * @param line where the object begins
 * @param field "spec.egress[0].toPorts"; the deepest part of it that is written counts
 * @returns `line` where nothing better is known
 */
export function lineOfField(text: string, file: string, line: number, field: string): number {
  if (field === "" || line === 0 || file.endsWith(".json")) return line;
  const { counter, roots } = parsed(text);
  const lineOf = (node: unknown): number => counter.linePos((node as Node | null)?.range?.[0] ?? 0).line;
  for (const root of roots) {
    const items = isMap(root) ? root.get("items", true) : null;
    for (const object of [root, ...(isSeq(items) ? items.items : [])]) {
      if (object !== null && lineOf(object) === line) return lineOf(deepest(object as Node, stepsOf(field)));
    }
  }
  return line;
}

function parsed(text: string): Parsed {
  const known = remembered.get(text);
  if (known !== undefined) return known;
  const counter = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: counter });
  const roots = "empty" in documents ? [] : documents.map(({ contents }) => contents as Node | null);
  const fresh = { counter, roots };
  remembered.set(text, fresh);
  return fresh;
}

/** "spec.a[0].b" -> spec, a, 0, b. Keys that contain dots come in parts. */
function stepsOf(field: string): readonly (string | number)[] {
  return [...field.matchAll(/\[(\d+)\]|([^.[]+)/g)].map(([, index, name = ""]) =>
    index === undefined ? name : Number(index),
  );
}

function deepest(root: Node, steps: readonly (string | number)[]): Node {
  let node = root;
  let best = root;
  for (let at = 0; at < steps.length; ) {
    const step = steps[at];
    if (typeof step === "number" && isSeq(node)) {
      const item = node.items[step] as Node | undefined;
      if (item === undefined) return best;
      best = item;
      node = item;
      at++;
      continue;
    }
    if (!isMap(node)) return best;
    const pairs: readonly Pair<unknown, unknown>[] = node.items;
    // A label's key may have dots: the longest that is written.
    let used = 0;
    for (let end = steps.length; end > at && used === 0; end--) {
      const key = steps.slice(at, end).join(".");
      const pair = pairs.find((each) => isScalar(each.key) && String(each.key.value) === key);
      if (pair === undefined) continue;
      used = end - at;
      best = pair.key as Node;
      node = (pair.value ?? pair.key) as Node;
    }
    if (used === 0) return best;
    at += used;
  }
  return best;
}
