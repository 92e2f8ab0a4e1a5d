/** Entries of `fromCIDRSet` and `toCIDRSet`: a CIDR, a CiliumCIDRGroup by name, or all those with some labels. */
import { fieldNames } from "../../lib/schema.ts";
import { cidrSetSchema } from "./cilium-schema.ts";
import { at, type Fields, type Place, readEach, readFields, readText, refuse, shown } from "./fields.ts";
import { ciliumKeys, readSelector } from "./read-selector.ts";
import { readBlock, readPrefix } from "./read-values.ts";
import type { GroupReference, Peer } from "./rules.ts";

/** RFC 1123, as names of objects are. */
const objectName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

export function readCidrSet(value: unknown, place: Place): Peer | null {
  const fields = readFields(value, place, fieldNames(cidrSetSchema));
  if (fields === null) {
    if (value === null) refuse(place, "POLICY_TYPE", "the entry is empty", "write cidr, or remove the entry");
    return null;
  }
  const given = ["cidr", "cidrGroupRef", "cidrGroupSelector"].filter((name) => {
    return fields[name] !== undefined && fields[name] !== null && fields[name] !== "";
  });
  if (given.length !== 1) {
    const message = given.length === 0 ? "there is no cidr" : `${given.join(" and ")} in one entry`;
    refuse(place, given.length === 0 ? "POLICY_MISSING" : "POLICY_COMBINED", message, "write one of them");
    return null;
  }
  if (given[0] === "cidr") {
    const block = readBlock(fields.cidr, fields.except, place, true);
    return block === null ? null : { kind: "block", block };
  }
  const group = given[0] === "cidrGroupRef" ? readName(fields, place) : readLabels(fields, place);
  // What the group holds is not known here, so what lies outside of it is no mistake: there is nothing to take away.
  const except = readEach(fields.except, at(place, "except"), (entry, inner) => readPrefix(entry, inner, false)) ?? [];
  return group === null ? null : { kind: "group", group, except };
}

function readName(fields: Fields, place: Place): GroupReference | null {
  const namePlace = at(place, "cidrGroupRef");
  const name = readText(fields.cidrGroupRef, namePlace);
  if (name === null) return null;
  if (objectName.test(name)) return { kind: "name", name, field: namePlace.path };
  const remedy = "write metadata.name of a CiliumCIDRGroup";
  refuse(namePlace, "POLICY_GROUP_NAME", `${shown(name)} is not a name that an object can have`, remedy);
  return null;
}

function readLabels(fields: Fields, place: Place): GroupReference | null {
  const selector = readSelector(fields.cidrGroupSelector, at(place, "cidrGroupSelector"), ciliumKeys);
  return selector === null ? null : { kind: "labels", selector };
}
