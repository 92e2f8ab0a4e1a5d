/** `tandem metrics`: the agent's figures, whether Prometheus is served or not. */
import type { Command } from "commander";
import type { HistogramSampleDto, MetricDto } from "../api/metrics-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { type CellInput, table } from "./table.ts";

const prefix = "tandem_";

export function registerMetrics(context: CliContext, program: Command): void {
  const command = agentCommand(
    program,
    "metrics [pattern]",
    "figures of this node's agent, as Prometheus gets them from metricsAddress; that need not be set",
  );
  command.addHelpText(
    "after",
    `
PATTERN is a part of the name. With * or ? in it, for any characters or one, it is the whole name, with or without tandem_ before it.
Of histograms it prints how many there were, their mean, and by what time half and 99 % of them were done. docs/metrics.md tells what each figure means.

Exit code: 0 there are such figures, 1 no figure has such a name, 2 no agent.

Examples:
  tandem metrics
  tandem metrics drop
  tandem metrics 'cni_*_seconds'
  tandem metrics map_entries --json | jq '.[].samples'
`,
  );
  command.action(async (pattern: string | undefined, options: CommonOptions) => {
    const all = await clientOf(context, command).get<readonly MetricDto[]>("/v1/metrics");
    const isMeant = nameFilter(pattern ?? "");
    const metrics = all.filter(({ name }) => isMeant(name));
    if (pattern !== undefined && metrics.length === 0) throw unknownMetric(pattern);
    if (options.json === true) printJson(context, metrics);
    else context.write(formatMetrics(metrics));
  });
}

function nameFilter(pattern: string): (name: string) => boolean {
  if (!/[*?]/.test(pattern)) return (name) => name.includes(pattern);
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  const whole = new RegExp(`^(${prefix})?${expression}$`);
  return (name) => whole.test(name) || whole.test(name.slice(prefix.length));
}

function formatMetrics(metrics: readonly MetricDto[]): string {
  const rows = metrics.flatMap((metric): readonly (readonly CellInput[])[] => {
    const { name, type } = metric;
    if (metric.samples.length === 0) return [[name, type, "", "none yet"]];
    return metric.type === "histogram"
      ? metric.samples.map((sample) => [name, type, labelText(sample.labels), histogramText(sample)])
      : metric.samples.map(({ labels, value }) => [name, type, labelText(labels), value]);
  });
  return table(["NAME", "TYPE", "LABELS", "VALUE"], rows);
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${/^[\w.:/-]+$/.test(value) ? value : JSON.stringify(value)}`)
    .join(" ");
}

function histogramText(sample: HistogramSampleDto): string {
  const { sum, count } = sample;
  if (count === 0) return "0";
  return `${count}   mean ${timeText(sum / count)}, half ${atMost(sample, 0.5)}, 99 % ${atMost(sample, 0.99)}`;
}

/** By which bucket's bound this share of all was done. */
function atMost({ buckets, count }: HistogramSampleDto, share: number): string {
  const bucket = buckets.find((each) => each.count >= share * count);
  return bucket === undefined ? `> ${timeText(buckets.at(-1)?.le ?? 0)}` : `<= ${timeText(bucket.le)}`;
}

function timeText(seconds: number): string {
  if (seconds < 1e-3) return `${three(seconds * 1e6)} us`;
  return seconds < 1 ? `${three(seconds * 1e3)} ms` : `${three(seconds)} s`;
}

const three = (value: number) => String(Number(value.toPrecision(3)));

function unknownMetric(pattern: string): CliError {
  return new CliError({
    code: "METRIC_UNKNOWN",
    message: `no figure has a name like ${pattern}`,
    remedy: "list all of them: tandem metrics",
    exitCode: 1,
  });
}
