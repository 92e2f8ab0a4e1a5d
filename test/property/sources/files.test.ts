import test from "ava";
import fc from "fast-check";
import { stringify } from "yaml";
import { parseManifest } from "../../../src/sources/files/parse-manifest.ts";
import { type ObjectsReading, readObjects } from "../../../src/sources/files/read-objects.ts";

const name = fc.constantFrom("a", "b", "c", "d", "e");
const namespace = fc.constantFrom("default", "shop");
const labels = fc.dictionary(fc.constantFrom("app", "tier", "constructor"), fc.constantFrom("x", "y", ""));
const address = fc.constantFrom("10.1.0.1", "10.1.0.2", "fd00::1", "not-an-address");
const object = fc.oneof(
  fc.record({ name, namespace, labels, address }).map(({ address, ...metadata }) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata,
    status: { podIPs: [{ ip: address }] },
  })),
  fc.record({ name, labels }).map((metadata) => ({ apiVersion: "v1", kind: "Namespace", metadata })),
  fc.record({ name, namespace, address }).map(({ address, ...metadata }) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: { clusterIP: address, ports: [{ port: 80 }] },
  })),
  fc.record({ name, namespace, generation: fc.nat(9) }).map((metadata) => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata,
    spec: { podSelector: {}, ingress: [] },
  })),
);
const title = ({ kind, metadata }: { readonly kind: string; readonly metadata: object }) => {
  const { name, namespace } = metadata as { readonly name: string; readonly namespace?: string };
  return `${kind} ${namespace} ${name}`;
};
/** Each name once. */
const objects = fc.uniqueArray(object, { selector: title, maxLength: 12 });

function sorted({ rows, problems }: ObjectsReading) {
  const byKey = (table: ReadonlyMap<string, unknown>) => [...table].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    rows: Object.values(rows).map(byKey),
    // The place is part of the message.
    problems: problems.map(({ object, field, code }) => `${object} ${field} ${code}`).sort(),
  };
}

test("any split of objects over files, in YAML or JSON, in any order, gives the same tables and problems", (t) => {
  fc.assert(
    fc.property(
      objects,
      fc.array(fc.nat(3), { minLength: 12, maxLength: 12 }),
      fc.infiniteStream(fc.nat(1_000)),
      (all, files, numbers) => {
        const whole = readObjects(all.map((value, i) => ({ value, file: "one.yaml", line: i + 1 })));
        const shuffled = all
          .map((value, i) => ({ value, file: files[i] ?? 0, order: numbers.next().value ?? 0 }))
          .sort((a, b) => a.order - b.order);
        const parsed = [0, 1, 2, 3].flatMap((file) => {
          const items = shuffled.filter((one) => one.file === file).map(({ value }) => value);
          const json = file % 2 === 0;
          const text = json
            ? JSON.stringify({ apiVersion: "v1", kind: "List", items })
            : items.map((item) => stringify(item)).join("---\n");
          const { objects, failure } = parseManifest(text, json ? `${file}.json` : `${file}.yaml`);
          t.is(failure, null);
          return objects;
        });
        t.deepEqual(sorted(readObjects(parsed)), sorted(whole));
      },
    ),
    { numRuns: 200 },
  );
});

test("of objects of one name the same one counts in whatever order the files are read", (t) => {
  const placed = fc.record({ value: object, file: fc.constantFrom("a.yaml", "b.yaml", "c.yaml") });
  fc.assert(
    fc.property(fc.array(placed, { maxLength: 10 }), fc.infiniteStream(fc.nat(1_000)), (all, numbers) => {
      const objects = all.map((one, i) => ({ ...one, line: i + 1 }));
      const shuffled = objects
        .map((one) => ({ one, order: numbers.next().value ?? 0 }))
        .sort((a, b) => a.order - b.order)
        .map(({ one }) => one);
      t.deepEqual(sorted(readObjects(shuffled)), sorted(readObjects(objects)));
    }),
    { numRuns: 200 },
  );
});

test("whatever a manifest says, reading ends with rows and problems", (t) => {
  const odd = fc.oneof(fc.jsonValue(), object);
  const wrong = fc
    .tuple(
      fc.constantFrom("Pod", "Node", "Service", "Namespace", "EndpointSlice", "NetworkPolicy"),
      fc.jsonValue(),
      odd,
      odd,
    )
    .map(([kind, metadata, spec, status]) => ({ apiVersion: "v1", kind, metadata, spec, status }));
  fc.assert(
    fc.property(fc.array(fc.oneof(odd, wrong), { maxLength: 5 }), (values) => {
      const { problems } = readObjects(values.map((value) => ({ value, file: "a.yaml", line: 0 })));
      t.true(problems.every(({ object, message, remedy }) => object !== "" && message !== "" && remedy !== ""));
    }),
    { numRuns: 500 },
  );
});

test("whatever the text, parsing ends with objects or a failure that names a line", (t) => {
  const words = fc.array(
    fc.constantFrom("a", ": ", "- ", "\n", "  ", "{", "}", "[", "]", "---\n", "&x ", "*x", "!!set ", "'", '"', "|\n"),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        words.map((parts) => parts.join("")),
      ),
      fc.constantFrom("a.yaml", "a.json"),
      (text, file) => {
        const { objects, failure } = parseManifest(text, file);
        t.true(failure === null || (objects.length === 0 && /^line \d+$/.test(failure.field)));
      },
    ),
    { numRuns: 500 },
  );
});
