/** Objects as a table (meta.k8s.io/v1 Table), as `kubectl get` asks for them: the columns of the kind's definition, or those of a few built-in kinds. */
import { isList, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";
import { valuesAt } from "./json-path.ts";
import { definitionsStorage, type Resource } from "./resources.ts";
import type { Store } from "./store.ts";

interface Column {
  readonly name: string;
  readonly type: string;
  readonly description: string;
  /** 0: always shown. */
  readonly priority: number;
  readonly path: string;
}

export function wantsTable(accept: string): boolean {
  return /^application\/json;as=Table;(?:g=meta\.k8s\.io;v=v1|v=v1;g=meta\.k8s\.io)/.test(accept.trim());
}

const column = (name: string, path: string, priority = 0, type = "string"): Column => ({
  name,
  type,
  description: "",
  priority,
  path,
});
const age = column("Age", ".metadata.creationTimestamp", 0, "date");

const builtIn: Readonly<Record<string, readonly Column[]>> = {
  namespaces: [column("Status", ".status.phase"), age],
  nodes: [column("Status", ".status.conditions[?(@.type=='Ready')].reason"), age],
  pods: [column("Status", ".status.phase"), age, column("IP", ".status.podIP", 1), column("Node", ".spec.nodeName", 1)],
  services: [column("Type", ".spec.type"), column("Cluster-IP", ".spec.clusterIP"), age],
  [definitionsStorage]: [column("Created At", ".metadata.creationTimestamp")],
};

/**
 * @param now ms, for ages
 * @returns null for what is no object of the kind and no list of them, such as a Status
 */
export function asTable(
  resource: Resource,
  store: Store,
  body: JsonObject,
  query: URLSearchParams,
  now: number,
): JsonObject | null {
  const items = body.kind === resource.listKind ? listAt(body, "items").filter(isObject) : [body];
  if (body.kind !== resource.listKind && body.kind !== resource.kind) return null;
  const columns = columnsOf(resource, store);
  const include = query.get("includeObject") ?? "Metadata";
  const list = objectAt(body, "metadata");
  const named = { name: "Name", type: "string", format: "name", description: "", priority: 0 };
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: body.kind === resource.listKind ? list : { resourceVersion: textAt(list, "resourceVersion") },
    columnDefinitions: [
      named,
      ...columns.map(({ name, type, description, priority }) => ({ name, type, format: "", description, priority })),
    ],
    rows: items.map((item) => ({
      cells: [textAt(item, "metadata", "name"), ...columns.map((each) => cell(each, item, now))],
      ...(include === "None" ? {} : { object: include === "Object" ? item : partial(item) }),
    })),
  };
}

function columnsOf({ custom, storage, version }: Resource, store: Store): readonly Column[] {
  if (custom === null) return builtIn[storage] ?? [age];
  const definition = store.get(definitionsStorage, custom.definition) ?? {};
  const found = listAt(definition, "spec", "versions").find((each) => textAt(each, "name") === version);
  const columns = listAt(found, "additionalPrinterColumns").filter(isObject);
  if (columns.length === 0) return [age];
  return columns.map((each) => ({
    name: textAt(each, "name"),
    type: textAt(each, "type"),
    description: textAt(each, "description"),
    priority: Number(each.priority ?? 0),
    path: textAt(each, "jsonPath"),
  }));
}

function cell({ path, type }: Column, item: JsonObject, now: number): Json {
  const [value = null] = valuesAt(item, path);
  if (value === null) return null;
  if (type === "date") return ageOf(now - Date.parse(String(value)));
  if (type === "string") return isObject(value) || isList(value) ? JSON.stringify(value) : String(value);
  return value;
}

function partial({ metadata = {} }: JsonObject): JsonObject {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata };
}

/** The two largest units that say something, as kubectl prints ages. */
function ageOf(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}
