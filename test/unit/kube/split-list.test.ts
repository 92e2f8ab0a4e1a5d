import test from "ava";
import fc from "fast-check";
import { ListSplitter } from "../../../src/kube/split-list.ts";
import { cut } from "./pieces.ts";

function split(text: string, sizes: readonly number[] = []): { items: unknown[]; frame: unknown } {
  const items: unknown[] = [];
  const splitter = new ListSplitter((json) => items.push(JSON.parse(json)));
  for (const piece of cut(Buffer.from(text), sizes)) splitter.push(piece);
  return { items, frame: splitter.finish() };
}

const plain = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown);
// Names and texts that look like the structure which the splitter looks for.
const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("items", '"items":[{', '\\"', "}]", "😀\\"));
const object = fc.dictionary(text, fc.oneof(plain, text, fc.array(fc.dictionary(text, text))), {
  noNullPrototype: true,
});

test("items and frame are those of JSON.parse, wherever the answer is cut and however it is laid out", (t) => {
  const order = fc.shuffledSubarray(["kind", "metadata", "items", "more"], { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(object),
      object,
      object,
      order,
      fc.array(fc.nat(40)),
      fc.nat(2),
      (items, metadata, more, keys, sizes, indent) => {
        const members: Readonly<Record<string, unknown>> = { kind: "PodList", metadata, items, more };
        const list = Object.fromEntries(keys.map((key) => [key, members[key]]));
        const whole = JSON.stringify(list, null, indent);
        const seen = split(whole, sizes);
        const parsed = JSON.parse(whole) as Readonly<Record<string, unknown>>;
        t.deepEqual(seen.items, parsed.items as unknown[]);
        t.deepEqual(seen.frame, { ...parsed, items: [] });
      },
    ),
  );
});

test("only the items of the list itself are items", (t) => {
  const { items, frame } = split('{"metadata":{"items":[{"a":1}]},"x":[{"b":2}],"items":[{"items":[{"c":3}]}]}');
  t.deepEqual(items, [{ items: [{ c: 3 }] }]);
  t.deepEqual(frame, { metadata: { items: [{ a: 1 }] }, x: [{ b: 2 }], items: [] });
});

const manager = fc.record({ manager: text, fieldsV1: fc.dictionary(text, plain, { noNullPrototype: true }) });

test("of an item's managedFields all or nothing is left out, and nothing else anywhere", (t) => {
  const misleading = fc.constantFrom("managedFields", "metadata", ',"managedFields":[', "x");
  const deceptive = fc.dictionary(
    misleading,
    fc.oneof(misleading, fc.array(misleading), fc.dictionary(misleading, plain)),
    {
      noNullPrototype: true,
    },
  );
  const item = fc.record({ name: text, annotations: deceptive, spec: deceptive, managed: fc.array(manager) });
  fc.assert(
    fc.property(fc.array(item), fc.array(fc.nat(60)), fc.boolean(), (items, sizes, last) => {
      const objects = items.map(({ name, annotations, spec, managed }) => ({
        metadata: last ? { name, annotations, managedFields: managed } : { managedFields: managed, name, annotations },
        spec: { ...spec, metadata: { name, managedFields: managed } },
      }));
      const { items: seen } = split(JSON.stringify({ metadata: {}, items: objects }), sizes) as {
        items: typeof objects;
      };
      t.is(seen.length, objects.length);
      for (const [index, object] of objects.entries()) {
        const { managedFields, ...metadata } = object.metadata;
        const kept = { ...metadata, managedFields: seen[index]?.metadata.managedFields ?? managedFields };
        t.deepEqual(
          { ...seen[index], metadata: { ...seen[index]?.metadata, managedFields } },
          { ...object, metadata: kept },
        );
      }
    }),
  );
});

test("managedFields as API servers write them are not decoded", (t) => {
  const item = {
    metadata: { name: "a", managedFields: [{ manager: "kubelet", fieldsV1: { "f:status": {} } }] },
    spec: {},
  };
  const { items, frame } = split(JSON.stringify({ items: [item, item], metadata: { resourceVersion: "1" } }));
  t.deepEqual(items, [
    { metadata: { name: "a" }, spec: {} },
    { metadata: { name: "a" }, spec: {} },
  ]);
  t.deepEqual(frame, { items: [], metadata: { resourceVersion: "1" } });
});

test("no items at all: null, none, or an empty list", (t) => {
  t.deepEqual(split('{"items":null,"kind":"PodList"}'), { items: [], frame: { items: null, kind: "PodList" } });
  t.deepEqual(split("{}"), { items: [], frame: {} });
  t.deepEqual(split('{"items": [ ] }'), { items: [], frame: { items: [] } });
});

test("an answer that breaks off is no list, wherever it does", (t) => {
  const whole = '{"kind":"PodList","items":[{"a":"}"},{"b":{"c":[1,2]}}],"metadata":{"resourceVersion":"7"}}';
  for (let end = 0; end < whole.length; end++) {
    t.throws(() => split(whole.slice(0, end)), { instanceOf: SyntaxError }, whole.slice(0, end));
  }
  t.throws(() => split(`${whole}}`), { instanceOf: SyntaxError });
  t.throws(() => split("<html><p>Bad gateway</p></html>"), { instanceOf: SyntaxError });
});

test("what the receiver of an item throws ends it", (t) => {
  const splitter = new ListSplitter(() => {
    throw new RangeError("enough");
  });
  t.throws(() => splitter.push(Buffer.from('{"items":[{}]}')), { instanceOf: RangeError, message: "enough" });
});
