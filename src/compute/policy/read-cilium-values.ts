/** Entities, ports, ICMP types and names as Cilium policies write them. */
import { fieldNames } from "../../lib/schema.ts";
import { nearest } from "../../lib/nearest.ts";
import {
  entityNames,
  icmpFamilies,
  icmpFieldSchema,
  icmpSchema,
  mostEntries,
  portProtocols,
  portSchema,
} from "./cilium-schema.ts";
import { at, type Place, readEach, readFields, readText, refuse, shown } from "./fields.ts";
import { icmp6Types, icmpTypes } from "./icmp-types.ts";
import { lastPort } from "./port-sets.ts";
import { checkPort, isPortName, readEndPort, unknownWord } from "./read-values.ts";
import { type Entity, type Port, protocolNumbers } from "./rules.ts";

export function readEntity(value: unknown, place: Place): Entity | null {
  const text = readText(value, place);
  const entity = entityNames.find((each) => each === text);
  if (entity === undefined && text !== null) unknownWord(place, "POLICY_ENTITY", text, "an entity", entityNames);
  return entity ?? null;
}

export function checkCount(entries: unknown, place: Place): void {
  if (!Array.isArray(entries) || entries.length <= mostEntries) return;
  const message = `${entries.length} entries; there may be ${mostEntries}`;
  refuse(place, "POLICY_TOO_MANY", message, "use a range of ports, or more entries of the list around");
}

/** One entry of `ports`, as the protocols that it stands for. */
export function readPortProtocol(value: unknown, place: Place): readonly Port[] | null {
  const fields = readFields(value, place, fieldNames(portSchema));
  const protocols = fields === null ? null : readProtocols(fields.protocol, at(place, "protocol"));
  if (fields === null || protocols === null) return null;
  const portPlace = at(place, "port");
  const text = readText(fields.port, portPlace);
  if (text === null || text === "") {
    if (fields.port === undefined || fields.port === null || text === "") {
      refuse(
        portPlace,
        "POLICY_MISSING",
        "there is no port",
        'write a number in quotes, a name, or "0" for every port',
      );
    }
    return null;
  }
  const number = portNumber(text);
  if (number === null) {
    const name = text.toLowerCase();
    if (!isPortName(name)) {
      const remedy = "write a number, or a name of up to 15 letters, digits and hyphens";
      refuse(portPlace, "POLICY_PORT_NAME", `${shown(text)} is not a port`, remedy);
      return null;
    }
    readEndPort(fields.endPort, at(place, "endPort"), null);
    return protocols.map((protocol) => ({ kind: "named", protocol, name }));
  }
  if (!checkPort(number, portPlace, 0)) return null;
  if (number === 0) {
    if (wantsEnd(fields.endPort)) {
      refuse(
        at(place, "endPort"),
        "POLICY_PORT_RANGE",
        "port 0 is every port, a range cannot begin there",
        "begin at 1",
      );
      return null;
    }
    return protocols.map((protocol) => ({ kind: "range", protocol, first: 0, last: lastPort }));
  }
  const last = readEndPort(fields.endPort, at(place, "endPort"), number);
  return last === null ? null : protocols.map((protocol) => ({ kind: "range", protocol, first: number, last }));
}

function wantsEnd(value: unknown): boolean {
  return value !== undefined && value !== null && value !== 0;
}

/** Decimal or 0x; a leading zero would be octal to some readers, so it is no number here. Null: perhaps a name. */
function portNumber(text: string): number | null {
  if (/^(0|[1-9][0-9]*)$/.test(text)) return Number(text);
  return /^0[xX][0-9a-fA-F]{1,8}$/.test(text) ? Number.parseInt(text.slice(2), 16) : null;
}

function readProtocols(value: unknown, place: Place): readonly number[] | null {
  const { TCP, UDP, SCTP } = protocolNumbers;
  const text = readText(value ?? "ANY", place);
  switch (text) {
    case null:
      return null;
    case "ANY":
    case "":
      return [TCP, UDP, SCTP];
    case "TCP":
      return [TCP];
    case "UDP":
      return [UDP];
    case "SCTP":
      return [SCTP];
    case "ICMP":
    case "ICMPv6":
      refuse(place, "POLICY_PROTOCOL", `${text} has no ports`, "write icmps in a rule of its own");
      return null;
    default:
      unknownWord(place, "POLICY_PROTOCOL", text, "a protocol that policies can name", portProtocols);
      return null;
  }
}

/** `icmps`: one list of ports for all of it; null for an absent one. */
export function readIcmps(value: unknown, place: Place): readonly Port[] | null {
  const rules = readEach(value, place, (entry, entryPlace) => {
    const fields = readFields(entry ?? {}, entryPlace, fieldNames(icmpSchema));
    if (fields === null) return null;
    checkCount(fields.fields, at(entryPlace, "fields"));
    return readEach(fields.fields, at(entryPlace, "fields"), readIcmpField);
  });
  return rules === null ? null : rules.flat();
}

function readIcmpField(value: unknown, place: Place): Port | null {
  const fields = readFields(value, place, fieldNames(icmpFieldSchema));
  if (fields === null) return null;
  const family = readText(fields.family ?? "IPv4", at(place, "family"));
  if (family !== "IPv4" && family !== "IPv6") {
    if (family !== null) unknownWord(at(place, "family"), "POLICY_FAMILY", family, "a family", icmpFamilies);
    return null;
  }
  const type = readIcmpType(fields.type, at(place, "type"), family === "IPv4" ? icmpTypes : icmp6Types);
  if (type === null) return null;
  const protocol = family === "IPv4" ? protocolNumbers.ICMP : protocolNumbers.ICMPv6;
  return { kind: "range", protocol, first: type << 8, last: (type << 8) | 255 };
}

function readIcmpType(value: unknown, place: Place, names: ReadonlyMap<string, number>): number | null {
  const number = typeof value === "string" && /^[0-9]{1,3}$/.test(value) ? Number(value) : value;
  if (typeof number === "number") {
    if (Number.isInteger(number) && number >= 0 && number <= 255) return number;
    refuse(place, "POLICY_ICMP_TYPE", `${number} is not an ICMP type (0-255)`, "write a number from 0 to 255");
    return null;
  }
  if (typeof number === "string") {
    const type = names.get(number);
    if (type !== undefined) return type;
    const near = nearest(number, [...names.keys()]);
    const remedy = near === null ? "write the number of the type" : `did you mean ${near}?`;
    refuse(place, "POLICY_ICMP_TYPE", `${shown(number)} is not an ICMP type of this family`, remedy);
    return null;
  }
  refuse(place, "POLICY_MISSING", "there is no ICMP type", "write type: 8 or type: EchoRequest");
  return null;
}
