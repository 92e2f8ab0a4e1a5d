/** Problems for people: what, where, and what to do about it. */
import type { Problem } from "../model/status.ts";
import { type CliContext, painter } from "./context.ts";

export function problemLines(context: CliContext, problems: readonly Problem[]): string {
  return problems
    .map((problem) => {
      const paint = painter(context, problem.severity === "error" ? "red" : "yellow");
      const where = problem.field === "" ? problem.object : `${problem.object}, ${problem.field}`;
      const remedy = problem.remedy === "" ? "" : `    ${problem.remedy}\n`;
      return `  ${paint(problem.severity)} ${problem.code}: ${where}: ${problem.message}\n${remedy}`;
    })
    .join("");
}
