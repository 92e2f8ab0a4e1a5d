/** What a conformance run says: what differed, and the totals. */
import { probeTitle } from "./case.ts";
import type { CaseResult } from "./run.ts";

export interface Totals {
  readonly passed: number;
  readonly failed: number;
}

export function totalsOf(results: readonly CaseResult[]): Totals {
  const probes = results.flatMap((result) => result.probes);
  const count = (status: string) => probes.filter((probe) => probe.status === status).length;
  return { passed: count("passed"), failed: count("failed") };
}

/** "72 passed, 0 failed". */
export function formatTotals({ passed, failed }: Totals): string {
  return `${passed} passed, ${failed} failed`;
}

/** The whole report for people, its last line being the totals. */
export function formatReport(results: readonly CaseResult[]): string {
  const mismatches = results.flatMap(({ name, probes }) =>
    probes
      .filter(({ status }) => status === "failed")
      .map(({ probe, seen }) => [`${name} #${probe.number}`, probeTitle(probe), probe.expect, seen]),
  );
  const errors = results.filter(({ error }) => error !== null);
  return [
    ...section(
      "cases that could not be run",
      errors.map(({ name, error }) => [name, error ?? ""]),
    ),
    ...section("mismatches", mismatches.length === 0 ? [] : [["CASE", "PROBE", "EXPECTED", "SEEN"], ...mismatches]),
    `${results.length} cases: ${formatTotals(totalsOf(results))}`,
  ].join("\n");
}

/** The run as data: what `--json` prints. */
export function reportJson(results: readonly CaseResult[]): object {
  return {
    ...totalsOf(results),
    cases: results.map(({ name, description, ms, error, probes }) => ({
      name,
      description,
      ms,
      error,
      probes: probes.map(({ probe, status, seen, ms: answerMs }) => ({
        ...probe,
        status,
        seen,
        answerMs,
      })),
    })),
  };
}

function section(title: string, rows: readonly (readonly string[])[]): readonly string[] {
  if (rows.length === 0) return [];
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  return [
    title,
    ...rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`.trimEnd()),
    "",
  ];
}
