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

test("a family without samples is left out", (t) => {
  t.is(exposition([{ ...drops, samples: [] }], "openmetrics"), "# EOF\n");
});

test("OpenMetrics is for who asks for it", (t) => {
  t.is(formatFor(undefined), "text");
  t.is(formatFor("*/*"), "text");
  t.is(formatFor("text/plain;version=0.0.4;q=0.5,application/openmetrics-text; version=1.0.0;q=0.7"), "openmetrics");
  t.is(formatFor("application/openmetrics-text;q=0, text/plain"), "text");
});
