/** What is wrong between this node and kube-router is told once it has stood for a while, and taken back when it is over. */
import test from "ava";
import { pairingChecks } from "../../../src/agent/pairing-checks.ts";
import { StandingProblems } from "../../../src/agent/standing-problems.ts";
import { createComputation } from "../../../src/compute/index.ts";
import { parseAddress, parsePrefix } from "../../../src/model/ip.ts";
import type { Problem } from "../../../src/model/status.ts";
import { testAllocator } from "../../support/compute-cluster.ts";
import { readManifests } from "../../support/manifest-tables.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const manifests = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
`;

test("announced and not served: told after a few seconds, not before, and over when the path is withdrawn", async (t) => {
  const store = readManifests(manifests);
  const clock = new ManualClock();
  const computation = createComputation({ nodeName: "n1", identities: testAllocator(), policyEnforcement: "default" });
  const reports: (readonly Problem[])[] = [];
  const watch = new StandingProblems({
    checks: pairingChecks("n1", new Set([4]), () => true),
    store,
    bgp: { state: "synced" },
    loop: { result: computation.compute(store.snapshot()) },
    conditions: { report: (_topic, problems) => void reports.push(problems) },
    clock,
  });
  t.teardown(() => watch.stop());
  const second = () => clock.advance(1_000);
  watch.start();
  await second();
  const prefix = parsePrefix("203.0.113.10/32");
  if (prefix === null) throw new Error("no prefix");
  const nothing = {
    asPath: "",
    localPref: null,
    med: null,
    communities: [],
    originatorId: null,
    stale: false,
    others: [],
  };
  store.upsert("bgpPaths", prefix.text, { prefix, nextHop: parseAddress("192.0.2.1"), peer: null, ...nothing });
  for (let i = 0; i < 3; i++) await second();
  t.deepEqual(reports, [], "kube-router may be about to withdraw it");
  await second();
  t.deepEqual(
    reports.map((problems) => problems.map(({ code }) => code)),
    [["SERVICE_ADVERTISED_UNSERVED"]],
  );
  store.delete("bgpPaths", prefix.text);
  await second();
  t.deepEqual(reports.at(-1), []);
  const { length } = reports;
  await second();
  t.is(reports.length, length, "nothing to tell");
});

test("two nodes with one pod CIDR are told in less than 2 s, whenever it came between two looks", async (t) => {
  for (const offset of [0, 1, 500, 999]) {
    const store = readManifests(manifests);
    const clock = new ManualClock();
    const computation = createComputation({
      nodeName: "n1",
      identities: testAllocator(),
      policyEnforcement: "default",
    });
    const codes: string[] = [];
    const watch = new StandingProblems({
      checks: pairingChecks("n1", new Set([4]), () => true),
      store,
      bgp: { state: "synced" },
      loop: { result: computation.compute(store.snapshot()) },
      conditions: { report: (_topic, problems) => void codes.push(...problems.map(({ code }) => code)) },
      clock,
    });
    t.teardown(() => watch.stop());
    watch.start();
    await clock.advance(2_000 + offset);
    const [first] = store.table("nodes").values();
    const podCidr = parsePrefix("10.1.0.0/24");
    if (first === undefined || podCidr === null) throw new Error("no node");
    for (const name of ["n2", "n3"]) store.upsert("nodes", name, { ...first, name, podCidrs: [podCidr] });
    for (let ms = 0; ms < 1_600 && codes.length === 0; ms += 50) await clock.advance(50);
    t.true(codes.includes("POD_CIDR_OVERLAP"), `${offset} ms after a look`);
  }
});
