/** `tandem policy test`: probes against the compiled policies, each with who decides about it. */
import { parse } from "yaml";
import { explainConnection } from "../../compute/offline/explanation.ts";
import { probeText, type ProbesReading, readProbes } from "../../compute/offline/probes.ts";
import { type ProbeResult, runProbes, totalsOf } from "../../compute/offline/run-probes.ts";
import { messageOf } from "../../lib/errors.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { problemLines } from "../problems.ts";
import { type CellInput, table } from "../table.ts";
import { findingLines, noteAssumed } from "./findings.ts";
import { type Finding, type ManifestOptions, type Manifests, readManifests, readText } from "./manifests.ts";

export interface TestOptions extends ManifestOptions {
  readonly filename: readonly string[];
  readonly probes: readonly string[];
  readonly json: boolean;
  readonly quiet: boolean;
}

interface FileResults {
  readonly file: string;
  readonly description: string;
  readonly results: readonly ProbeResult[];
}

/** Exit code 1 at a mismatch, at a policy that is not in force, and at probes that cannot be read. */
export function testPolicies(context: CliContext, options: TestOptions): void {
  const manifests = readManifests(options.filename, options);
  const readings = options.probes.map((file) => ({ file, ...readProbesFile(file) }));
  const mistakes = readings.flatMap(({ problems }) => problems);
  const errors = errorsThatMatter(manifests);
  // With probes that are not what was meant there is nothing to judge.
  const files = readings.map(({ file, description, probes }): FileResults => {
    return { file, description, results: mistakes.length > 0 ? [] : runProbes(manifests.cluster, probes) };
  });
  const totals = totalsOf(files.flatMap(({ results }) => results));
  const ok = totals.failed === 0 && errors.length === 0 && mistakes.length === 0;
  if (!ok) context.setExitCode(1);
  if (options.json) {
    const problems = [...errors, ...mistakes];
    const shown = files.map(({ file, description, results }) => {
      return { file, description, probes: results.map(probeJson) };
    });
    printJson(context, { ok, ...totals, problems, assumed: manifests.assumed, files: shown });
  } else if (mistakes.length > 0) context.write(problemLines(context, mistakes));
  else {
    noteAssumed(context, manifests.assumed);
    printResults(context, files, options.quiet);
    if (errors.length > 0) {
      context.write(`Not in force, so nothing above counts for them:\n${findingLines(context, errors)}\n`);
    }
    const { passed, failed, pending } = totals;
    context.write(
      `${painter(context, ok ? "green" : "red")(`${passed} passed, ${failed} failed, ${pending} pending`)}\n`,
    );
  }
}

function printResults(context: CliContext, files: readonly FileResults[], quiet: boolean): void {
  for (const { file, description, results } of files) {
    const shown = quiet ? results.filter(({ status }) => status === "failed") : results;
    if (shown.length === 0) continue;
    context.write(`${file}${description === "" ? "" : `: ${description}`}\n`);
    context.write(`${probeTable(context, shown)}\n`);
  }
}

function errorsThatMatter({ findings }: Manifests): readonly Finding[] {
  return findings.filter(({ severity }) => severity === "error");
}

function readProbesFile(file: string): ProbesReading {
  let value: unknown;
  try {
    value = parse(readText(file));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError({
      code: "PROBES_SYNTAX",
      message: `${file} is not YAML: ${messageOf(cause)}`,
      remedy: "correct the file",
      exitCode: 1,
      cause,
    });
  }
  return readProbes(value, file);
}

function probeTable(context: CliContext, results: readonly ProbeResult[]): string {
  const paints = {
    passed: painter(context, "green"),
    failed: painter(context, "red"),
    pending: painter(context, "yellow"),
  };
  const rows = results.map((result): readonly CellInput[] => {
    const { probe, status, seen, connection, cluster, reason } = result;
    const why = connection === null ? [] : explainConnection(cluster, connection);
    return [
      probe.number,
      probeText(probe),
      probe.expect,
      seen === null ? "-" : seenText(seen),
      { text: status === "passed" ? "ok" : status === "failed" ? "MISMATCH" : "pending", paint: paints[status] },
      [...(reason === null ? [] : [`${reason}${why.length > 0 ? ";" : ""}`]), ...why].join("\n"),
    ];
  });
  return table(["#", "PROBE", "EXPECTED", "SEEN", "RESULT", "DECIDED BY"], rows);
}

function seenText(seen: NonNullable<ProbeResult["seen"]>): string {
  return seen === "redirect" ? "L7 decides" : seen;
}

function probeJson({ probe, status, seen, connection, cluster, reason }: ProbeResult): object {
  const { resolved: _, ...written } = probe;
  const decidedBy = connection === null ? [] : explainConnection(cluster, connection);
  return { ...written, seen: seen === "redirect" ? "l7" : seen, status, reason, decidedBy };
}
