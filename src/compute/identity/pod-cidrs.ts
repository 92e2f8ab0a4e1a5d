/** The prefixes in which an unknown address is a pod that is not known yet, never the outside. */
import { comparePrefixes, type Prefix, prefixContainsPrefix } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { NodeRow } from "../../model/tables.ts";

export interface PodCidrs {
  /** Sorted, each once. */
  readonly prefixes: readonly Prefix[];
  readonly problems: readonly Problem[];
}

export function podCidrsOf(nodes: ReadonlyMap<string, NodeRow>): PodCidrs {
  const claims = [...nodes.values()]
    .flatMap((node) => node.podCidrs.map((prefix) => ({ prefix, node: node.name })))
    .sort((a, b) => comparePrefixes(a.prefix, b.prefix) || compareText(a.node, b.node));
  const problems: Problem[] = [];
  const prefixes: Prefix[] = [];
  const around: { readonly prefix: Prefix; readonly node: string }[] = [];
  for (const claim of claims) {
    while (around.length > 0 && !prefixContainsPrefix((around.at(-1) ?? claim).prefix, claim.prefix)) around.pop();
    const other = around.find(({ node }) => node !== claim.node);
    if (other !== undefined) problems.push(overlap(claim, other));
    if (prefixes.at(-1)?.text !== claim.prefix.text) prefixes.push(claim.prefix);
    around.push(claim);
  }
  return { prefixes, problems };
}

function overlap(
  inner: { readonly prefix: Prefix; readonly node: string },
  outer: { readonly prefix: Prefix; readonly node: string },
): Problem {
  return {
    code: "POD_CIDR_OVERLAP",
    severity: "error",
    object: `Node ${inner.node}`,
    field: "spec.podCIDRs",
    message: `${inner.prefix.text} overlaps ${outer.prefix.text} of Node ${outer.node}: routes lead to one of both only`,
    remedy: "give each node pod CIDRs of its own",
  };
}
