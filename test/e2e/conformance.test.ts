import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { formatReport, formatTotals, totalsOf } from "../../src/lab/conformance/report.ts";
import { type CaseResult, type ConformanceOptions, runConformance } from "../../src/lab/conformance/run.ts";
import { Lab } from "../../src/lab/lab.ts";
import { remains } from "../../src/lab/teardown.ts";
import { labName } from "../support/lab.ts";
import { withKubeRouter } from "../support/lab-kube-router.ts";

const cases = join(import.meta.dirname, "../conformance/cases");

async function run(
  t: ExecutionContext,
  folders: readonly string[],
  options: Partial<ConformanceOptions> = {},
): Promise<readonly CaseResult[]> {
  t.timeout(1_800_000);
  const name = labName();
  t.teardown(() => Lab.down(name));
  const standIn = "labs of cases have given addresses, and no API server among them";
  withKubeRouter({ name, standIn }, (why) => t.log(why));
  const results = await runConformance({ folders, name, ...options });
  t.deepEqual(await remains(name), []);
  return results;
}

async function suite(...names: readonly RegExp[]): Promise<readonly string[]> {
  const all = (await readdir(cases)).sort();
  return all.filter((name) => names.length === 0 || names.some((each) => each.test(name))).map((n) => join(cases, n));
}

test.serial("every case of the truth tables, as connections through the kernel", async (t) => {
  const folders = await suite();
  const results = await run(t, folders);
  t.log(formatTotals(totalsOf(results)));
  t.is(results.length, folders.length);
  const { passed, failed } = totalsOf(results);
  t.is(failed, 0, formatReport(results));
  t.true(passed > 5700, `${passed} passed`);
  t.is(passed, results.flatMap(({ probes }) => probes).length);
});

test.serial("with clsact, without the socket hook and over both address families the same holds", async (t) => {
  const folders = await suite(/^(14|27|39|50|51|52|53|67|68|70|72|74|77|80|82|85|86|87|88|89|92|93)-/);
  const results = await run(t, folders, { dual: true, agent: { tcMode: "clsact", cgroup: null } });
  t.true(results.length >= 14);
  const overIpv6 = results.flatMap(({ probes }) => probes.filter(({ probe }) => probe.family === 6));
  t.true(overIpv6.length > 400, `${overIpv6.length} probes over IPv6`);
  t.is(totalsOf(results).failed, 0, formatReport(results));
});

test.serial("a run tells every connection that is not as the table says", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-cases-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const open = join(folder, "1-open");
  const shut = join(folder, "2-shut");
  const [honest = ""] = await suite(/^39-/);
  for (const copy of [open, shut]) await cp(honest, copy, { recursive: true });
  await writeFile(join(open, "policies.yaml"), "");
  const closing = ["x", "y", "z"].map((namespace) => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "shut", namespace },
    spec: { podSelector: {}, policyTypes: ["Ingress"] },
  }));
  await writeFile(join(shut, "policies.yaml"), closing.map((object) => JSON.stringify(object)).join("\n---\n"));
  const asking = await suite(/^(83|88|89)-/);
  const unasked = asking.map((_, i) => join(folder, `${i + 3}-unasked`));
  for (const [i, copy] of unasked.entries()) {
    await cp(asking[i] ?? "", copy, { recursive: true });
    await writeFile(join(copy, "policies.yaml"), "");
  }
  const results = await run(t, [honest, open, shut, ...unasked], { patience: { allowMs: 5_000 } });
  const named = (name: string) => results.find((result) => result.name === name);
  const [same, opened, closed] = [basename(honest), "1-open", "2-shut"].map(named);
  if (same === undefined || opened === undefined || closed === undefined) throw new Error("a case is missing");
  t.is(totalsOf([same]).failed, 0, formatReport([same]));
  for (const [result, wrong] of [
    [opened, "deny"],
    [closed, "allow"],
  ] as const) {
    for (const { probe, status, seen } of result.probes) {
      t.is(status, probe.expect === wrong ? "failed" : "passed", `${probe.from} to ${probe.to}: ${seen}`);
      if (status === "failed") t.regex(seen, wrong === "deny" ? /^answered by / : /^no answer$/);
    }
    t.true(totalsOf([result]).failed >= 16);
  }
  const answered = results.filter(({ name }) => name.endsWith("-unasked"));
  t.is(answered.length, 3);
  for (const { name, probes } of answered) {
    for (const { probe, status, seen } of probes) {
      t.is(status, probe.expect === "allow" ? "passed" : "failed", `${name} #${probe.number}: ${seen}`);
      if (status === "failed") t.regex(seen, /^answered/);
    }
    t.true(
      probes.some(({ status }) => status === "failed"),
      name,
    );
  }
});
