/** Ports, protocols and CIDRs as users write them, for policies of all kinds. */
import { nearest } from "../../lib/nearest.ts";
import { parsePrefix, type Prefix, prefixContainsPrefix } from "../../model/ip.ts";
import { at, type Place, readEach, readText, refuse, shown } from "./fields.ts";
import { type Block, protocolNumbers } from "./rules.ts";

/** Kubernetes' rule for port names (RFC 6335 section 5.1): at least one letter, no two hyphens in a row. */
export function isPortName(text: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/.test(text) && /[a-z]/.test(text) && !text.includes("--");
}

export function checkPort(port: number, place: Place, least: number): boolean {
  if (Number.isInteger(port) && port >= least && port <= 65_535) return true;
  refuse(place, "POLICY_PORT_RANGE", `${port} is not a port (${least}-65535)`, `write a number from ${least} to 65535`);
  return false;
}

/** The last port of a range; `first` where there is no endPort. Null: refused. */
export function readEndPort(value: unknown, place: Place, first: number | null): number | null {
  if (value === undefined || value === null || value === 0) return first;
  if (typeof value !== "number") {
    refuse(place, "POLICY_TYPE", `${shown(value)} is not a number`, "write a port number without quotes");
    return null;
  }
  if (!checkPort(value, place, 1)) return null;
  if (first === null) {
    refuse(place, "POLICY_PORT_RANGE", "a range cannot begin with a port name", "write the first port as a number");
    return null;
  }
  if (value >= first) return value;
  refuse(place, "POLICY_PORT_RANGE", `the range ends at ${value}, before it begins (${first})`, "swap the two ports");
  return null;
}

export function unknownWord(place: Place, code: string, text: string, what: string, known: readonly string[]): void {
  const near = nearest(text, known);
  const remedy = near === null ? `write one of ${known.join(", ")}` : `did you mean ${near}?`;
  refuse(place, code, `${shown(text)} is not ${what}`, remedy);
}

/** TCP for an absent one. Null: refused. */
export function readProtocol(value: unknown, place: Place): number | null {
  const text = readText(value ?? "TCP", place);
  if (text === null) return null;
  if (text === "TCP" || text === "UDP" || text === "SCTP") return protocolNumbers[text];
  unknownWord(place, "POLICY_PROTOCOL", text, "a protocol here", ["TCP", "UDP", "SCTP"]);
  return null;
}

/** @param bare whether an address alone will do, for a block of one */
export function readPrefix(value: unknown, place: Place, bare: boolean): Prefix | null {
  const text = readText(value, place);
  if (text === null) {
    if (value === undefined || value === null) {
      refuse(place, "POLICY_MISSING", "there is no CIDR", "write address/length, as 10.0.0.0/8");
    }
    return null;
  }
  const prefix = parsePrefix(text);
  if (prefix === null) {
    refuse(place, "POLICY_CIDR", `${shown(text)} is not a CIDR`, "write address/length, as 10.0.0.0/8 or fd00::/8");
  } else if (!bare && !text.includes("/")) {
    refuse(place, "POLICY_CIDR", `${shown(text)} has no length`, `write ${prefix.text} for this address alone`);
    return null;
  }
  return prefix;
}

/** A CIDR with exceptions, which have to lie inside of it. */
export function readBlock(cidr: unknown, except: unknown, place: Place, outsideOnly: boolean): Block | null {
  const prefix = readPrefix(cidr, at(place, "cidr"), false);
  const exceptions = readEach(except, at(place, "except"), (entry, entryPlace) => {
    const inner = readPrefix(entry, entryPlace, false);
    if (inner === null || prefix === null || prefixContainsPrefix(prefix, inner)) return inner;
    refuse(entryPlace, "POLICY_EXCEPT", `${inner.text} is not inside of ${prefix.text}`, "except a part of the block");
    return null;
  });
  return prefix === null ? null : { prefix, except: exceptions ?? [], outsideOnly };
}
