import test from "ava";
import { formatReport, totalsOf } from "../../../../src/lab/conformance/report.ts";
import type { CaseResult } from "../../../../src/lab/conformance/run.ts";
import { probe } from "./support.ts";

test("the report lists every mismatch with what was expected and seen, and ends in the totals", (t) => {
  const one = (status: "passed" | "failed", seen: string) => ({
    probe: probe("shop/front", "shop/cart"),
    status,
    seen,
    ms: null,
  });
  const results: readonly CaseResult[] = [
    {
      name: "01-a",
      description: "",
      ms: 1,
      error: null,
      probes: [one("passed", "answered"), one("failed", "no answer")],
    },
    { name: "02-b", description: "", ms: 1, error: "LAB_CNI: no", probes: [one("failed", "not tried")] },
  ];
  t.deepEqual(totalsOf(results), { passed: 1, failed: 2 });
  const lines = formatReport(results).split("\n");
  t.is(lines.at(-1), "2 cases: 1 passed, 2 failed");
  t.true(lines.some((line) => /01-a #1 +shop\/front to shop\/cart TCP 80 +allow +no answer/.test(line)));
  t.true(lines.some((line) => /02-b +LAB_CNI: no/.test(line)));
});
