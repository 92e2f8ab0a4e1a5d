import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { planProbe } from "../../../../src/lab/conformance/attempts.ts";
import { probeTitle, readCase } from "../../../../src/lab/conformance/case.ts";
import { planSites } from "../../../../src/lab/conformance/site.ts";
import { Who } from "../../../../src/lab/conformance/who.ts";

const cases = join(import.meta.dirname, "../../../conformance/cases");

async function folder(t: ExecutionContext, probes: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "tandem-case-"));
  t.teardown(() => rm(path, { recursive: true }));
  await writeFile(join(path, "cluster.yaml"), "{apiVersion: v1, kind: Node, metadata: {name: a}}");
  await writeFile(join(path, "policies.yaml"), "");
  await writeFile(join(path, "probes.yaml"), `description: d\ncovers: []\nprobes:\n${probes}`);
  return path;
}

test("defaults of a probe are filled in, and a table names it in words", async (t) => {
  const path = await folder(
    t,
    `
  - {from: a/b, to: c/d, protocol: UDP, port: 53, family: IPv6, expect: deny}
  - {from: a/b, to: 10.0.0.1, protocol: ICMP, icmp: {type: 8}, expect: allow}
  - {from: a/b, dns: {name: x.org, type: A, server: c/d}, expect: refused}
  - {from: a/b, to: svc/c/d, protocol: TCP, port: 80, http: {method: GET}, expect: forbidden}`,
  );
  const { probes, policies } = await readCase(path);
  t.deepEqual(policies, []);
  t.deepEqual(probes.map(probeTitle), [
    "a/b to c/d UDP 53 (IPv6)",
    "a/b to 10.0.0.1 ICMP type 8",
    "a/b to c/d UDP 53 (dns)",
    "a/b to svc/c/d TCP 80 (http)",
  ]);
  t.deepEqual(
    probes.map(({ number, expect }) => [number, expect]),
    [
      [1, "deny"],
      [2, "allow"],
      [3, "refused"],
      [4, "forbidden"],
    ],
  );
});

test("requests are read with their defaults, and names with what they gave", async (t) => {
  const path = await folder(
    t,
    `
  - {from: a/b, dns: {name: X.org., server: c/d}, expect: allow}
  - {from: a/b, to: c/d, port: 9092, kafka: {apiKey: Produce, topic: [t, u]}, expect: forbidden}
  - {from: a/b, to: 203.0.113.1, port: 80, resolved: [{name: x.org, addresses: [203.0.113.1]}], expect: allow}`,
  );
  const [dns, kafka, named] = (await readCase(path)).probes;
  t.like(dns, { to: "c/d", protocol: "UDP", port: 53, request: { kind: "dns", name: "X.org.", type: "A" } });
  t.deepEqual(kafka?.request, {
    kind: "kafka",
    apiKey: "Produce",
    apiVersion: 0,
    clientId: "",
    topics: ["t", "u"],
  });
  t.deepEqual(named?.resolved, [{ name: "x.org", addresses: ["203.0.113.1"] }]);
});

const broken: Readonly<Record<string, readonly [string, RegExp]>> = {
  "an unknown field": ["  - {from: a/b, to: c/d, protocol: TCP, port: 1, expect: deny, because: x}", /because/],
  "an unknown verdict": ["  - {from: a/b, to: c/d, protocol: TCP, port: 1, expect: maybe}", /probes\.0\.expect/],
  "no destination": ["  - {from: a/b, protocol: TCP, port: 1, expect: deny}", /either to or dns/],
  "a port and a type": [
    "  - {from: a/b, to: c/d, protocol: ICMP, port: 1, icmp: {type: 8}, expect: deny}",
    /port or icmp/,
  ],
  "no probe": ["  []", /probes/],
};
for (const [what, [probes, message]] of Object.entries(broken)) {
  test(`${what} in a case is refused with its place`, async (t) => {
    const error = await t.throwsAsync(readCase(await folder(t, probes)));
    t.like(error, { code: "LAB_CASE" });
    t.regex(error?.message ?? "", message);
  });
}

test("a folder without probes is no case", async (t) => {
  t.like(await t.throwsAsync(readCase(tmpdir())), { code: "LAB_CASE", object: tmpdir() });
});

test("every case of the suite can be read and sent, and all fit on two labs", async (t) => {
  const all = await Promise.all((await readdir(cases)).sort().map((name) => readCase(join(cases, name))));
  t.true(all.length >= 91);
  for (const one of all) {
    const who = new Who(one);
    for (const probe of one.probes) t.not(planProbe(probe, who).kind, "broken", `${one.name} #${probe.number}`);
  }
  const sites = planSites(all);
  t.true(sites.length <= 2, `${sites.length} labs`);
  t.is(sites.flatMap((site) => site.cases).length, all.length);
});
