import test from "ava";
import { parsePolicy } from "../../../../src/compute/policy/parse.ts";
import { policy } from "../support.ts";

function errors(spec: unknown): readonly string[] {
  return parsePolicy(policy("NetworkPolicy", spec)).problems.map(({ code, field }) => `${code} ${field}`);
}

const ingress = (rule: unknown) => ({ podSelector: {}, ingress: [rule] });

const refused: readonly (readonly [string, unknown, string])[] = [
  ["a policy without spec", undefined, "POLICY_MISSING spec"],
  ["a field nobody knows", ingress({ form: [] }), "POLICY_UNKNOWN_FIELD spec.ingress[0].form"],
  ["an unknown policy type", { podSelector: {}, policyTypes: ["ingress"] }, "POLICY_TYPES spec.policyTypes[0]"],
  ["a peer that says nothing", ingress({ from: [{}] }), "POLICY_MISSING spec.ingress[0].from[0]"],
  [
    "a block beside a selector",
    ingress({ from: [{ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }] }),
    "POLICY_COMBINED spec.ingress[0].from[0]",
  ],
  ["a block without CIDR", ingress({ from: [{ ipBlock: {} }] }), "POLICY_MISSING spec.ingress[0].from[0].ipBlock.cidr"],
  [
    "an exception outside of its block",
    ingress({ from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["192.168.0.0/16"] } }] }),
    "POLICY_EXCEPT spec.ingress[0].from[0].ipBlock.except[0]",
  ],
  [
    "a block without a length",
    ingress({ from: [{ ipBlock: { cidr: "10.1.2.3" } }] }),
    "POLICY_CIDR spec.ingress[0].from[0].ipBlock.cidr",
  ],
  ["a port in quotes", ingress({ ports: [{ port: "80" }] }), "POLICY_PORT_NAME spec.ingress[0].ports[0].port"],
  ["port 0", ingress({ ports: [{ port: 0 }] }), "POLICY_PORT_RANGE spec.ingress[0].ports[0].port"],
  [
    "a range of a name",
    ingress({ ports: [{ port: "http", endPort: 90 }] }),
    "POLICY_PORT_RANGE spec.ingress[0].ports[0].endPort",
  ],
  [
    "a range of every port",
    ingress({ ports: [{ endPort: 90 }] }),
    "POLICY_PORT_RANGE spec.ingress[0].ports[0].endPort",
  ],
  [
    "ICMP as a protocol",
    ingress({ ports: [{ protocol: "ICMP" }] }),
    "POLICY_PROTOCOL spec.ingress[0].ports[0].protocol",
  ],
  ["a text as a list", { podSelector: {}, ingress: "all" }, "POLICY_TYPE spec.ingress"],
];

for (const [what, spec, expected] of refused) {
  test(`${what} is refused, and nothing else is said`, (t) => {
    t.deepEqual(errors(spec), [expected]);
    t.deepEqual(parsePolicy(policy("NetworkPolicy", spec)).specs, []);
  });
}

test("without types, ingress is closed always and egress with a rule of it only", (t) => {
  const isolates = (spec: object) =>
    parsePolicy(policy("NetworkPolicy", { podSelector: {}, ...spec })).specs[0]?.isolates;
  t.deepEqual(isolates({}), { ingress: true, egress: false });
  t.deepEqual(isolates({ egress: [] }), { ingress: true, egress: false });
  t.deepEqual(isolates({ egress: [{}] }), { ingress: true, egress: true });
  t.deepEqual(isolates({ policyTypes: ["Egress"], ingress: [{}] }), { ingress: false, egress: true });
  t.deepEqual(isolates({ policyTypes: [] }), { ingress: true, egress: false });
});

test("a list whose entries were all refused is never taken for everything", (t) => {
  const { specs, valid } = parsePolicy(policy("NetworkPolicy", ingress({ from: [{ ipBlock: { cidr: "x" } }] })));
  t.false(valid);
  t.deepEqual(specs, []);
});
