import test from "ava";
import { exposition, type Family, formatFor } from "../../../../src/observe/metrics/exposition.ts";

const drops: Family = {
  name: "tandem_drops_total",
  type: "counter",
  help: 'back\\slash, "quote"\nline',
  samples: [
    { labels: { reason: 'a"b\\c\nd', direction: "ingress" }, value: 3 },
    { labels: {}, value: Number.POSITIVE_INFINITY },
  ],
};

test("text format: labels and help are escaped, a counter keeps its name", (t) => {
  t.is(
    exposition([drops], "text"),
    [
      '# HELP tandem_drops_total back\\\\slash, "quote"\\nline',
      "# TYPE tandem_drops_total counter",
      'tandem_drops_total{reason="a\\"b\\\\c\\nd",direction="ingress"} 3',
      "tandem_drops_total +Inf",
      "",
    ].join("\n"),
  );
});

test("OpenMetrics: a counter's family has no suffix, quotes of help are escaped, an end is told", (t) => {
  const lines = exposition([drops], "openmetrics").split("\n");
  t.is(lines[0], '# HELP tandem_drops back\\\\slash, \\"quote\\"\\nline');
  t.is(lines[1], "# TYPE tandem_drops counter");
  t.true(lines[2]?.startsWith("tandem_drops_total{"));
  t.deepEqual(lines.slice(-2), ["# EOF", ""]);
});

test("a histogram has its buckets, with all below in each, a sum and a count; OpenMetrics has floats as bounds", (t) => {
  const times: Family = {
    name: "tandem_times_seconds",
    type: "histogram",
    help: "Times.",
    samples: [
      {
        labels: { command: "add" },
        buckets: [
          { le: 0.5, count: 1 },
          { le: 1, count: 3 },
        ],
        sum: 4.5,
        count: 4,
      },
    ],
  };
  const lines = exposition([times], "text").split("\n");
  t.deepEqual(lines, [
    "# HELP tandem_times_seconds Times.",
    "# TYPE tandem_times_seconds histogram",
    'tandem_times_seconds_bucket{command="add",le="0.5"} 1',
    'tandem_times_seconds_bucket{command="add",le="1"} 3',
    'tandem_times_seconds_bucket{command="add",le="+Inf"} 4',
    'tandem_times_seconds_sum{command="add"} 4.5',
    'tandem_times_seconds_count{command="add"} 4',
    "",
  ]);
  t.true(exposition([times], "openmetrics").includes('_bucket{command="add",le="1.0"} 3\n'));
});

test("a family without samples is left out", (t) => {
  t.is(exposition([{ ...drops, samples: [] }], "openmetrics"), "# EOF\n");
});

test("OpenMetrics is for who asks for it", (t) => {
  t.is(formatFor(undefined), "text");
  t.is(formatFor("*/*"), "text");
  t.is(formatFor("text/plain;version=0.0.4;q=0.5,application/openmetrics-text; version=1.0.0;q=0.7"), "openmetrics");
  t.is(formatFor("application/openmetrics-text;q=0, text/plain"), "text");
});
