/** Problems for people: what, where, and what to do about it. */
import type { Problem, ToldProblem } from "../model/status.ts";
import { type CliContext, painter } from "./context.ts";

export function problemLines(context: CliContext, problems: readonly (Problem | ToldProblem)[]): string {
  return problems
    .map((problem) => {
      const paint = painter(context, problem.severity === "error" ? "red" : "yellow");
      const where = problem.field === "" ? problem.object : `${problem.object}, ${problem.field}`;
      const remedy = problem.remedy === "" ? "" : `    ${problem.remedy}\n`;
      return `  ${paint(problem.severity)} ${problem.code}: ${where}: ${problem.message}${sinceText(problem)}\n${remedy}`;
    })
    .join("");
}

/** Some say in their own words since when it is so. */
function sinceText(problem: Problem | ToldProblem): string {
  if (!("since" in problem) || / since \d/.test(problem.message)) return "";
  return ` (since ${problem.since.replace(/\.\d+Z$/, "Z")})`;
}
