/** Indexes that are kept over time give the answers of a look at everything. */
import test from "ava";
import fc from "fast-check";
import type { LabelSet } from "../../../../src/compute/identity/pods.ts";
import type { PolicyInForce } from "../../../../src/compute/policy/book.ts";
import { type SelectableIdentity, SelectorIndex } from "../../../../src/compute/policy/selector-index.ts";
import { SubjectIndex } from "../../../../src/compute/policy/subject-index.ts";
import {
  type LabelMap,
  type LabelOperator,
  makeSelector,
  requirement,
  type Selector,
  selects,
} from "../../../../src/model/labels.ts";

const namespaceKey = "io.kubernetes.pod.namespace";
const key = fc.constantFrom(namespaceKey, "app", "tier");
const value = fc.constantFrom("a", "b", "c");

const labels: fc.Arbitrary<LabelMap> = fc.dictionary(key, value).map((each) => new Map(Object.entries(each)));

const selector: fc.Arbitrary<Selector> = fc
  .array(
    fc.oneof(
      fc.tuple(key, fc.constantFrom<LabelOperator>("In", "NotIn"), fc.array(value, { minLength: 1, maxLength: 2 })),
      fc.tuple(key, fc.constantFrom<LabelOperator>("Exists", "DoesNotExist"), fc.constant<string[]>([])),
    ),
    { maxLength: 3 },
  )
  .map((each) => makeSelector(each.map(([name, operator, values]) => requirement(name, operator, values))));

function textOf(each: LabelMap): string {
  return JSON.stringify([...each].sort());
}

/** Number -> labels. */
const identities = fc
  .dictionary(fc.constantFrom("300", "301", "302", "303", "304"), labels)
  .map((each) => new Map(Object.entries(each).map(([id, own]) => [Number(id), identity(Number(id), own)])));

function identity(id: number, own: LabelMap): SelectableIdentity {
  return { id, key: textOf(own), labels: own };
}

test("identities come, go and change hands: each selector is answered as from nothing", (t) => {
  fc.assert(
    fc.property(fc.array(identities, { maxLength: 6 }), fc.array(selector, { maxLength: 6 }), (states, selectors) => {
      const index = new SelectorIndex();
      for (const [round, state] of states.entries()) {
        index.update(state);
        t.deepEqual(
          index.all,
          [...state.keys()].sort((a, b) => a - b),
        );
        // Some are asked for only now and then, and forgotten in between.
        for (const each of selectors.filter((_, at) => at % 3 === 0 || (round + at) % 3 !== 0)) {
          const wanted = index.all.filter((id) => selects(each, state.get(id)?.labels ?? new Map()));
          t.deepEqual(index.find(each), wanted);
          t.deepEqual(index.match(each), wanted);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("an answer that did not change is the same array; the version tells when to ask again", (t) => {
  const index = new SelectorIndex();
  const web = makeSelector([requirement("app", "In", ["web"])]);
  const first = identity(300, new Map([["app", "web"]]));
  index.update(new Map([[300, first]]));
  const answer = index.match(web);
  const { version } = index;
  index.update(new Map([[300, { ...first }]]));
  t.is(index.version, version);
  index.update(
    new Map([
      [300, first],
      [301, identity(301, new Map([["app", "db"]]))],
    ]),
  );
  t.not(index.version, version);
  t.is(index.match(web), answer);
});

function policy(name: number, subjects: readonly Selector[]): PolicyInForce {
  const row = {
    kind: "NetworkPolicy" as const,
    namespace: "",
    name: String(name),
    uid: "",
    generation: 1,
    spec: null,
    specs: null,
  };
  const specs = subjects.map((subject) => ({
    subject,
    isolates: { ingress: true, egress: false },
    rules: [],
    requires: [],
  }));
  return { key: String(name), row, valid: true, specs, problems: [] };
}

/** Of nine policies some, with none to two subjects each. */
const policies = fc.array(fc.option(fc.array(selector, { maxLength: 2 })), { minLength: 9, maxLength: 9 });

test("policies come, go and select others: each set of labels is answered as from nothing", (t) => {
  fc.assert(
    fc.property(fc.array(policies, { maxLength: 5 }), fc.array(labels, { maxLength: 5 }), (states, sets) => {
      const index = new SubjectIndex();
      let before: readonly PolicyInForce[] = [];
      for (const [round, state] of states.entries()) {
        // Every other one stays the object that it was.
        before = state.flatMap((subjects, name) => {
          const old = before.find((each) => each.key === String(name));
          if (old !== undefined && name % 2 === 0) return [old];
          return subjects === null ? [] : [policy(name, subjects)];
        });
        index.update(before);
        for (const own of sets.filter((_, at) => (round + at) % 3 !== 0)) {
          const labelSet: LabelSet = { labels: own, texts: [], key: textOf(own) };
          const wanted = before.flatMap(({ specs }) => specs.filter(({ subject }) => selects(subject, own)));
          t.deepEqual(index.selecting(labelSet).specs, wanted);
          t.is(index.selecting(labelSet), index.selecting(labelSet));
        }
      }
    }),
    { numRuns: 300 },
  );
});
