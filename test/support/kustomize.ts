/**
 * The objects that a kustomization stands for. It knows what our manifests use (resources, and patches by RFC 6902 that add) and refuses
 * everything else, so that nothing is passed over in silence.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { isKubeObject, isRecord, type KubeObject } from "../../src/kube/index.ts";

interface Patch {
  readonly target: { readonly kind: string; readonly name: string };
  readonly patch: string;
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly value: unknown;
}

const known = new Set(["apiVersion", "kind", "resources", "patches"]);

/** @throws Error for what is missing, unknown, twice there, or patched and not there */
export function flatten(folder: string): readonly KubeObject[] {
  const file = join(folder, "kustomization.yaml");
  const kustomization = parse(readFileSync(file, "utf8")) as {
    readonly kind: string;
    readonly resources: readonly string[];
    readonly patches?: readonly Patch[];
  };
  if (kustomization.kind !== "Kustomization") throw new Error(`${file}: no Kustomization`);
  for (const name of Object.keys(kustomization)) if (!known.has(name)) throw new Error(`${file}: ${name} is not known`);
  const objects = kustomization.resources.flatMap((name) => {
    const path = join(folder, name);
    if (!existsSync(path)) throw new Error(`${file}: there is no ${name}`);
    return statSync(path).isDirectory() ? flatten(path) : readObjects(path);
  });
  const names = objects.map(objectId);
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  if (twice.length > 0) throw new Error(`${file}: twice there: ${twice.join(", ")}`);
  return (kustomization.patches ?? []).reduce<readonly KubeObject[]>(
    (before, patch) => patched(before, patch, file),
    objects,
  );
}

export function objectId({ kind, metadata: { namespace = "", name } }: KubeObject): string {
  return `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}

/** @throws Error where a document is no object of Kubernetes, or not YAML without repeated keys */
export function readObjects(path: string): readonly KubeObject[] {
  return parseAllDocuments(readFileSync(path, "utf8"), { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${document.errors.join("; ")}`);
    const value: unknown = document.toJS();
    if (!isKubeObject(value) || typeof value.kind !== "string") throw new Error(`${path}: a document is no object`);
    return value;
  });
}

function patched(objects: readonly KubeObject[], { target, patch }: Patch, file: string): readonly KubeObject[] {
  const at = objects.findIndex(({ kind, metadata }) => kind === target.kind && metadata.name === target.name);
  const object = objects[at];
  if (object === undefined) throw new Error(`${file}: there is no ${target.kind} ${target.name} to patch`);
  const copy = structuredClone(object);
  for (const operation of parse(patch) as readonly Operation[]) add(copy, operation, file);
  return objects.with(at, copy);
}

/** `add` to the end of a list, or of a field. */
function add(object: unknown, { op, path, value }: Operation, file: string): void {
  const steps = path.split("/").slice(1);
  const last = steps.pop() ?? "";
  let at: unknown = object;
  for (const step of steps) at = isRecord(at) || Array.isArray(at) ? (at as Record<string, unknown>)[step] : undefined;
  if (op === "add" && Array.isArray(at) && last === "-") at.push(value);
  else if (op === "add" && isRecord(at)) (at as Record<string, unknown>)[last] = value;
  else throw new Error(`${file}: ${op} ${path} leads nowhere`);
}
