/** EndpointSlices as rows. */
import type { EndpointSliceRow } from "../../model/tables.ts";
import type { Metadata } from "./read-metadata.ts";
import { annotationsOf, readWeight } from "./read-service-annotations.ts";
import {
  at,
  type Fields,
  isAbsent,
  type Place,
  readAddresses,
  readEach,
  readFields,
  readFlag,
  readPort,
  readProtocol,
  readText,
  readWord,
  refuse,
  warn,
} from "./read-values.ts";

const serviceLabel = "kubernetes.io/service-name";
const addressTypes = ["IPv4", "IPv6", "FQDN"] as const;
const endpointFields: ReadonlySet<string> = new Set([
  "addresses",
  "conditions",
  "deprecatedTopology",
  "hints",
  "hostname",
  "nodeName",
  "targetRef",
  "zone",
]);
const hintFields: ReadonlySet<string> = new Set(["forNodes", "forZones"]);
const hintTarget: ReadonlySet<string> = new Set(["name"]);
const conditionFields: ReadonlySet<string> = new Set(["ready", "serving", "terminating"]);
const portFields: ReadonlySet<string> = new Set(["appProtocol", "name", "port", "protocol"]);

/** Null for a slice that leads nowhere: of names, or of no service. */
export function readSlice(object: Fields, metadata: Metadata, place: Place): EndpointSliceRow | null {
  const typePlace = at(place, "addressType");
  if (isAbsent(object.addressType)) {
    refuse(typePlace, "MANIFEST_MISSING", "the slice has no addressType", "write IPv4 or IPv6");
  }
  const type = readWord(object.addressType, typePlace, addressTypes, "IPv4");
  if (type === "FQDN") {
    warn(typePlace, "SLICE_OF_NAMES", "endpoints by name are not used", "write a slice of addresses");
    return null;
  }
  const service = metadata.labels[serviceLabel];
  if (service === undefined) {
    const labels = at(at(place, "metadata"), "labels");
    warn(labels, "SLICE_WITHOUT_SERVICE", "the slice belongs to no service", `write the label ${serviceLabel}`);
    return null;
  }
  const family = type === "IPv6" ? 6 : 4;
  const weight = readWeight(annotationsOf(object, place));
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    service,
    family,
    ...(weight !== undefined && { weight }),
    endpoints: readEach(object.endpoints, at(place, "endpoints"), (entry, entryPlace) =>
      readEndpoint(entry, entryPlace, family),
    ),
    ports: readEach(object.ports, at(place, "ports"), readSlicePort),
  };
}

/** Of conditions that nothing is said of: ready, serving as ready, not terminating (discovery/v1, EndpointConditions). */
function readEndpoint(value: unknown, place: Place, family: 4 | 6): EndpointSliceRow["endpoints"][number] {
  const fields = readFields(value, place, endpointFields);
  const conditionsPlace = at(place, "conditions");
  const conditions = readFields(fields.conditions, conditionsPlace, conditionFields);
  const ready = readFlag(conditions.ready, at(conditionsPlace, "ready")) ?? true;
  const addresses = readAddresses(fields.addresses, at(place, "addresses"));
  for (const address of addresses) {
    if (address.family === family) continue;
    const remedy = "write a slice for each address family";
    refuse(at(place, "addresses"), "MANIFEST_ADDRESS", `${address.text} is not of this slice's IPv${family}`, remedy);
  }
  return {
    addresses,
    ready,
    serving: readFlag(conditions.serving, at(conditionsPlace, "serving")) ?? ready,
    terminating: readFlag(conditions.terminating, at(conditionsPlace, "terminating")) ?? false,
    node: readText(fields.nodeName, at(place, "nodeName")),
    hints: readHints(fields.hints, at(place, "hints")),
  };
}

function readHints(value: unknown, place: Place): EndpointSliceRow["endpoints"][number]["hints"] {
  if (isAbsent(value)) return null;
  const fields = readFields(value, place, hintFields);
  const names = (field: "forNodes" | "forZones") =>
    readEach(fields[field], at(place, field), (entry, entryPlace) =>
      readText(readFields(entry, entryPlace, hintTarget).name, at(entryPlace, "name")),
    );
  const [zones, nodes] = [names("forZones"), names("forNodes")];
  return zones.length + nodes.length === 0 ? null : { zones, nodes };
}

function readSlicePort(value: unknown, place: Place): EndpointSliceRow["ports"][number] | null {
  const fields = readFields(value, place, portFields);
  const port = readPort(fields.port, at(place, "port"));
  const name = readText(fields.name, at(place, "name")) ?? "";
  const protocol = readProtocol(fields.protocol, at(place, "protocol"));
  if (isAbsent(fields.port)) {
    warn(at(place, "port"), "SLICE_PORT", "a port without a number leads nowhere", "write the pods' port number");
  }
  return port === null ? null : { name, protocol, port };
}
