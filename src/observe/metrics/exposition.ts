/**
 * Metrics as Prometheus reads them: text format 0.0.4, and OpenMetrics 1.0 for who asks for it
 * (prometheus.io/docs/instrumenting/exposition_formats).
 */
import type { HistogramSampleDto, MetricDto, SampleDto } from "../../api/metrics-dto.ts";

export type Family = MetricDto;
export type Sample = SampleDto;

export type Format = "text" | "openmetrics";

export const contentTypes: Readonly<Record<Format, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** @param accept header of the request; who does not name OpenMetrics, or refuses it by q=0, gets text. */
export function formatFor(accept: string | undefined): Format {
  const asked = (accept ?? "").split(",").map((each) => each.trim().toLowerCase());
  const isAsked = asked.some(
    (each) => each.startsWith("application/openmetrics-text") && !/;\s*q=0(\.0*)?\s*(;|$)/.test(each),
  );
  return isAsked ? "openmetrics" : "text";
}

/** A family without samples is left out. */
export function exposition(families: readonly Family[], format: Format): string {
  const lines = families.flatMap((family) => (family.samples.length === 0 ? [] : linesOf(family, format)));
  if (format === "openmetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

function linesOf(metric: Family, format: Format): string[] {
  const { name, type, help } = metric;
  // OpenMetrics names a counter's family without the suffix of its samples.
  const family = format === "openmetrics" && type === "counter" ? name.replace(/_total$/, "") : name;
  const text = format === "openmetrics" ? escapeLabel(help) : escapeHelp(help);
  return [
    `# HELP ${family} ${text}`,
    `# TYPE ${family} ${type}`,
    ...(metric.type === "histogram"
      ? metric.samples.flatMap((sample) => histogramLines(name, sample, format))
      : metric.samples.map(({ labels, value }) => line(name, labels, value))),
  ];
}

function histogramLines(name: string, sample: HistogramSampleDto, format: Format): readonly string[] {
  const { labels, buckets, sum, count } = sample;
  const all = [...buckets, { le: Number.POSITIVE_INFINITY, count }];
  // OpenMetrics wants bounds as floats: 1.0.
  const bound = (le: number) => (format === "openmetrics" && Number.isInteger(le) ? `${le}.0` : valueText(le));
  return [
    ...all.map((bucket) => line(`${name}_bucket`, { ...labels, le: bound(bucket.le) }, bucket.count)),
    line(`${name}_sum`, labels, sum),
    line(`${name}_count`, labels, count),
  ];
}

function line(name: string, labels: Sample["labels"], value: number): string {
  return `${name}${labelText(labels)} ${valueText(value)}`;
}

function labelText(labels: Sample["labels"]): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function valueText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
