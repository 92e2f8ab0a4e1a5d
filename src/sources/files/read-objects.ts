/**
 * Kubernetes objects to rows: pure, for the folder that an agent follows and for everybody who works on manifests without one
 * (offline commands, conformance cases).
 *
 *   const { rows, problems } = readObjects(parseManifest(text, "shop.yaml").objects);
 *   rows.pods.get("shop/web-0")
 *
 * An object with an error counts not at all; every other object counts. The same objects give the same rows in any order and in
 * any split over files; of two objects of one name the one in the first file by name counts, in one file the first.
 */
import { editDistance, nearest } from "../../lib/nearest.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { TableRows } from "../../model/tables.ts";
import { readCidrGroup } from "./read-cidr-groups.ts";
import { checkNamespace, namespaceRow, readNode, readPolicy } from "./read-cluster.ts";
import { type Metadata, nameOf, readMetadata } from "./read-metadata.ts";
import { readPod } from "./read-pods.ts";
import { readService } from "./read-services.ts";
import { readSlice } from "./read-slices.ts";
import { at, type Fields, type Finding, isFields, Place, readFields, shown } from "./read-values.ts";

export interface ManifestObject {
  /** As it was decoded from YAML or JSON. */
  readonly value: unknown;
  /** How messages call the file. */
  readonly file: string;
  /** Of its beginning, from 1; 0 where that is not known. */
  readonly line: number;
}

/** Tables that manifests fill, keyed as `TableRows` says. */
export const manifestTables = [
  "namespaces",
  "nodes",
  "pods",
  "services",
  "endpointSlices",
  "policies",
  "cidrGroups",
] as const;
export type ManifestTable = (typeof manifestTables)[number];
export type ManifestRows = { readonly [K in ManifestTable]: ReadonlyMap<string, TableRows[K]> };

export interface ObjectsReading {
  readonly rows: ManifestRows;
  readonly problems: readonly Problem[];
  /** Kinds that are not for an agent, "apps/v1 Deployment", with the place of the first. */
  readonly ignored: ReadonlyMap<string, string>;
}

/** One object, read by itself: what can be remembered as long as its file does not change. */
export interface ObjectReading {
  readonly file: string;
  readonly line: number;
  /** "Pod shop/web-0", or its place if it has no name. */
  readonly object: string;
  /** null: of no kind that is read, or without a name. */
  readonly slot: { readonly table: ManifestTable; readonly key: string } | null;
  /** null: refused, or it says nothing. */
  readonly row: TableRows[ManifestTable] | null;
  /** It is there but cannot be taken as it is: who remembers a row of before may put it in. */
  readonly refused: boolean;
  /** Not null: when `row` was read, in ms since the epoch; it is of an older version of the object. */
  readonly rowSince: number | null;
  readonly problems: readonly Problem[];
  /** "apps/v1 Deployment" if it is of another kind. */
  readonly ignored: string | null;
}

interface Kind {
  /** The one to write. */
  readonly apiVersion: string;
  /** Others that say the same. */
  readonly also?: readonly string[];
  readonly table: ManifestTable;
  readonly namespaced: boolean;
  /** Top-level ones. */
  readonly fields: ReadonlySet<string>;
  readonly read: (object: Fields, metadata: Metadata, place: Place) => TableRows[ManifestTable] | null;
}

const common = ["apiVersion", "kind", "metadata"] as const;
const state: Kind["fields"] = new Set([...common, "spec", "status"]);
const ciliumPolicy: Kind["fields"] = new Set([...state, "specs"]);

const policy = (kind: TableRows["policies"]["kind"], apiVersion: string, fields: Kind["fields"]): Kind => ({
  apiVersion,
  table: "policies",
  namespaced: kind !== "CiliumClusterwideNetworkPolicy",
  fields,
  read: (object, metadata, place) => readPolicy(kind, object, metadata, place),
});

