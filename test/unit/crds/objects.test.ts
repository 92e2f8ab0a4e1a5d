/** Objects as agents and the operator write them: typed by the schemas, and valid by them. */
import test from "ava";
import {
  customKinds,
  type EndpointStatus,
  type NodeSpec,
  type PolicyStatus,
  type SecurityLabels,
} from "../../../src/kube-objects/index.ts";
import { object } from "../../../src/lib/schema.ts";
import { prune, violations } from "../../support/schema-check.ts";

const schemaOf = (kind: string) => object(customKinds.find((each) => each.kind === kind)?.fields ?? {});

const endpoint: EndpointStatus = {
  id: 17,
  "external-identifiers": {
    "container-id": "c0ffee",
    "k8s-namespace": "shop",
    "k8s-pod-name": "web-0",
    "pod-name": "shop/web-0",
  },
  identity: { id: 0x01_00_2a, labels: ["k8s:app=web"] },
  networking: { addressing: [{ ipv4: "10.244.1.7", ipv6: "fd00::7" }], node: "192.0.2.1" },
  policy: { ingress: { enforcing: true, state: "enforcing" }, egress: { enforcing: false } },
  state: "ready",
  "named-ports": [{ name: "http", port: 8080, protocol: "TCP" }],
};
const labels: SecurityLabels = { "k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "shop" };
const node: NodeSpec = {
  bootid: "b",
  addresses: [
    { type: "InternalIP", ip: "192.0.2.1" },
    { type: "CiliumInternalIP", ip: "10.244.1.1" },
  ],
  ipam: { podCIDRs: ["10.244.1.0/24"] },
};
const status: PolicyStatus = {
  conditions: [
    {
      type: "Valid",
      status: "True",
      observedGeneration: 3,
      lastTransitionTime: "2026-01-02T03:04:05Z",
      reason: "Valid",
      message: "",
    },
    { type: "Enforced", status: "False", reason: "Pending", message: "on 2 of 3 nodes" },
  ],
  enforcement: { wanted: 3, enforcing: 2, failing: 0 },
};

const objects: readonly (readonly [string, object])[] = [
  ["CiliumEndpoint", { status: endpoint }],
  ["CiliumIdentity", { "security-labels": labels }],
  ["CiliumNode", { spec: node }],
  ["CiliumNetworkPolicy", { status }],
  ["CiliumClusterwideNetworkPolicy", { status }],
];

for (const [kind, fields] of objects) {
  test(`a ${kind} as it is written is valid, and kept as a whole`, (t) => {
    t.deepEqual(violations(schemaOf(kind), fields), []);
    t.deepEqual(prune(schemaOf(kind), fields), fields);
  });
}

test("numbers and words that mean nothing are refused", (t) => {
  const found = (kind: string, fields: object) => violations(schemaOf(kind), fields).join();
  t.regex(found("CiliumEndpoint", { status: { ...endpoint, identity: { id: 2 ** 24 } } }), /identity\.id: 16777216/);
  t.regex(found("CiliumEndpoint", { status: { ...endpoint, state: "happy" } }), /state: happy/);
  t.regex(found("CiliumNode", { spec: { addresses: [{ type: "Inner", ip: "192.0.2.1" }] } }), /type: Inner/);
  t.regex(found("CiliumIdentity", { "security-labels": { a: 1 } }), /security-labels\.a: no text/);
  t.regex(
    found("CiliumNetworkPolicy", { status: { conditions: [{ type: "Valid", status: "true" }] } }),
    /status: true is none of/,
  );
});
