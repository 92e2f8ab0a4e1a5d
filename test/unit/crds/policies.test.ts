/** What the schemas take and refuse: all that is valid passes, and what they refuse the reader refuses too. */
import test from "ava";
import { parsePolicy } from "../../../src/compute/policy/parse.ts";
import { customKinds } from "../../../src/kube-objects/index.ts";
import { isRecord, type KubeObject } from "../../../src/kube/index.ts";
import { object, type Schema } from "../../../src/lib/schema.ts";
import type { PolicyRow } from "../../../src/model/tables.ts";
import { conformanceObjects, refusedObject, refusedSpecs } from "../../support/custom-manifests.ts";
import { prune, violations } from "../../support/schema-check.ts";

/** What an API server checks an object of the kind against, metadata aside. */
function schemaOf(kind: string): Schema {
  const custom = customKinds.find((each) => each.kind === kind);
  if (custom === undefined) throw new Error(`${kind} is no kind of ours`);
  const schema: Schema = object(custom.fields);
  return custom.required === undefined ? schema : { ...schema, required: custom.required };
}

const fieldsOf = ({ apiVersion, kind, metadata, ...fields }: KubeObject) => fields;

/** What the reader says of what an API server would keep of the object. */
function refusals(policy: KubeObject): readonly string[] {
  const { spec } = prune(schemaOf(policy.kind ?? ""), fieldsOf(policy)) as { readonly spec?: unknown };
  const kind = policy.kind as PolicyRow["kind"];
  const { namespace = "", name } = policy.metadata;
  const { problems } = parsePolicy({ kind, namespace, name, uid: "", generation: 1, spec, specs: null });
  return problems.filter(({ severity }) => severity === "error").map(({ code }) => code);
}

const valid = conformanceObjects();

test("every policy and group of the conformance cases is valid, and nothing of it is pruned", (t) => {
  t.true(valid.length >= 75, `${valid.length} objects`);
  for (const [name, policy] of valid) {
    const schema = schemaOf(policy.kind ?? "");
    t.deepEqual(violations(schema, fieldsOf(policy)), [], `${name}: ${policy.metadata.name}`);
    t.deepEqual(prune(schema, fieldsOf(policy)), fieldsOf(policy), `${name}: ${policy.metadata.name}`);
  }
});

test("what the reader refuses is refused at once, or is still refused when it has been stored, or is pruned", (t) => {
  const fates = { schema: 0, reader: 0, pruned: 0 };
  for (const row of refusedSpecs()) {
    const policy = refusedObject(row);
    const schema = schemaOf(policy.kind ?? "");
    if (violations(schema, fieldsOf(policy)).length > 0) fates.schema++;
    else if (row.code === "POLICY_UNKNOWN_FIELD") {
      t.notDeepEqual(prune(schema, fieldsOf(policy)), fieldsOf(policy), row.what);
      fates.pruned++;
    } else {
      t.deepEqual(refusals(policy), [row.code], row.what);
      fates.reader++;
    }
  }
  t.true(fates.schema >= 40 && fates.reader >= 50 && fates.pruned >= 8, JSON.stringify(fates));
});

const rule = (ingress: object) => ({ endpointSelector: {}, ingress: [ingress] });
const port = (entry: object) => rule({ toPorts: [{ ports: [entry] }] });

/** One value that is wrong in itself for each kind of limit that a schema can say, and the path at which it is told. */
const wrong: readonly (readonly [string, object, RegExp])[] = [
  ["a number where a text is wanted", port({ port: 80 }), /ports\[0\]\.port: no text/],
  ["a port beyond the last", port({ port: "65536" }), /port: 65536 does not match/],
  ["a last port beyond the last", port({ port: "1", endPort: 65_536 }), /endPort: 65536 is out of range/],
  ["a protocol that is none", port({ port: "1", protocol: "tcp" }), /protocol: tcp is none of/],
  ["no port", port({ protocol: "TCP" }), /port: missing/],
  ["41 ports", rule({ toPorts: [{ ports: Array.from({ length: 41 }, () => ({ port: "1" })) }] }), /ports: 41 entries/],
  ["an object where a list is wanted", rule({ fromEndpoints: {} }), /fromEndpoints: no list/],
  ["an entry that is null", rule({ fromEndpoints: [null] }), /fromEndpoints\[0\]: null/],
  ["a subject of both kinds", { endpointSelector: {}, nodeSelector: {} }, /spec: 2 alternatives/],
  ["no subject", { ingress: [{}] }, /spec: 0 alternatives/],
  ["a text as a flag", { ...rule({}), enableDefaultDeny: { ingress: "no" } }, /ingress: neither true nor false/],
  ["a note of 33 letters", { ...rule({}), log: { value: "x".repeat(33) } }, /value: 33 letters/],
  ["a block of no length", rule({ fromCIDRSet: [{ cidr: "10.0.0.0" }] }), /cidr: 10.0.0.0 does not match/],
];

for (const [what, spec, told] of wrong) {
  test(`${what} is refused, by the reader too`, (t) => {
    const found = violations(schemaOf("CiliumNetworkPolicy"), { spec });
    t.is(found.length, 1, found.join("; "));
    t.regex(found[0] ?? "", told);
    const row = {
      kind: "CiliumNetworkPolicy",
      namespace: "shop",
      name: "a",
      uid: "",
      generation: 1,
      specs: null,
    } as const;
    t.false(parsePolicy({ ...row, spec }).valid);
  });
}

test("every field of a policy is explained", (t) => {
  const silent: string[] = [];
  const visit = (schema: Schema, path: string): void => {
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      if (field.description === undefined && !/labels$/.test(path)) silent.push(`${path}.${name}`);
      visit(field, `${path}.${name}`);
    }
    if (isRecord(schema.items)) visit(schema.items as Schema, path);
  };
  visit(object({ spec: schemaOf("CiliumNetworkPolicy").properties?.spec ?? {} }), "");
  t.deepEqual(silent, []);
});
