/**
 * Reading what users wrote, value by value: every mistake is told with its path, and reading goes on, so that all come at once. An
 * error refuses the object whole; a warning does not.
 */
import { exactList } from "../../lib/exact-list.ts";
import { nearest } from "../../lib/nearest.ts";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../model/ip.ts";
import type { Problem, Severity } from "../../model/status.ts";
import type { Labels } from "../../model/labels.ts";
import type { Protocol } from "../../model/tables.ts";

/** Where a value stands, and whom to tell. Most places are never told of, so that the path is made only when it is asked for. */
export class Place {
  readonly report: (finding: Finding) => void;
  readonly #above: Place | null;
  readonly #step: string | number;

  constructor(report: (finding: Finding) => void, above: Place | null = null, step: string | number = "") {
    this.report = report;
    this.#above = above;
    this.#step = step;
  }

  /** "spec.ports[0].port", "" for the object. */
  get path(): string {
    const above = this.#above?.path ?? "";
    if (typeof this.#step === "number") return `${above}[${this.#step}]`;
    return above === "" ? this.#step : `${above}.${this.#step}`;
  }
}

export type Finding = Omit<Problem, "object">;

export type Fields = Readonly<Record<string, unknown>>;

export function at(place: Place, step: string | number): Place {
  return new Place(place.report, place, step);
}

export function refuse(place: Place, code: string, message: string, remedy: string): void {
  tell(place, "error", code, message, remedy);
}

export function warn(place: Place, code: string, message: string, remedy: string): void {
  tell(place, "warning", code, message, remedy);
}

function tell(place: Place, severity: Severity, code: string, message: string, remedy: string): void {
  place.report({ code, severity, field: place.path, message, remedy });
}

/** How a value of a user appears in a message: short, one line. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

export function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrongType(value: unknown, place: Place, wanted: string): null {
  refuse(place, "MANIFEST_TYPE", `${shown(value)} is not ${wanted}`, `write ${wanted} here`);
  return null;
}

/**
 * The fields of an object, none for an absent one. A field that is not `known` is a warning: newer versions of Kubernetes have more.
 * @param known null: any
 */
export function readFields(value: unknown, place: Place, known: ReadonlySet<string> | null): Fields {
  if (isAbsent(value)) return {};
  if (!isFields(value)) {
    wrongType(value, place, "an object");
    return {};
  }
  if (known === null) return value;
  for (const name of Object.keys(value)) {
    if (known.has(name)) continue;
    const near = nearest(name, known);
    const remedy = near === null ? "remove it, or correct its name" : `did you mean ${near}?`;
    warn(at(place, name), "MANIFEST_UNKNOWN_FIELD", `there is no field ${shown(name)} here; it has no effect`, remedy);
  }
  return value;
}

/** Reads each entry of a list, none for an absent one; entries that `read` answers null for are left out. */
export function readEach<T>(
  value: unknown,
  place: Place,
  read: (entry: unknown, place: Place) => T | null,
): readonly T[] {
  if (isAbsent(value)) return [];
  if (!Array.isArray(value)) {
    wrongType(value, place, "a list");
    return [];
  }
  const results: T[] = [];
  for (const [index, entry] of value.entries()) {
    const result = read(entry, at(place, index));
    if (result !== null) results.push(result);
  }
  return exactList(results);
}

export function readText(value: unknown, place: Place): string | null {
  if (isAbsent(value)) return null;
  return typeof value === "string" ? value : wrongType(value, place, "a text (in quotes, if it looks like a number)");
}

export function readFlag(value: unknown, place: Place): boolean | null {
  if (isAbsent(value)) return null;
  return typeof value === "boolean" ? value : wrongType(value, place, "true or false");
}

export function readInteger(value: unknown, place: Place, least: number, most: number): number | null {
  if (isAbsent(value)) return null;
  const wanted = `a number from ${least} to ${most}`;
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most
    ? Number(value)
    : wrongType(value, place, wanted);
}

export function readPort(value: unknown, place: Place): number | null {
  return readInteger(value, place, 1, 65_535);
}

/** One of `words`, `fallback` for an absent one or after a mistake. */
export function readWord<W extends string>(value: unknown, place: Place, words: readonly W[], fallback: W): W {
  if (isAbsent(value)) return fallback;
  const word = words.find((one) => one === value);
  if (word !== undefined) return word;
  const near = typeof value === "string" ? nearest(value, words) : null;
  const remedy = near === null ? `write one of ${words.join(", ")}` : `did you mean ${near}?`;
  refuse(place, "MANIFEST_VALUE", `${shown(value)} is not one of ${words.join(", ")}`, remedy);
  return fallback;
}

export function readProtocol(value: unknown, place: Place): Protocol {
  return readWord<Protocol>(value, place, ["TCP", "UDP", "SCTP"], "TCP");
}

export function readAddress(value: unknown, place: Place): Address | null {
  const text = readText(value, place);
  if (text === null) return null;
  const address = parseAddress(text);
  if (address === null) {
    const remedy = "write an IPv4 or IPv6 address without prefix length, zone or leading zeros";
    refuse(place, "MANIFEST_ADDRESS", `${shown(text)} is not an address`, remedy);
  }
  return address;
}

export function readAddresses(value: unknown, place: Place): readonly Address[] {
  return readEach(value, place, readAddress);
}

export function readPrefix(value: unknown, place: Place): Prefix | null {
  const text = readText(value, place);
  if (text === null) return null;
  const prefix = text.includes("/") ? parsePrefix(text) : null;
  if (prefix === null) {
    refuse(place, "MANIFEST_CIDR", `${shown(text)} is not a CIDR`, "write address/length, as 10.1.0.0/24 or fd00::/64");
  }
  return prefix;
}

/** Each address once, the first of equals. */
export function distinct(addresses: readonly Address[]): readonly Address[] {
  return exactList(addresses.filter(({ text }, i) => addresses.findIndex((other) => other.text === text) === i));
}

/** Kubernetes' syntax of label keys and values. It also keeps a value from posing as several labels where they are joined. */
const labelName = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const labelDomain = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

export function readLabels(value: unknown, place: Place): Labels {
  const labels: [string, string][] = [];
  for (const [key, text] of Object.entries(readFields(value, place, null))) {
    const slash = key.indexOf("/");
    const keyIsGood = labelName.test(key.slice(slash + 1)) && (slash < 0 || labelDomain.test(key.slice(0, slash)));
    if (!keyIsGood) {
      const remedy = "write name or domain/name: at most 63 letters, digits, '-', '_', '.' in the name";
      refuse(at(place, key), "MANIFEST_LABEL", `${shown(key)} is not a label key`, remedy);
    } else if (typeof text !== "string") {
      wrongType(text, at(place, key), "a text (in quotes, if it looks like a number)");
    } else if (text !== "" && !labelName.test(text)) {
      const remedy = "write at most 63 letters, digits, '-', '_', '.', beginning and ending with a letter or digit";
      refuse(at(place, key), "MANIFEST_LABEL", `${shown(text)} is not a label value`, remedy);
    } else labels.push([key, text]);
  }
  return Object.fromEntries(labels);
}
