/** What a conformance run says: what differed, what has to wait and why, and the totals. */
import { probeTitle } from "./case.ts";
import { groupBy } from "./groups.ts";
import type { CaseResult } from "./run.ts";

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly pending: number;
}

export function totalsOf(results: readonly CaseResult[]): Totals {
  const probes = results.flatMap((result) => result.probes);
  const count = (status: string) => probes.filter((probe) => probe.status === status).length;
  return { passed: count("passed"), failed: count("failed"), pending: count("pending") };
}

/** "72 passed, 0 failed, 2 pending". */
export function formatTotals({ passed, failed, pending }: Totals): string {
  return `${passed} passed, ${failed} failed, ${pending} pending`;
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
    ...section("pending", pendingRows(results)),
    `${results.length} cases: ${formatTotals(totalsOf(results))}`,
  ].join("\n");
}

function pendingRows(results: readonly CaseResult[]): readonly (readonly string[])[] {
  return results.flatMap(({ name, probes }) => {
    const waiting = probes.filter(({ status }) => status === "pending");
    return [...groupBy(waiting, ({ seen }) => seen)].map(([reason, { length }]) => [
      name,
      `${length} of ${probes.length}`,
      reason,
    ]);
  });
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
