/** GET /v1/metrics: what the agent says of itself in numbers (`tandem metrics --json`), the same that Prometheus is served (docs/metrics.md). */
import type { HistogramData } from "../lib/histogram.ts";

export interface SampleDto {
  readonly labels: Readonly<Record<string, string>>;
  /** In base units: seconds, bytes, or a number of things. */
  readonly value: number;
}

export interface HistogramSampleDto extends HistogramData {
  readonly labels: Readonly<Record<string, string>>;
}

/** All series of one name; none: there is no figure yet. */
export type MetricDto = { readonly name: string; readonly help: string } & (
  | {
      /** Of a counter the name ends in _total. */
      readonly type: "counter" | "gauge";
      readonly samples: readonly SampleDto[];
    }
  | { readonly type: "histogram"; readonly samples: readonly HistogramSampleDto[] }
);
