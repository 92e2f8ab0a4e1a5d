/** What rules write about names of DNS, as an expression of RE2 for whole names in lower case with their last dot. */
import type { NamePattern } from "../../model/dns-names.ts";

const labelLetters = "[-a-zA-Z0-9_]";

/** As `meansName` judges (dns-names.ts). */
export function nameExpression({ kind, text }: NamePattern): string {
  if (kind === "name") return text === "." ? quoted(".") : quoted(`${text}.`);
  if (text === "*") return `(?:(?:${labelLetters}+[.])+|[.])`;
  return starred(text.endsWith(".") ? text : `${text}.`);
}

/** A star is letters of one label, or none. */
export function starred(text: string): string {
  return text.split("*").map(quoted).join(`${labelLetters}*`);
}

export function quoted(text: string): string {
  return text.replaceAll(/[.\\+*?()|[\]{}^$]/g, (letter) => `\\${letter}`);
}
