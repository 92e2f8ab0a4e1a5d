import test from "ava";
import type { Logger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { Conditions } from "../../../src/observe/conditions.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function recorder() {
  const lines: string[] = [];
  const log: Logger = {
    debug: () => undefined,
    info: (_fields, message) => lines.push(message),
    warn: (_fields, message) => lines.push(`warn ${message}`),
    error: (_fields, message) => lines.push(`error ${message}`),
    child: () => log,
  };
  return { lines, log };
}

const problem = (object: string, severity: Problem["severity"] = "error"): Problem => ({
  code: "BROKEN",
  severity,
  object,
  field: "",
  message: `${object} is broken`,
  remedy: "mend it",
});

test("a topic's report replaces what it said before; each problem is logged when it comes and when it goes", (t) => {
  const { lines, log } = recorder();
  const conditions = new Conditions(log, new ManualClock());
  conditions.report("files", [problem("a", "warning"), problem("b")]);
  conditions.report("files", [problem("b")]);
  conditions.report("routes", [problem("c")]);
  t.deepEqual(
    conditions.problems().map(({ object }) => object),
    ["b", "c"],
  );
  conditions.report("files", []);
  conditions.report("files", []);
  t.deepEqual(
    conditions.problems().map(({ object }) => object),
    ["c"],
  );
  t.deepEqual(lines, ["error b is broken", "warn a is broken", "mended", "error c is broken", "mended"]);
});

test("a mistake in thousands of objects fills neither the log nor hides the errors", (t) => {
  const { lines, log } = recorder();
  const conditions = new Conditions(log, new ManualClock());
  const many = Array.from({ length: 5_000 }, (_, i) => problem(`pod ${i}`, "warning"));
  conditions.report("compute", [...many, problem("policy")]);
  t.is(conditions.problems().length, 5_001);
  t.is(conditions.problems()[0]?.object, "policy");
  t.is(lines.length, 21);
  t.is(lines[0], "error policy is broken");
  t.is(lines.at(-1), "warn and more problems");
});

test("a problem is told with the moment at which it was told first, also when its words change, and anew when it comes back", async (t) => {
  const { log } = recorder();
  const clock = new ManualClock();
  const conditions = new Conditions(log, clock);
  const since = () => conditions.problems().map((each) => Date.parse(each.since) - clock.now());
  conditions.report("bgp", [problem("a")]);
  t.deepEqual(since(), [0]);
  await clock.advance(3_000);
  conditions.report("bgp", [{ ...problem("a"), message: "a is broken twice" }, problem("b")]);
  t.deepEqual(since(), [-3_000, 0]);
  conditions.report("bgp", [problem("b")]);
  await clock.advance(1_000);
  conditions.report("bgp", [problem("a"), problem("b")]);
  t.deepEqual(since(), [0, -1_000]);
});
