import test from "ava";
import { Histogram, Histograms } from "../../../src/lib/histogram.ts";

test("each value is in the first bucket whose bound it does not exceed, and in all after it", (t) => {
  const histogram = new Histogram([1, 2, 5]);
  for (const value of [0, 1, 1.5, 5, 9]) histogram.observe(value);
  t.deepEqual(histogram.data, {
    buckets: [
      { le: 1, count: 2 },
      { le: 2, count: 3 },
      { le: 5, count: 4 },
    ],
    sum: 16.5,
    count: 5,
  });
});

test("what was read does not change with later values", (t) => {
  const histogram = new Histogram([1]);
  const before = histogram.data;
  histogram.observe(1);
  t.is(before.buckets[0]?.count, 0);
  t.is(histogram.data.count, 1);
});

test("keys have histograms of their own", (t) => {
  const histograms = new Histograms<"add" | "del">([1]);
  histograms.observe("add", 0.5);
  histograms.observe("del", 2);
  histograms.observe("add", 3);
  t.deepEqual(
    histograms.data.map(([key, { count, sum }]) => [key, count, sum]),
    [
      ["add", 2, 3.5],
      ["del", 1, 2],
    ],
  );
});
