/** The part of JSONPath that printer columns use: fields, quoted fields, an index, all items, and items of which a field has a value. */
import { isList, isObject, type Json, own } from "./json.ts";

type Step =
  | { readonly kind: "field"; readonly name: string }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "all" }
  | { readonly kind: "where"; readonly path: readonly string[]; readonly value: string };

const token =
  /\.((?:[^.[\]\\]|\\.)+)|\[(\d+)\]|\[(\*)\]|\[['"]([^'"]+)['"]\]|\[\?\(@\.([A-Za-z0-9_.-]+)\s*==\s*['"]([^'"]*)['"]\)\]/y;

/** Every value at the path, in order. @throws RangeError for a path in a form that is not known here */
export function valuesAt(value: Json, path: string): readonly Json[] {
  let found: readonly Json[] = [value];
  for (const step of steps(path)) found = found.flatMap((each) => walk(each, step));
  return found;
}

function steps(path: string): readonly Step[] {
  const text = path.replace(/^\{(.*)\}$/, "$1").replace(/^\$/, "");
  const parsed: Step[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < text.length) {
    const match = token.exec(text);
    if (match === null) throw new RangeError(`the path ${path} has a form that is not known here`);
    const [, field, index, all, quoted, where, wanted] = match;
    const name = quoted ?? field?.replace(/\\(.)/g, "$1");
    if (name !== undefined) parsed.push({ kind: "field", name });
    else if (index !== undefined) parsed.push({ kind: "index", index: Number(index) });
    else if (all !== undefined) parsed.push({ kind: "all" });
    else parsed.push({ kind: "where", path: (where ?? "").split("."), value: wanted ?? "" });
  }
  return parsed;
}

function walk(value: Json, step: Step): readonly Json[] {
  switch (step.kind) {
    case "field":
      return present(isObject(value) ? own(value, step.name) : undefined);
    case "index":
      return present(isList(value) ? value[step.index] : undefined);
    case "all":
      return isList(value) ? value : isObject(value) ? Object.values(value) : [];
    case "where":
      return (isList(value) ? value : []).filter((item) => {
        let part: Json | undefined = item;
        for (const field of step.path) part = isObject(part) ? own(part, field) : undefined;
        return part !== undefined && String(part) === step.value;
      });
  }
}

function present(value: Json | undefined): readonly Json[] {
  return value === undefined ? [] : [value];
}
