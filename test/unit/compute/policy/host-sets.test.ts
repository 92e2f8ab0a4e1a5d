/** The node's own set: which policies it is made of, and what its guard keeps open. */
import test from "ava";
import type { CompiledSet } from "../../../../src/compute/desired.ts";
import type { ComputeResult } from "../../../../src/compute/index.ts";
import { DirectionVectors } from "../../../../src/compute/offline/vectors.ts";
import type { EndpointSliceRow } from "../../../../src/model/tables.ts";
import { address, Bench, node, policy } from "../support.ts";

const apiServer: EndpointSliceRow = {
  namespace: "default",
  name: "kubernetes-x",
  service: "kubernetes",
  family: 4,
  endpoints: [
    { addresses: [address("192.168.0.2")], ready: true, serving: true, terminating: false, node: null, hints: null },
  ],
  ports: [{ name: "https", protocol: "TCP", port: 6444 }],
};

const clusterwide = (spec: unknown, name = "p") => policy("CiliumClusterwideNetworkPolicy", spec, { name });
const closeAll = clusterwide({ nodeSelector: {}, ingress: [{}], egress: [{}] });
const denyAll = clusterwide({
  nodeSelector: {},
  ingressDeny: [{ fromEntities: ["all"] }],
  egressDeny: [{ toEntities: ["all"] }],
});

function bench(options: ConstructorParameters<typeof Bench>[0] = {}, slice = apiServer): Bench {
  const made = new Bench(options);
  made.store.upsert("endpointSlices", "default/kubernetes-x", slice);
  return made;
}

function hostSet({ desired }: ComputeResult): CompiledSet | null {
  return desired.sets.find(({ key }) => key === desired.host?.set) ?? null;
}

function verdict(
  result: ComputeResult,
  side: "ingress" | "egress",
  peer: string,
  protocol: number,
  port: number,
): string {
  const set = hostSet(result);
  if (set === null) return "not judged";
  const vectors = new DirectionVectors(set[side]);
  const identity = peer.startsWith("192.168.") ? 6 : peer.startsWith("10.1.") ? 300 : 9;
  return vectors.verdictOf(vectors.who(identity, address(peer)) & vectors.where(protocol, port));
}

const [other, outside, pod] = ["192.168.0.2", "198.51.100.1", "10.1.2.3"] as const;

test("a node that no policy selects has no set, in any mode", (t) => {
  const special = clusterwide({ nodeSelector: { matchLabels: { pool: "special" } }, ingress: [{}] });
  for (const policyEnforcement of ["default", "always", "never"] as const) {
    t.is(bench({ policyEnforcement }).policies(special).compute().desired.host, undefined);
  }
  const everyPod = clusterwide({ endpointSelector: {}, ingress: [{}], egress: [{}] });
  t.is(bench().policies(everyPod).compute().desired.host, undefined);
  t.is(bench({ policyEnforcement: "never" }).policies(closeAll).compute().desired.host, undefined);
  t.is(bench({ nodeName: "unknown" }).policies(closeAll).compute().desired.host, undefined);
});

test("rules of the policies that select the node hold for it; its labels may change", (t) => {
  const one = bench().policies(
    clusterwide({ nodeSelector: { matchLabels: { pool: "general" } }, ingress: [{ fromEntities: ["world"] }] }),
  );
  t.is(verdict(one.compute(), "ingress", outside, 6, 22), "not judged");
  one.nodes({ ...node("n1", ["192.168.0.1"]), labels: { pool: "general" } });
  const result = one.compute();
  t.is(verdict(result, "ingress", outside, 6, 22), "allow");
  t.is(verdict(result, "ingress", pod, 6, 22), "deny");
  t.is(verdict(result, "egress", outside, 6, 22), "allow", "egress is not closed");
  t.deepEqual(result.desired.endpoints, []);
});

for (const [what, close] of [
  ["default deny", closeAll],
  ["a deny for everybody", denyAll],
] as const) {
  test(`the guard keeps open what the node needs, and nothing else: ${what}`, (t) => {
    const result = bench().policies(close).compute();
    t.is(verdict(result, "ingress", other, 6, 179), "allow");
    t.is(verdict(result, "ingress", outside, 6, 179), "allow");
    t.is(verdict(result, "egress", outside, 6, 179), "allow");
    t.is(verdict(result, "ingress", other, 6, 10_250), "allow", "n2 is the API server");
    t.is(verdict(result, "egress", other, 6, 6444), "allow");
    t.is(verdict(result, "egress", outside, 17, 67), "allow");
    t.is(verdict(result, "ingress", other, 4, 0), "allow", "IPIP");
    t.is(verdict(result, "ingress", outside, 4, 0), "deny", "IPIP from outside");
    t.is(verdict(result, "ingress", pod, 6, 179), "deny", "BGP with pods");
    t.is(verdict(result, "ingress", outside, 6, 10_250), "deny", "the kubelet from outside");
    t.is(verdict(result, "ingress", "192.168.0.9", 6, 10_250), "deny", "the kubelet from a worker");
    t.is(verdict(result, "egress", other, 6, 6443), "deny", "not the API server's port");
    t.is(verdict(result, "ingress", other, 6, 6444), "deny", "n1 is no API server");
    t.is(verdict(result, "ingress", other, 6, 22), "deny");
    t.is(verdict(result, "egress", outside, 17, 53), "deny");
  });

  test(`without the guard it is closed like all else: ${what}`, (t) => {
    const result = bench({ allowLockout: true }).policies(close).compute();
    t.is(verdict(result, "ingress", other, 6, 179), "deny");
    t.is(verdict(result, "egress", other, 6, 6444), "deny");
    t.deepEqual(result.problems, []);
  });
}

test("a node that is an endpoint of the API server stays one", (t) => {
  const here = {
    ...apiServer,
    endpoints: apiServer.endpoints.map((each) => ({ ...each, addresses: [address("192.168.0.1")] })),
  };
  const result = bench({}, here).policies(closeAll).compute();
  t.is(verdict(result, "ingress", other, 6, 6444), "allow");
  t.is(verdict(result, "egress", other, 6, 10_250), "allow");
  t.is(verdict(result, "ingress", outside, 6, 6444), "deny");
});

test("a warning of the policy names what it would have closed, and is gone once it is allowed", (t) => {
  const [warning] = bench().policies(closeAll).compute().policies[0]?.problems ?? [];
  t.is(warning?.code, "POLICY_LOCKOUT_GUARD");
  t.is(warning?.severity, "warning");
  for (const name of [
    /BGP \(TCP 179\) in/,
    /BGP \(TCP 179\) out/,
    /the API server \(TCP 6444\) out/,
    /the kubelet \(TCP 10250\) in/,
  ]) {
    t.regex(warning?.message ?? "", name);
  }
  const bgp = clusterwide({
    nodeSelector: {},
    ingress: [{ toPorts: [{ ports: [{ port: "179", protocol: "TCP" }] }] }],
  });
  t.notRegex(JSON.stringify(bench().policies(bgp).compute().problems), /BGP/);
  const open = clusterwide({ nodeSelector: {}, ingress: [{ fromEntities: ["all"] }] });
  t.deepEqual(bench().policies(open).compute().problems, []);
});

test("audit mode of the agent is the node's too", (t) => {
  t.true(bench({ policyAuditMode: true }).policies(closeAll).compute().desired.host?.audit);
  t.false(bench().policies(closeAll).compute().desired.host?.audit);
});
