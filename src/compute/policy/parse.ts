/** From a policy as it was written to rules, or to everything that is wrong with it. */
import { messageOf } from "../../lib/errors.ts";
import type { Problem } from "../../model/status.ts";
import type { PolicyRow } from "../../model/tables.ts";
import { at, type Place, refuse } from "./fields.ts";
import { readCiliumPolicy } from "./read-cilium.ts";
import { readNetworkPolicy } from "./read-kubernetes.ts";
import type { ParsedPolicy, Spec } from "./rules.ts";

/** "CiliumNetworkPolicy shop/api" */
export function policyObject({ kind, namespace, name }: PolicyRow): string {
  return `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}

const parsed = new WeakMap<PolicyRow, ParsedPolicy>();

/** Never throws: whatever a user wrote is a policy or a problem. Rows do not change, so each is read once, whoever asks. */
export function parsePolicy(row: PolicyRow): ParsedPolicy {
  const known = parsed.get(row);
  if (known !== undefined) return known;
  const policy = readPolicy(row);
  parsed.set(row, policy);
  return policy;
}

function readPolicy(row: PolicyRow): ParsedPolicy {
  const object = policyObject(row);
  const problems: Problem[] = [];
  const place: Place = { path: "", report: (problem) => problems.push({ ...problem, object }) };
  let specs: readonly Spec[] = [];
  try {
    specs = readSpecs(row, place, object);
  } catch (error) {
    // Data that refers to itself, or nests deeper than a stack; one policy must not stop all others.
    refuse(place, "POLICY_UNREADABLE", `it cannot be read: ${messageOf(error)}`, "write it without aliases, less deep");
  }
  const valid = problems.every(({ severity }) => severity !== "error");
  return { object, valid, specs: valid ? specs : [], problems };
}

function readSpecs(row: PolicyRow, place: Place, object: string): readonly Spec[] {
  switch (row.kind) {
    case "NetworkPolicy": {
      const spec = readNetworkPolicy(row.spec, at(place, "spec"), row.namespace, object);
      return spec === null ? [] : [spec];
    }
    case "CiliumNetworkPolicy":
      return readCiliumPolicy(row, place, { object, namespace: row.namespace });
    case "CiliumClusterwideNetworkPolicy":
      return readCiliumPolicy(row, place, { object, namespace: null });
  }
}
