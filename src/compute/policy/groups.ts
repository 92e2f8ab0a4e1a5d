/** CiliumCIDRGroups as policies refer to them. A reference to a group that is not there is nobody until it comes. */
import { type Prefix, prefixContainsPrefix } from "../../model/ip.ts";
import { compareText, labelMap, selects } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { CidrGroupRow } from "../../model/tables.ts";
import type { PolicyInForce } from "./book.ts";
import { policyObject } from "./parse.ts";
import type { Block, GroupReference, Peer } from "./rules.ts";

export type GroupPeer = Extract<Peer, { readonly kind: "group" }>;

/** What the peer stands for, in order of the groups' names. */
export function groupBlocks({ group, except }: GroupPeer, groups: ReadonlyMap<string, CidrGroupRow>): readonly Block[] {
  return groupsOf(group, groups).flatMap(({ externalCidrs }) =>
    externalCidrs.flatMap((prefix) => blockWithout(prefix, except) ?? []),
  );
}

function groupsOf(reference: GroupReference, groups: ReadonlyMap<string, CidrGroupRow>): readonly CidrGroupRow[] {
  if (reference.kind === "name") {
    const group = groups.get(reference.name);
    return group === undefined ? [] : [group];
  }
  return [...groups.values()]
    .filter(({ labels }) => selects(reference.selector, labelMap(labels)))
    .sort((a, b) => compareText(a.name, b.name));
}

const wholeBlocks = new WeakMap<Prefix, Block>();

/** Null: nothing is left. Exceptions elsewhere have no part in it. */
function blockWithout(prefix: Prefix, except: readonly Prefix[]): Block | null {
  if (except.some((each) => prefixContainsPrefix(each, prefix))) return null;
  const inside = except.filter((each) => prefixContainsPrefix(prefix, each));
  if (inside.length > 0) return { prefix, except: inside, outsideOnly: true };
  const known = wholeBlocks.get(prefix);
  if (known !== undefined) return known;
  const block: Block = { prefix, except: [], outsideOnly: true };
  wholeBlocks.set(prefix, block);
  return block;
}

/** A warning for each reference that leads nowhere. Policies without any are not in it. */
export function missingGroups(
  policies: readonly PolicyInForce[],
  groups: ReadonlyMap<string, CidrGroupRow>,
): ReadonlyMap<PolicyInForce, readonly Problem[]> {
  const missing = new Map<PolicyInForce, readonly Problem[]>();
  for (const policy of policies) {
    // The ports of one entry are several rules with the same peers.
    const found = new Map<string, Problem>();
    for (const { rules } of policy.specs) {
      for (const { peers } of rules) {
        for (const peer of peers) {
          if (peer.kind !== "group" || peer.group.kind !== "name" || groups.has(peer.group.name)) continue;
          found.set(peer.group.field, missingProblem(policy, peer.group));
        }
      }
    }
    if (found.size > 0) missing.set(policy, [...found.values()]);
  }
  return missing;
}

function missingProblem(
  { row }: PolicyInForce,
  { name, field }: Extract<GroupReference, { readonly kind: "name" }>,
): Problem {
  return {
    code: "POLICY_GROUP_MISSING",
    severity: "warning",
    object: policyObject(row),
    field,
    message: `there is no CiliumCIDRGroup ${name}: this is nobody`,
    remedy: "create the group, or correct the name",
  };
}
