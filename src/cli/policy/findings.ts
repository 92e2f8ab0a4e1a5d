/** Problems of manifests for people: where, what, and what to do. */
import { type CliContext, painter } from "../context.ts";
import type { Finding } from "./manifests.ts";

export function findingLines(context: CliContext, findings: readonly Finding[]): string {
  return findings.map((finding) => findingText(context, finding)).join("");
}

function findingText(
  context: CliContext,
  { code, severity, object, field, file, line, message, remedy }: Finding,
): string {
  const paint = painter(context, severity === "error" ? "red" : "yellow");
  const place = file === "" ? "" : `${file}${line === 0 ? "" : `:${line}`}: `;
  // Where the file itself is what is wrong, its name was said.
  const about = [object === file ? "" : object, field.startsWith("line ") ? "" : field]
    .filter((part) => part !== "")
    .join(", ");
  const what = about === "" ? message : `${about}: ${message}`;
  return `${place}${paint(severity)} ${code}\n  ${what}\n${remedy === "" ? "" : `  remedy: ${remedy}\n`}`;
}

/** "2 errors, 1 warning" */
export function countText(findings: readonly Finding[]): string {
  const errors = findings.filter(({ severity }) => severity === "error").length;
  return `${counted(errors, "error")}, ${counted(findings.length - errors, "warning")}`;
}

export function counted(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}

/** What was made up is no part of the answer, but whoever reads it should know. */
export function noteAssumed(context: CliContext, assumed: readonly string[]): void {
  if (assumed.length > 0) context.note(`made up, as the manifests do not have it: ${assumed.join(", ")}\n`);
}

/** What is not in force is told beside an answer that cannot know of it. */
export function warnOfErrors(context: CliContext, findings: readonly Finding[]): void {
  const errors = findings.filter(({ severity }) => severity === "error");
  if (errors.length === 0) return;
  context.note(`not in force, so it does not count here:\n${findingLines(context, errors)}\n`);
}
