/** Reading what users wrote: every mistake is reported with its path, and reading goes on, so that all come at once. */
import { exactList } from "../../lib/exact-list.ts";
import { nearest } from "../../lib/nearest.ts";
import type { Problem, Severity } from "../../model/status.ts";

/** Where a value stands and whom to tell. */
export interface Place {
  /** "spec.egress[0].toPorts" */
  readonly path: string;
  readonly report: (problem: Omit<Problem, "object">) => void;
}

export type Fields = Readonly<Record<string, unknown>>;

export function at(place: Place, step: string | number): Place {
  const path = typeof step === "number" ? `${place.path}[${step}]` : place.path === "" ? step : `${place.path}.${step}`;
  return { path, report: place.report };
}

export function refuse(
  place: Place,
  code: string,
  message: string,
  remedy: string,
  severity: Severity = "error",
): void {
  place.report({ code, severity, field: place.path, message, remedy });
}

export function warn(place: Place, code: string, message: string, remedy: string): void {
  refuse(place, code, message, remedy, "warning");
}

/** How a value of a user appears in a message: short, one line. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrongType(value: unknown, place: Place, wanted: string): void {
  refuse(place, "POLICY_TYPE", `${shown(value)} is not ${wanted}`, `write ${wanted} here`);
}

/**
 * The fields of an object, null for an absent one. Fields that are not `known` are refused.
 * @param misplaced what to do about fields that have a place elsewhere: name -> remedy
 */
export function readFields(
  value: unknown,
  place: Place,
  known: readonly string[],
  misplaced: ReadonlyMap<string, string> = new Map(),
): Fields | null {
  if (value === undefined || value === null) return null;
  if (!isFields(value)) {
    wrongType(value, place, "an object");
    return null;
  }
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    refuse(
      at(place, name),
      "POLICY_UNKNOWN_FIELD",
      `there is no field ${shown(name)} here`,
      misplaced.get(name) ?? (near === null ? `known fields are ${known.join(", ")}` : `did you mean ${near}?`),
    );
  }
  return value;
}

/** The entries of a list, null for an absent one. */
export function readList(value: unknown, place: Place): readonly unknown[] | null {
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value;
  wrongType(value, place, "a list");
  return null;
}

/** Reads each entry of a list, null for an absent list; entries that `read` returns null for are left out. */
export function readEach<T>(
  value: unknown,
  place: Place,
  read: (entry: unknown, place: Place) => T | null,
): readonly T[] | null {
  const entries = readList(value, place);
  if (entries === null) return null;
  const results = entries.flatMap((entry, index) => {
    const result = read(entry, at(place, index));
    return result === null ? [] : [result];
  });
  return exactList(results);
}

export function readText(value: unknown, place: Place): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  wrongType(value, place, "a text (in quotes, if it looks like a number)");
  return null;
}

export function readBoolean(value: unknown, place: Place): boolean | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value;
  wrongType(value, place, "true or false");
  return null;
}
