/**
 * The conformance cases, offline: every probe of a case through the compiled sets of both ends, by the code of `tandem policy test`.
 * One test a case. What needs a later step is pending with its reason, in these cases and in no other.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { OfflineCluster } from "../../src/compute/offline/cluster.ts";
import { probeText, readProbes } from "../../src/compute/offline/probes.ts";
import { runProbes, totalsOf } from "../../src/compute/offline/run-probes.ts";
import { readManifests } from "../support/manifest-tables.ts";

const folder = join(import.meta.dirname, "cases");

/** Number of the case -> why some of its probes cannot be judged yet. */
const pending: ReadonlyMap<string, RegExp> = new Map();

const cases = readdirSync(folder).sort();

test("there are cases", (t) => {
  t.true(cases.length >= 91, `${cases.length} cases`);
  for (const number of pending.keys())
    t.true(
      cases.some((name) => name.startsWith(`${number}-`)),
      number,
    );
  t.log(`${cases.length} cases, ${pending.size} of them with pending probes`);
});

for (const name of cases) {
  const read = (file: string): string => readFileSync(join(folder, name, file), "utf8");
  const { description, probes, problems } = readProbes(parse(read("probes.yaml")), "probes.yaml");
  const reason = pending.get(name.slice(0, name.indexOf("-")));
  test(`${name}: ${description}${reason === undefined ? "" : " (in part pending)"}`, (t) => {
    t.deepEqual(problems, []);
    t.true(probes.length > 0);
    const cluster = new OfflineCluster(readManifests(read("cluster.yaml"), read("policies.yaml")).snapshot());
    const refused = cluster.result.policies.filter(({ valid }) => !valid);
    if (reason === undefined) t.deepEqual(refused, [], "all policies are valid");
    const results = runProbes(cluster, probes);
    for (const result of results.filter(({ status }) => status === "failed")) {
      t.fail(
        `probe ${result.probe.number}: ${probeText(result.probe)}: expected ${result.probe.expect}, seen ${result.seen ?? result.reason}`,
      );
    }
    const waiting = results.filter(({ status }) => status === "pending");
    t.is(waiting.length > 0, reason !== undefined, "pending is what was known to be");
    for (const result of waiting) t.regex(result.reason ?? "", reason ?? /^$/);
    const { passed } = totalsOf(results);
    t.true(passed > 0 || waiting.length === results.length);
    if (waiting.length > 0)
      t.log(
        `${passed} passed, ${waiting.length} pending: ${[...new Set(waiting.map((each) => each.reason))].join("; ")}`,
      );
  });
}
