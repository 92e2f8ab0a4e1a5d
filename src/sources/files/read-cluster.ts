/** Namespaces, Nodes and policies as rows. */
import type { NamespaceRow, NodeRow, PolicyRow } from "../../model/tables.ts";
import type { Metadata } from "./read-metadata.ts";
import {
  at,
  distinct,
  type Fields,
  isAbsent,
  type Place,
  readAddress,
  readEach,
  readFields,
  readPrefix,
  readText,
  shown,
  warn,
} from "./read-values.ts";

const nameLabel = "kubernetes.io/metadata.name";

/** The API server sets the name as a label; a manifest cannot claim another one. */
export function namespaceRow(name: string, labels: NamespaceRow["labels"]): NamespaceRow {
  return { name, labels: { ...labels, [nameLabel]: name } };
}

/** NodeSpec of core/v1. */
const nodeSpec: ReadonlySet<string> = new Set([
  "configSource",
  "externalID",
  "podCIDR",
  "podCIDRs",
  "providerID",
  "taints",
  "unschedulable",
]);
const nodeAddress: ReadonlySet<string> = new Set(["address", "type"]);

export function readNode(object: Fields, { name, labels }: Metadata, place: Place): NodeRow {
  const specPlace = at(place, "spec");
  const spec = readFields(object.spec, specPlace, nodeSpec);
  const status = readFields(object.status, at(place, "status"), null);
  const addressesPlace = at(at(place, "status"), "addresses");
  const typed = readEach(status.addresses, addressesPlace, (entry, entryPlace) => {
    const { type, address } = readFields(entry, entryPlace, nodeAddress);
    if (type !== "InternalIP" && type !== "ExternalIP") return null;
    const read = readAddress(address, at(entryPlace, "address"));
    return read === null ? null : { type, address: read };
  });
  if (!typed.some(({ type }) => type === "InternalIP")) {
    const remedy = "write status.addresses with {type: InternalIP, address: ...}";
    warn(
      addressesPlace,
      "NODE_WITHOUT_ADDRESS",
      "the node has no InternalIP: it is taken for the world outside",
      remedy,
    );
  }
  const taints = readTaints(spec, specPlace);
  return {
    name,
    labels,
    addresses: distinct(typed.map(({ address }) => address)),
    podCidrs: readPodCidrs(object, spec, place),
    ...(taints.length > 0 && { taints }),
  };
}

const unschedulableTaint = "node.kubernetes.io/unschedulable";

/** A controller writes the taint for spec.unschedulable, a moment later. */
function readTaints(spec: Fields, specPlace: Place): readonly string[] {
  const keys = readEach(spec.taints, at(specPlace, "taints"), (entry, place) =>
    readText(readFields(entry, place, null).key, at(place, "key")),
  );
  return [...new Set(spec.unschedulable === true ? [...keys, unschedulableTaint] : keys)].sort();
}

/**
 * As kube-router has them, which announces them: an annotation of its own stands above the spec, and its older one, of a single CIDR, is for nodes that have no other. What
 * pods had beside that nobody would find.
 */
function readPodCidrs(object: Fields, spec: Fields, place: Place): NodeRow["podCidrs"] {
  const specPlace = at(place, "spec");
  const metadataPlace = at(place, "metadata");
  const { annotations } = readFields(object.metadata, metadataPlace, null);
  const annotationsPlace = at(metadataPlace, "annotations");
  const fields = readFields(annotations, annotationsPlace, null);
  const annotated = (name: string): NodeRow["podCidrs"] => {
    const namePlace = at(annotationsPlace, name);
    const text = readText(fields[name] || null, namePlace) ?? "";
    return text.split(",").flatMap((each) => readPrefix(each.trim() || null, namePlace) ?? []);
  };
  const own = annotated("kube-router.io/pod-cidrs");
  if (own.length > 0) return own;
  const several = readEach(spec.podCIDRs, at(specPlace, "podCIDRs"), readPrefix);
  if (several.length > 0) return several;
  const single = isAbsent(spec.podCIDRs) ? readPrefix(spec.podCIDR || null, at(specPlace, "podCIDR")) : null;
  return single === null ? annotated("kube-router.io/pod-cidr") : [single];
}

/** Policies are handed on as they were written; what they say is for those who know policy. */
export function readPolicy(kind: PolicyRow["kind"], object: Fields, metadata: Metadata, place: Place): PolicyRow {
  const specs = isAbsent(object.specs) ? null : readEach(object.specs, at(place, "specs"), (entry) => ({ entry }));
  return {
    kind,
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    generation: metadata.generation,
    spec: object.spec ?? null,
    specs: specs?.map(({ entry }) => entry) ?? null,
  };
}
const namespaceSpec: ReadonlySet<string> = new Set(["finalizers"]);

export function checkNamespace(object: Fields, metadata: Metadata, place: Place): NamespaceRow {
  readFields(object.spec, at(place, "spec"), namespaceSpec);
  const claimed = readText(metadata.labels[nameLabel], at(at(at(place, "metadata"), "labels"), nameLabel));
  if (claimed !== null && claimed !== metadata.name) {
    const message = `${shown(claimed)} is not the name of this namespace; ${shown(metadata.name)} is used`;
    warn(at(at(place, "metadata"), "labels"), "MANIFEST_LABEL", message, `remove the label ${nameLabel}`);
  }
  return namespaceRow(metadata.name, metadata.labels);
}
