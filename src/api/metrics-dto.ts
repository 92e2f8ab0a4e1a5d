/** GET /v1/metrics: what the agent says of itself in numbers (`tandem metrics --json`), the same that Prometheus is served (docs/metrics.md). */

export interface SampleDto {
  readonly labels: Readonly<Record<string, string>>;
  /** In base units: seconds, bytes, or a number of things. */
  readonly value: number;
}

export interface HistogramSampleDto {
  readonly labels: Readonly<Record<string, string>>;
  /** How many were at most `le`, each with those of the buckets before it. What was more is in `count` only. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly sum: number;
  readonly count: number;
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
