import test from "ava";
import type { DesiredHost, DesiredState } from "../../../src/compute/desired.ts";
import { hostReport } from "../../../src/observe/endpoints.ts";
import { address, direction, openDirection, set } from "../datapath/world.ts";

const node = {
  name: "n1",
  labels: { zone: "b", pool: "a" },
  addresses: [address("fd00::1"), address("192.0.2.1"), address("192.0.2.2")],
  podCidrs: [],
};

function resultOf(host: DesiredHost | undefined): { readonly desired: DesiredState } {
  const sets = [set("7", direction([], [9])), set("node", openDirection, direction([9]))];
  return {
    desired: {
      identities: new Map(),
      clusterPrefixes: [],
      endpoints: [],
      sets,
      frontends: [],
      uplinks: [],
      ...(host !== undefined && { host }),
    },
  };
}

test("a node that no policy selects is open, whatever sets pods have", (t) => {
  const expected = {
    id: 0,
    pod: "node/n1",
    identity: 1,
    ipv4: "192.0.2.1",
    ipv6: "fd00::1",
    labels: ["reserved:host", "k8s:pool=a", "k8s:zone=b"],
    state: "ready",
    policySet: 0,
    enforcement: { ingress: false, egress: false },
    policyAuditMode: { active: false, own: null },
  } as const;
  t.like(hostReport(node, null, null), expected, "before the first computation");
  t.like(hostReport(node, resultOf(undefined), null), expected);
});

test("a node that a policy selects shows its own enforcement, its audit mode and what the kernel has", (t) => {
  const state = { state: "ready", policyRevision: 3, policySet: 5 } as const;
  t.like(hostReport(node, resultOf({ set: "node", audit: true }), state), {
    policyRevision: 3,
    policySet: 5,
    enforcement: { ingress: false, egress: true },
    policyAuditMode: { active: true, own: null },
  });
});

test("a node is never closed, also while the kernel knows nothing of it", (t) => {
  const closed = { state: "closed", policyRevision: 0, policySet: 0 } as const;
  t.is(hostReport(node, resultOf({ set: "node", audit: false }), closed).state, "ready");
});
