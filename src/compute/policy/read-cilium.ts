/**
 * CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2): `spec` and `specs`.
 *
 * What is not enforced yet never opens anything: an allow rule that demands more than addresses and ports becomes a redirect (closed
 * while there is no proxy), peers that cannot be resolved are nobody, and both are told as warnings; where nobody would be too few
 * (in a deny rule), the policy is refused.
 */
import { fieldNames } from "../../lib/schema.ts";
import type { Selector } from "../../model/labels.ts";
import { ciliumSpecSchema, defaultDenySchema, labelSchema, logSchema } from "./cilium-schema.ts";
import {
  at,
  type Fields,
  type Place,
  readBoolean,
  readEach,
  readFields,
  readList,
  readText,
  refuse,
  shown,
  warn,
} from "./fields.ts";
import { nodeSubject } from "./node-subjects.ts";
import { canonicalText } from "./read-cilium-l7.ts";
import { nodeKeys } from "./read-cilium-peers.ts";
import { type CiliumRuleScope, readCiliumRules } from "./read-cilium-rules.ts";
import { readSubject } from "./read-cilium-selector.ts";
import { readSelector } from "./read-selector.ts";
import type { Direction, Spec } from "./rules.ts";

export interface CiliumScope {
  /** "CiliumNetworkPolicy shop/api", for the origins of rules. */
  readonly object: string;
  /** null: clusterwide. */
  readonly namespace: string | null;
}

export function readCiliumPolicy(
  written: { readonly spec: unknown; readonly specs: readonly unknown[] | null },
  place: Place,
  scope: CiliumScope,
): readonly Spec[] {
  const hasSpec = written.spec !== undefined && written.spec !== null;
  if (!hasSpec && (written.specs ?? []).length === 0) {
    refuse(
      at(place, "spec"),
      "POLICY_MISSING",
      "the policy has neither spec nor specs",
      "write spec with endpointSelector",
    );
  }
  const single = hasSpec ? readSpec(written.spec, at(place, "spec"), scope, "") : null;
  const several = readEach(written.specs, at(place, "specs"), (entry, entryPlace) => {
    if (entry === null) refuse(entryPlace, "POLICY_TYPE", "the entry is empty", "remove it or write a spec");
    return readSpec(entry, entryPlace, scope, `${entryPlace.path}.`);
  });
  return [...(single === null ? [] : [single]), ...(several ?? [])];
}

function readSpec(value: unknown, place: Place, scope: CiliumScope, step: string): Spec | null {
  const fields = readFields(value, place, fieldNames(ciliumSpecSchema));
  if (fields === null) return null;
  const subject = readSpecSubject(fields, place, scope);
  checkNotes(fields, place);
  const section = (name: string, direction: Direction, denies: boolean) => {
    const ruleScope: CiliumRuleScope = {
      namespace: scope.namespace,
      direction,
      denies,
      ofNodes: fields.nodeSelector !== undefined && fields.nodeSelector !== null,
      origin: `${scope.object} ${step}${name}`,
    };
    return {
      entries: (readList(fields[name], at(place, name)) ?? []).length,
      ...readCiliumRules(fields[name], at(place, name), ruleScope),
    };
  };
  const ingress = section("ingress", "ingress", false);
  const egress = section("egress", "egress", false);
  const ingressDeny = section("ingressDeny", "ingress", true);
  const egressDeny = section("egressDeny", "egress", true);
  const sections = [ingress, egress, ingressDeny, egressDeny];
  if (sections.every(({ entries }) => entries === 0)) {
    warn(place, "POLICY_NO_EFFECT", "there is no rule, so nothing happens", "write ingress: [{}] to close a direction");
  }
  const written = {
    ingress: ingress.entries + ingressDeny.entries > 0,
    egress: egress.entries + egressDeny.entries > 0,
  };
  const isolates = readDefaultDeny(fields.enableDefaultDeny, at(place, "enableDefaultDeny"), written);
  if (subject === null) return null;
  return {
    subject,
    isolates,
    rules: sections.flatMap(({ rules }) => rules),
    requires: sections.flatMap(({ requires }) => requires),
  };
}

function readSpecSubject(fields: Fields, place: Place, scope: CiliumScope): Selector | null {
  const endpoints = fields.endpointSelector !== undefined && fields.endpointSelector !== null;
  const nodes = fields.nodeSelector !== undefined && fields.nodeSelector !== null;
  if (endpoints === nodes) {
    const message = endpoints ? "endpointSelector and nodeSelector in one spec" : "nothing is selected";
    const remedy = endpoints ? "write a spec for each" : "write endpointSelector ({} for every pod)";
    refuse(place, endpoints ? "POLICY_COMBINED" : "POLICY_MISSING", message, remedy);
    return null;
  }
  if (endpoints) return readSubject(fields.endpointSelector, at(place, "endpointSelector"), scope.namespace);
  const nodePlace = at(place, "nodeSelector");
  if (scope.namespace !== null) {
    const remedy = "select nodes in a CiliumClusterwideNetworkPolicy";
    refuse(nodePlace, "POLICY_NODE_SELECTOR", "a policy of a namespace selects nodes", remedy);
    return null;
  }
  const selector = readSelector(fields.nodeSelector, nodePlace, nodeKeys);
  return selector === null ? null : nodeSubject(selector);
}

/** Fields that only describe. */
function checkNotes(fields: Fields, place: Place): void {
  readText(fields.description, at(place, "description"));
  const log = readFields(fields.log, at(place, "log"), fieldNames(logSchema));
  const note = log === null ? null : readText(log.value, at(at(place, "log"), "value"));
  if (note !== null && !/^\P{C}{0,32}$/u.test(note)) {
    const message = `${shown(note)} is no note for verdicts`;
    refuse(at(at(place, "log"), "value"), "POLICY_LOG", message, "write up to 32 printable characters");
  }
  readEach(fields.labels, at(place, "labels"), (entry, entryPlace) => {
    const label = readFields(entry, entryPlace, fieldNames(labelSchema));
    if (label === null) return null;
    for (const name of fieldNames(labelSchema)) readText(label[name], at(entryPlace, name));
    if (label.source === "cilium-generated") {
      refuse(
        at(entryPlace, "source"),
        "POLICY_LABEL",
        `the source ${canonicalText(label.source)} is reserved`,
        "use another",
      );
    }
    return null;
  });
}

function readDefaultDeny(
  value: unknown,
  place: Place,
  written: { readonly ingress: boolean; readonly egress: boolean },
): { readonly ingress: boolean; readonly egress: boolean } {
  const fields = readFields(value, place, fieldNames(defaultDenySchema));
  const isolates = (direction: Direction): boolean => {
    const wanted = fields === null ? null : readBoolean(fields[direction], at(place, direction));
    if (wanted === true && !written[direction]) {
      const message = `there is no rule of ${direction}, so this has no effect`;
      warn(at(place, direction), "POLICY_NO_EFFECT", message, `write ${direction}: [{}] to close the direction`);
    }
    return written[direction] && wanted !== false;
  };
  return { ingress: isolates("ingress"), egress: isolates("egress") };
}
