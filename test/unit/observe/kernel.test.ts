import test from "ava";
import { parsePrefix } from "../../../src/model/ip.ts";
import { policySetReport } from "../../../src/observe/kernel.ts";

test("a group's ports are told once: what a wider entry covers is left out", (t) => {
  const prefix = parsePrefix("192.0.2.0/24");
  if (prefix === null) return t.fail();
  const group = {
    group: 0,
    action: "allow" as const,
    identities: [256],
    prefixes: [prefix],
    origins: [],
    ports: [
      { protocol: 6, port: 8080, bits: 24 },
      { protocol: 6, port: 8064, bits: 18 },
      { protocol: 17, port: 53, bits: 24 },
      { protocol: 132, port: 0, bits: 8 },
      { protocol: 132, port: 7, bits: 24 },
    ],
  };
  const labels = (identity: number) => [`k8s:id=${identity}`, "k8s:io.cilium.k8s.policy.cluster=default"];
  const report = policySetReport({ set: 1, direction: "ingress", enforced: true, groups: [group] }, labels);
  t.deepEqual(report.groups[0]?.ports, ["8064-8127/TCP", "53/UDP", "SCTP"]);
  t.deepEqual(report.groups[0]?.peers, ["256 k8s:id=256", "192.0.2.0/24"]);
  const any = { ...group, ports: [...group.ports, { protocol: 0, port: 0, bits: 0 }] };
  const wide = policySetReport({ set: 1, direction: "ingress", enforced: true, groups: [any] }, labels);
  t.deepEqual(wide.groups[0]?.ports, ["ANY"]);
});
