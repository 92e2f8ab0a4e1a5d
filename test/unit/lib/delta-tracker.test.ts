import test from "ava";
import fc from "fast-check";
import { DeltaTracker } from "../../../src/lib/delta-tracker.ts";

interface Entry {
  readonly value: number;
}

const equal = (a: Entry, b: Entry) => a.value === b.value;
const key = fc.constantFrom("a", "b", "c", "d");
const entry = fc.record({ value: fc.nat(2) });
const entries = fc.uniqueArray(fc.tuple(key, entry), { selector: ([k]) => k });

interface Step {
  readonly what:
    | "setDesired"
    | "setActual"
    | "deleteDesired"
    | "deleteActual"
    | "markApplied"
    | "replaceDesired"
    | "replaceActual";
  readonly key: string;
  readonly entry: Entry;
  /** Of a replacement. */
  readonly entries: readonly (readonly [string, Entry])[];
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(
    "setDesired",
    "setActual",
    "deleteDesired",
    "deleteActual",
    "markApplied",
    "replaceDesired",
    "replaceActual",
  ),
  key,
  entry,
  entries,
});

/** The same in two plain maps. */
function model(steps: readonly Step[]) {
  const desired = new Map<string, Entry>();
  const actual = new Map<string, Entry>();
  for (const { what, key, entry, entries } of steps) {
    const side = what.endsWith("Desired") ? desired : actual;
    if (what.startsWith("replace")) side.clear();
    for (const [each, value] of what.startsWith("replace") ? entries : []) side.set(each, value);
    if (what.startsWith("set")) side.set(key, entry);
    if (what.startsWith("delete")) side.delete(key);
    if (what === "markApplied") {
      const wanted = desired.get(key);
      if (wanted === undefined) actual.delete(key);
      else actual.set(key, wanted);
    }
  }
  return { desired, actual };
}

function run(tracker: DeltaTracker<Entry>, { what, key, entry, entries }: Step): void {
  if (what === "setDesired" || what === "setActual") tracker[what](key, entry);
  else if (what === "replaceDesired" || what === "replaceActual") tracker[what](new Map(entries));
  else tracker[what](key);
}

/** Order is no part of what a tracker promises. */
const sorted = (map: Iterable<readonly [string, Entry]>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test("after any steps the pending updates and deletions are exactly what the two sides differ by", (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const tracker = new DeltaTracker<Entry>(equal);
      for (const one of steps) run(tracker, one);
      const { desired, actual } = model(steps);
      t.deepEqual(sorted(tracker.desired), sorted(desired));
      t.deepEqual(sorted(tracker.actual), sorted(actual));
      const updates = [...desired].filter(([k, wanted]) => actual.get(k)?.value !== wanted.value);
      const deletions = [...actual.keys()].filter((k) => !desired.has(k));
      t.deepEqual(sorted(tracker.pendingUpdates()), sorted(updates));
      t.deepEqual([...tracker.pendingDeletions()].sort(), deletions.sort());
      t.is(tracker.isClean, updates.length + deletions.length === 0);
    }),
    { numRuns: 500 },
  );
});

test("applying all that is pending leaves nothing to do and both sides equal", (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const tracker = new DeltaTracker<Entry>(equal);
      for (const one of steps) run(tracker, one);
      for (const [k] of tracker.pendingUpdates()) tracker.markApplied(k);
      for (const k of tracker.pendingDeletions()) tracker.markApplied(k);
      t.true(tracker.isClean);
      t.deepEqual(sorted(tracker.actual), sorted(tracker.desired));
    }),
  );
});

test("what failed stays pending while the rest proceeds", (t) => {
  const tracker = new DeltaTracker<Entry>(equal);
  tracker.replaceDesired(
    new Map([
      ["a", { value: 1 }],
      ["b", { value: 2 }],
    ]),
  );
  tracker.markApplied("a");
  t.deepEqual(tracker.pendingUpdates(), [["b", { value: 2 }]]);
  t.false(tracker.isClean);
});

test("somebody else's change of the kernel is seen when it is read again", (t) => {
  const tracker = new DeltaTracker<Entry>(equal);
  tracker.setDesired("a", { value: 1 });
  tracker.markApplied("a");
  tracker.replaceActual(
    new Map([
      ["a", { value: 9 }],
      ["stray", { value: 0 }],
    ]),
  );
  t.deepEqual(tracker.pendingUpdates(), [["a", { value: 1 }]]);
  t.deepEqual(tracker.pendingDeletions(), ["stray"]);
});