const kinds: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["Namespace", { apiVersion: "v1", table: "namespaces", namespaced: false, fields: state, read: checkNamespace }],
  ["Node", { apiVersion: "v1", table: "nodes", namespaced: false, fields: state, read: readNode }],
  ["Pod", { apiVersion: "v1", table: "pods", namespaced: true, fields: state, read: readPod }],
  ["Service", { apiVersion: "v1", table: "services", namespaced: true, fields: state, read: readService }],
  [
    "EndpointSlice",
    {
      apiVersion: "discovery.k8s.io/v1",
      table: "endpointSlices",
      namespaced: true,
      fields: new Set([...common, "addressType", "endpoints", "ports"]),
      read: readSlice,
    },
  ],
  ["NetworkPolicy", policy("NetworkPolicy", "networking.k8s.io/v1", state)],
  ["CiliumNetworkPolicy", policy("CiliumNetworkPolicy", "cilium.io/v2", ciliumPolicy)],
  ["CiliumClusterwideNetworkPolicy", policy("CiliumClusterwideNetworkPolicy", "cilium.io/v2", ciliumPolicy)],
  [
    "CiliumCIDRGroup",
    {
      apiVersion: "cilium.io/v2",
      also: ["cilium.io/v2alpha1"],
      table: "cidrGroups",
      namespaced: false,
      fields: state,
      read: readCidrGroup,
    },
  ],
]);

export function readObjects(objects: readonly ManifestObject[]): ObjectsReading {
  return mergeReadings(objects.map(readObject));
}

export function readObject({ value, file, line }: ManifestObject): ObjectReading {
  const place = placeText(file, line);
  const about = {
    file,
    line,
    object: place,
    slot: null,
    row: null,
    refused: false,
    rowSince: null,
    problems: [],
    ignored: null,
  };
  const mistake = (code: string, message: string, remedy: string, object = place): ObjectReading => ({
    ...about,
    problems: [{ code, severity: "error", object, field: "", message, remedy }],
  });
  if (!isFields(value)) {
    return mistake(
      "MANIFEST_TYPE",
      `${shown(value)} is not a Kubernetes object`,
      "write apiVersion, kind and metadata",
    );
  }
  const { apiVersion, kind } = value;
  if (typeof kind !== "string" || typeof apiVersion !== "string") {
    return mistake("MANIFEST_KIND", "the object has no apiVersion or no kind", "write both, as texts");
  }
  const known = kinds.get(kind);
  if (known === undefined || groupOf(apiVersion) !== groupOf(known.apiVersion)) {
    const near = known === undefined ? nearKind(kind) : null;
    if (near === null) return otherKind({ ...about, object: `${kind} in ${place}` }, apiVersion, kind);
    return mistake("MANIFEST_KIND", `there is no kind ${shown(kind)}`, `did you mean ${near}?`);
  }
  const names = nameOf(value, known.namespaced);
  const object = names === null ? `${kind} in ${place}` : objectText(kind, names);
  if (apiVersion !== known.apiVersion && !known.also?.includes(apiVersion)) {
    const message = `${shown(apiVersion)} is not a version that is read (${place})`;
    const problem = mistake("MANIFEST_VERSION", message, `write apiVersion: ${known.apiVersion}`, object);
    return { ...problem, object, slot: slotOf(kind, known, names), refused: true };
  }
  const findings: Finding[] = [];
  const whole = new Place((finding) => findings.push(finding));
  readFields(value, whole, known.fields);
  const metadata = readMetadata(value.metadata, at(whole, "metadata"), known.namespaced);
  const row = known.read(value, metadata, whole);
  const refused = names === null || findings.some(({ severity }) => severity === "error");
  const problems = findings.map((finding) => ({ ...finding, object, message: `${finding.message} (${place})` }));
  return { ...about, object, slot: slotOf(kind, known, names), row: refused ? null : row, refused, problems };
}

