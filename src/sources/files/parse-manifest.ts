/** The text of a manifest file as objects: YAML documents or JSON, Lists flattened. Pure. */
import { isAlias, isMap, isSeq, LineCounter, type Node, parseAllDocuments } from "yaml";
import { messageOf } from "../../lib/errors.ts";
import type { Problem } from "../../model/status.ts";
import { type ManifestObject, placeText } from "./read-objects.ts";
import { isFields } from "./read-values.ts";

export interface Parsing {
  readonly objects: readonly ManifestObject[];
  /** Not null: nothing of the file can be used. */
  readonly failure: Problem | null;
}

/** @param file how messages call it; what ends in .json is JSON and nothing else */
export function parseManifest(text: string, file: string): Parsing {
  // The YAML parser reads JSON too, a hundred times slower.
  if (file.endsWith(".json") || /^\s*\{/.test(text)) {
    const parsing = parseJson(text, file);
    if (parsing.failure === null || file.endsWith(".json")) return parsing;
  }
  return parseYaml(text, file);
}

function parseJson(text: string, file: string): Parsing {
  try {
    return { objects: flatten(JSON.parse(text), file, 1), failure: null };
  } catch (error) {
    const message = messageOf(error);
    const position = /position (\d+)/.exec(message)?.[1];
    const line = text.slice(0, position === undefined ? text.length : Number(position)).split("\n").length;
    return broken(file, line, message, "JSON");
  }
}

function parseYaml(text: string, file: string): Parsing {
  const lineCounter = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter });
  if ("empty" in documents) return { objects: [], failure: null };
  const objects: ManifestObject[] = [];
  for (const document of documents) {
    const [error] = document.errors;
    if (error !== undefined) {
      // The first line says what; the rest repeats the text with a marker below.
      const [message = ""] = error.message.split("\n");
      return broken(file, error.linePos?.[0].line ?? 1, message.replace(/ at line \d+, column \d+:?$/, ""), "YAML");
    }
    const { contents } = document;
    const lineOf = (node: unknown) => lineCounter.linePos((node as Node | null)?.range?.[0] ?? 0).line;
    try {
      const value: unknown = document.toJS();
      objects.push(...flatten(value, file, lineOf(contents), itemLines(contents, lineOf)));
    } catch (error) {
      // Aliases that lead nowhere, or to too much.
      return broken(file, lineOf(contents), messageOf(error), "YAML");
    }
  }
  return { objects, failure: null };
}

/** Lines of the entries of `items`, if this is a List. */
function itemLines(contents: unknown, lineOf: (node: unknown) => number): readonly number[] {
  const items = isMap(contents) ? contents.get("items", true) : null;
  return isSeq(items) && !isAlias(items) ? items.items.map(lineOf) : [];
}

/** Documents without content are none. */
function flatten(value: unknown, file: string, line: number, lines: readonly number[] = []): readonly ManifestObject[] {
  if (value === null || value === undefined) return [];
  if (isFields(value) && typeof value.kind === "string" && value.kind.endsWith("List") && Array.isArray(value.items)) {
    return value.items.flatMap((item: unknown, i) => flatten(item, file, lines[i] ?? 0));
  }
  return [{ value, file, line }];
}

function broken(file: string, line: number, message: string, language: string): Parsing {
  const failure: Problem = {
    code: "MANIFEST_SYNTAX",
    severity: "error",
    object: file,
    field: `line ${line}`,
    message: `${placeText(file, line)} is not ${language}: ${message}`,
    remedy: `correct the ${language}`,
  };
  return { objects: [], failure };
}
