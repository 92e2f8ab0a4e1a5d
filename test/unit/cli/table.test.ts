import test from "ava";
import { table } from "../../../src/cli/table.ts";

test("columns are as wide as their widest line, cells may have several lines, colour moves nothing", (t) => {
  const text = table(
    ["ID", "LABELS", "STATE"],
    [
      [1, "a=b\nlonger=label", { text: "ready", paint: (s) => `<${s}>` }],
      [20, "", "closed"],
    ],
  );
  t.is(
    text,
    [
      "ID   LABELS         STATE",
      "1    a=b            <ready>",
      "     longer=label",
      "20                  closed",
      "",
    ].join("\n"),
  );
});

test("a list without rows has its headings", (t) => t.is(table(["A", "B"], []), "A   B\n"));

test("a list may have very many rows", (t) => {
  const text = table(
    ["A", "B"],
    Array.from({ length: 300_000 }, (_, i) => [i, "b"]),
  );
  t.is(text.split("\n").at(-2), "299999   b");
});
