/** The generated definitions keep the rules that an API server holds them to (apiextensions.k8s.io/v1), so that none is refused on a cluster. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { regexMistake } from "../../../src/compute/policy/re2-syntax.ts";
import { kinds, resourceName } from "../../../src/kube/index.ts";
import { customKinds, definitionName } from "../../../src/kube-objects/index.ts";
import type { Schema } from "../../../src/lib/schema.ts";

interface Definition {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: {
      readonly kind: string;
      readonly listKind: string;
      readonly plural: string;
      readonly singular: string;
      readonly shortNames: readonly string[];
    };
    readonly versions: readonly {
      readonly name: string;
      readonly served: boolean;
      readonly storage: boolean;
      readonly additionalPrinterColumns: readonly { readonly name: string; readonly jsonPath: string }[];
      readonly schema: { readonly openAPIV3Schema: Schema };
      readonly subresources?: { readonly status?: object };
    }[];
  };
}

const folder = join(import.meta.dirname, "../../../manifests/crds");
const files = readdirSync(folder).filter((name) => name !== "kustomization.yaml");
const definitions = files.map((name) => parse(readFileSync(join(folder, name), "utf8")) as Definition);

const structural = new Set(["type", "description", "nullable", "properties", "additionalProperties", "items"]);
const demanding = [
  ...["required", "enum", "format", "pattern", "oneOf", "minItems", "maxItems", "minLength", "maxLength"],
  ...["minimum", "maximum"],
];
const extensions = [
  ...["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"],
  ...["x-kubernetes-list-type", "x-kubernetes-list-map-keys"],
];
const known = new Set([...structural, ...demanding, ...extensions]);

/** What is wrong with a schema and all below it, as "path: what". */
function mistakes(schema: Schema, path: string): readonly string[] {
  const found: string[] = [];
  const wrong = (what: string) => found.push(`${path}: ${what}`);
  for (const name of Object.keys(schema)) if (!known.has(name)) wrong(`the field ${name}`);
  const properties = schema.properties ?? {};
  const hasType = schema.type !== undefined;
  if (hasType === (schema["x-kubernetes-int-or-string"] === true)) wrong("a type, or else a number or text");
  if (schema.properties !== undefined && schema.additionalProperties !== undefined) wrong("named and unnamed fields");
  if (schema.type === "array" && schema.items === undefined) wrong("a list of nothing");
  if (schema.type !== "array" && schema.items !== undefined) wrong("items of no list");
  const isOpen = schema.additionalProperties !== undefined || schema["x-kubernetes-preserve-unknown-fields"] === true;
  if (schema.type === "object" && schema.properties === undefined && !isOpen && path !== ".metadata") {
    wrong("an object of which everything is pruned");
  }
  const wanted = [...(schema.required ?? []), ...(schema.oneOf ?? []).flatMap(({ required }) => required)];
  for (const name of wanted) if (!(name in properties)) wrong(`wants ${name}, which it does not describe`);
  for (const alternative of schema.oneOf ?? []) {
    if (Object.keys(alternative).join() !== "required") wrong("an alternative that describes");
  }
  for (const name of schema["x-kubernetes-list-map-keys"] ?? []) {
    if (schema.items?.required?.includes(name) !== true) wrong(`entries may lack their key ${name}`);
  }
  if (schema.enum !== undefined && new Set(schema.enum).size !== schema.enum.length) wrong("a word twice");
  if (schema.pattern !== undefined) {
    const mistake = regexMistake(schema.pattern);
    if (mistake !== null) wrong(`a pattern that RE2 does not take: ${mistake}`);
    if (!/^\^.*\$$/s.test(schema.pattern)) wrong("a pattern of a part");
  }
  if (schema.minimum !== undefined && schema.maximum !== undefined && schema.minimum > schema.maximum)
    wrong("no number");
  return [
    ...found,
    ...Object.entries(properties).flatMap(([name, field]) => mistakes(field, `${path}.${name}`)),
    ...(schema.additionalProperties === undefined ? [] : mistakes(schema.additionalProperties, `${path}{}`)),
    ...(schema.items === undefined ? [] : mistakes(schema.items, `${path}[]`)),
  ];
}