/** Not for an agent. A network policy that nobody enforces is a problem nevertheless: somebody counts on it. */
function otherKind(about: ObjectReading, apiVersion: string, kind: string): ObjectReading {
  const ignored = `${apiVersion} ${kind}`;
  if (!kind.endsWith("NetworkPolicy")) return { ...about, ignored };
  const message = `policies of ${ignored} are not enforced`;
  const remedy = `write one of ${[...kinds.keys()].filter((known) => known.endsWith("Policy")).join(", ")}`;
  const problem: Problem = {
    code: "MANIFEST_KIND",
    severity: "warning",
    object: about.object,
    field: "",
    message,
    remedy,
  };
  return { ...about, ignored, problems: [problem] };
}

/** All objects together: names that are there twice, namespaces that nobody wrote down. */
export function mergeReadings(readings: readonly ObjectReading[]): ObjectsReading {
  const sorted = readings.map((reading, index) => ({ reading, index })).sort(compareReadings);
  const rows = Object.fromEntries(manifestTables.map((table) => [table, new Map()])) as unknown as {
    readonly [K in ManifestTable]: Map<string, TableRows[ManifestTable]>;
  };
  const problems: Problem[] = [];
  const ignored = new Map<string, string>();
  const seen = new Map<string, ObjectReading>();
  for (const { reading } of sorted) {
    problems.push(...reading.problems);
    const { slot, row } = reading;
    if (reading.ignored !== null && !ignored.has(reading.ignored)) {
      ignored.set(reading.ignored, placeText(reading.file, reading.line));
    }
    if (slot === null) continue;
    const title = `${slot.table} ${slot.key}`;
    const first = seen.get(title);
    if (first !== undefined) {
      problems.push(duplicate(first, reading));
      continue;
    }
    seen.set(title, reading);
    if (row !== null) rows[slot.table].set(slot.key, row);
  }
  const merged = rows as unknown as ManifestRows & { readonly namespaces: Map<string, TableRows["namespaces"]> };
  // In a cluster every namespace exists, and has its name as a label that policies may select.
  for (const table of [merged.pods, merged.services, merged.policies]) {
    for (const { namespace } of table.values()) {
      if (namespace !== "" && !merged.namespaces.has(namespace)) {
        merged.namespaces.set(namespace, namespaceRow(namespace, {}));
      }
    }
  }
  return { rows: merged, problems, ignored };
}

/** "shop.yaml line 12". */
export function placeText(file: string, line: number): string {
  return line === 0 ? file : `${file} line ${line}`;
}

function duplicate(first: ObjectReading, second: ObjectReading): Problem {
  const kept = placeText(first.file, first.line);
  const message = `it is in ${kept} and in ${placeText(second.file, second.line)}; ${kept} counts`;
  const about = { code: "MANIFEST_DUPLICATE", severity: "error", object: second.object, field: "" } as const;
  return { ...about, message, remedy: "remove one of the two" };
}

function compareReadings(
  left: { readonly reading: ObjectReading; readonly index: number },
  right: { readonly reading: ObjectReading; readonly index: number },
): number {
  return (
    compareText(left.reading.file, right.reading.file) ||
    left.reading.line - right.reading.line ||
    left.index - right.index
  );
}

function slotOf(kind: string, { table, namespaced }: Kind, names: ReturnType<typeof nameOf>): ObjectReading["slot"] {
  if (names === null) return null;
  const name = namespaced || table === "policies" ? `${names.namespace}/${names.name}` : names.name;
  return { table, key: table === "policies" ? `${kind}/${name}` : name };
}

function objectText(kind: string, { namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${kind} ${namespace === "" ? "" : `${namespace}/`}${name}`;
}

/** "cilium.io/v2" -> "cilium.io", "v1" -> "" (core). */
function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf("/");
  return slash < 0 ? "" : apiVersion.slice(0, slash);
}

/**
 * A kind that was probably meant: an object that is silently left out for a slip of the pen would be a hole. One edit in four
 * letters, so that Role is not taken for Node nor Job for Pod.
 */
function nearKind(kind: string): string | null {
  const near = nearest(kind, kinds.keys());
  const edits = near === null ? 0 : editDistance(kind.toLowerCase(), near.toLowerCase());
  return edits <= Math.max(1, Math.floor(kind.length / 4)) ? near : null;
}
