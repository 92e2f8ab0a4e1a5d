/** CiliumCIDRGroups as rows. */
import { fieldNames } from "../../lib/schema.ts";
import { cidrGroupSpecSchema } from "../../model/cidr-group-schema.ts";
import type { CidrGroupRow } from "../../model/tables.ts";
import type { Metadata } from "./read-metadata.ts";
import { at, type Fields, isAbsent, type Place, readEach, readFields, readPrefix, refuse } from "./read-values.ts";

const specFields: ReadonlySet<string> = new Set(fieldNames(cidrGroupSpecSchema));

export function readCidrGroup(object: Fields, { name, labels }: Metadata, place: Place): CidrGroupRow {
  const specPlace = at(place, "spec");
  const spec = readFields(object.spec, specPlace, specFields);
  const cidrsPlace = at(specPlace, "externalCIDRs");
  if (isAbsent(spec.externalCIDRs)) {
    refuse(cidrsPlace, "MANIFEST_MISSING", "the group has no list of CIDRs", "write spec.externalCIDRs ([] for none)");
  }
  const prefixes = readEach(spec.externalCIDRs, cidrsPlace, (entry, entryPlace) => {
    if (isAbsent(entry)) refuse(entryPlace, "MANIFEST_MISSING", "the entry is empty", "remove it or write a CIDR");
    return readPrefix(entry, entryPlace);
  });
  // Written twice is meant once.
  return { name, labels, externalCidrs: [...new Map(prefixes.map((prefix) => [prefix.text, prefix])).values()] };
}