/** Depth-first, with "status.conditions" as path. */
function fieldAt(schema: Schema, path: string): Schema | undefined {
  let at: Schema | undefined = schema;
  for (const step of path.split(".")) at = at?.type === "array" ? at.items?.properties?.[step] : at?.properties?.[step];
  return at;
}

test("there is a file for every kind, and the kinds are those by which objects are found", (t) => {
  t.deepEqual(
    files,
    customKinds.map(({ plural }) => `${plural}.yaml`),
  );
  const served = Object.values(kinds).filter(({ group }) => group === "cilium.io");
  t.deepEqual(customKinds.map(definitionName).sort(), served.map(resourceName).sort());
  for (const { kind, plural, scope } of customKinds) {
    const found = served.find((each) => each.plural === plural);
    t.deepEqual([found?.kind, found?.namespaced, found?.version], [kind, scope === "Namespaced", "v2"]);
  }
});

for (const { metadata, spec } of definitions) {
  const { names } = spec;
  const [version] = spec.versions;

  test(`${names.kind}: the schema is structural`, (t) => {
    const schema = version?.schema.openAPIV3Schema ?? {};
    t.is(schema.type, "object");
    t.deepEqual(mistakes(schema, ""), []);
    t.deepEqual(schema.properties?.metadata, { type: "object" }, "metadata is the API server's");
    if (version?.subresources?.status === undefined) return;
    const beside = ["description", "properties", "required", "type"];
    t.deepEqual(
      Object.keys(schema).filter((name) => !beside.includes(name)),
      [],
      "at the root beside a status",
    );
    t.is(schema.properties?.status?.type, "object");
  });

  test(`${names.kind}: its names are what Cilium's users type, its columns lead somewhere`, (t) => {
    t.is(metadata.name, `${names.plural}.${spec.group}`);
    t.is(names.singular, names.kind.toLowerCase());
    t.is(names.listKind, `${names.kind}List`);
    t.deepEqual(
      spec.versions.map(({ name, served, storage }) => ({ name, served, storage })),
      [{ name: "v2", served: true, storage: true }],
    );
    for (const { jsonPath } of version?.additionalPrinterColumns ?? []) {
      const path = jsonPath.replace(/^\./, "").replace(/\[[^\]]*\]/g, "");
      if (path.startsWith("metadata.")) continue;
      t.not(fieldAt(version?.schema.openAPIV3Schema ?? {}, path), undefined, jsonPath);
    }
  });
}

test("short names and columns are Cilium's, and no name stands for two kinds", (t) => {
  const shown = Object.fromEntries(
    definitions.map(({ spec: { names, versions } }) => [
      names.kind,
      [
        names.shortNames.join(" "),
        versions[0]?.additionalPrinterColumns.map(({ name }) => name.toUpperCase()).join(", "),
      ],
    ]),
  );
  t.deepEqual(shown, {
    CiliumCIDRGroup: ["ccg", "AGE"],
    CiliumClusterwideNetworkPolicy: ["ccnp", "AGE, VALID, ENFORCED"],
    CiliumEndpoint: ["cep ciliumep", "SECURITY IDENTITY, ENDPOINT STATE, IPV4, IPV6, AGE"],
    CiliumIdentity: ["ciliumid", "NAMESPACE, AGE"],
    CiliumNetworkPolicy: ["cnp ciliumnp", "AGE, VALID, ENFORCED"],
    CiliumNode: ["cn ciliumn", "CILIUMINTERNALIP, INTERNALIP, AGE"],
  });
  const names = definitions.flatMap(({ spec: { names: each } }) => [...each.shortNames, each.plural, each.singular]);
  t.is(new Set(names).size, names.length);
});
