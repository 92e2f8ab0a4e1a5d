/**
 * What a definition that somebody else installed lacks of ours: an API server drops fields that a schema does not name, without a word, and
 * refuses values of another type. What it has beyond ours does not matter.
 */
import { isRecord } from "../kube/index.ts";

/** @param found `spec` of a CustomResourceDefinition that is there @param wanted of ours. @returns paths, sorted */
export function missingFields(found: unknown, wanted: unknown): readonly string[] {
  const paths: string[] = [];
  const scope = [at(found, "scope"), at(wanted, "scope")];
  if (scope[0] !== scope[1]) paths.push(`scope (${String(scope[0])})`);
  for (const version of listAt(wanted, "versions")) {
    const name = String(at(version, "name"));
    const other = listAt(found, "versions").find((each) => at(each, "name") === name && at(each, "served") === true);
    if (other === undefined) {
      paths.push(`version ${name}`);
      continue;
    }
    if (isRecord(at(version, "subresources", "status")) !== isRecord(at(other, "subresources", "status"))) {
      paths.push("subresources.status");
    }
    const schema = ["schema", "openAPIV3Schema"] as const;
    compare(at(other, ...schema), at(version, ...schema), "", paths);
  }
  return paths.sort();
}

function compare(found: unknown, wanted: unknown, path: string, paths: string[]): void {
  if (!isRecord(wanted) || at(found, "x-kubernetes-preserve-unknown-fields") === true) return;
  if (!isRecord(found)) {
    paths.push(path);
    return;
  }
  const flexible = found["x-kubernetes-int-or-string"] === true || wanted["x-kubernetes-int-or-string"] === true;
  if (!flexible && found.type !== wanted.type) {
    paths.push(`${path} (${String(found.type)} instead of ${String(wanted.type)})`);
    return;
  }
  if (isRecord(wanted.items)) compare(found.items, wanted.items, `${path}[]`, paths);
  if (isRecord(wanted.additionalProperties)) {
    if (found.additionalProperties !== true)
      compare(found.additionalProperties, wanted.additionalProperties, `${path}.*`, paths);
  }
  for (const [name, schema] of Object.entries(isRecord(wanted.properties) ? wanted.properties : {})) {
    // All objects have them, and the API server knows them itself.
    if (path === "" && ["apiVersion", "kind", "metadata"].includes(name)) continue;
    const other =
      at(found, "properties", name) ?? (isRecord(found.additionalProperties) ? found.additionalProperties : undefined);
    compare(other, schema, path === "" ? name : `${path}.${name}`, paths);
  }
}

function at(value: unknown, ...names: readonly string[]): unknown {
  return names.reduce<unknown>((inner, name) => (isRecord(inner) ? inner[name] : undefined), value);
}

function listAt(value: unknown, name: string): readonly unknown[] {
  const list = at(value, name);
  return Array.isArray(list) ? (list as readonly unknown[]) : [];
}
