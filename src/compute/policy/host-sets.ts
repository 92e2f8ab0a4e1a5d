/**
 * The policy set of a node itself: what policies with nodeSelector say about it, behind what its guard keeps open. A node that no
 * policy selects has none, in every mode of enforcement: to close nodes that nobody wrote a policy for would only lock people out.
 */
import { type Address, parseAddress } from "../../model/ip.ts";
import { compareText, selects } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { EndpointSliceRow, NodeRow } from "../../model/tables.ts";
import type { CompiledDirection, CompiledSet } from "../desired.ts";
import { identityNumbers } from "../identity/reserved.ts";
import { memo } from "../../lib/memo.ts";
import type { PolicyInForce } from "./book.ts";
import { compileDirection, makeSet } from "./compile.ts";
import { meet, type PeerFacts } from "./explain.ts";
import { type Guard, guardsOf } from "./host-guard.ts";
import { isNodeSubject, nodeSubjectLabels } from "./node-subjects.ts";
import { policyObject } from "./parse.ts";
import { type Entry, RuleResolver } from "./resolve.ts";
import type { Direction, Spec } from "./rules.ts";
import type { Surroundings } from "./surroundings.ts";

/** `CompiledSet.key` of it; those of pods begin with a number. */
export const hostSetKey = "node";

export interface HostSet {
  readonly set: CompiledSet;
  /** That select the node, in order. */
  readonly policies: readonly PolicyInForce[];
  /** Warnings, for each of the policies: what the guard keeps open although they close it. */
  readonly problems: readonly (readonly [PolicyInForce, readonly Problem[]])[];
}

export interface HostFacts {
  /** Null: nobody knows its labels, so that no policy selects it. */
  readonly node: NodeRow | null;
  /** In order of their keys; those that select pods have no part in it. */
  readonly policies: readonly PolicyInForce[];
  readonly surroundings: Surroundings;
  readonly endpointSlices: ReadonlyMap<string, EndpointSliceRow>;
}

interface Resolved {
  readonly entries: readonly Entry[];
  readonly guards: readonly Guard[];
  readonly enforced: boolean;
}

export class HostSetCompiler {
  readonly #guarded: boolean;
  readonly #resolver = new RuleResolver();
  readonly #guards = { ingress: rememberedGuards("ingress"), egress: rememberedGuards("egress") };
  #last: { readonly parts: readonly unknown[]; readonly result: HostSet } | null = null;

  /** @param allowLockout without a guard */
  constructor(allowLockout: boolean) {
    this.#guarded = !allowLockout;
  }

  /** What the rules say about the node in one direction, and what is kept open before them. */
  resolve(
    { node, policies, surroundings, endpointSlices }: HostFacts & { readonly node: NodeRow },
    direction: Direction,
  ): Resolved {
    const specs = policies.flatMap((policy) => nodeSpecs(policy, node));
    const enforced = specs.some(({ isolates }) => isolates[direction]);
    const subject = { specs, ports: [], isNode: true };
    const { entries } = this.#resolver.resolve(subject, direction, enforced, surroundings);
    const guarded = this.#guarded && (enforced || entries.length > 0);
    if (!guarded) this.#forget(direction);
    const guards = guarded ? this.#guards[direction](node, surroundings.apiServer, endpointSlices) : noGuards;
    return { entries, guards, enforced };
  }

  /** @returns null: no policy selects the node; the same object as before, if it says the same */
  compile(facts: HostFacts): HostSet | null {
    const { node, surroundings } = facts;
    if (node === null) return null;
    const policies = facts.policies.filter((policy) => nodeSpecs(policy, node).length > 0);
    if (policies.length === 0) {
      this.#forget("ingress");
      this.#forget("egress");
      this.#last = null;
      return null;
    }
    const ingress = this.resolve({ ...facts, node }, "ingress");
    const egress = this.resolve({ ...facts, node }, "egress");
    const parts = [
      node,
      surroundings.nodes,
      ...policies,
      ...[ingress, egress].flatMap(({ entries, guards, enforced }) => [enforced, guards, ...entries]),
    ];
    const last = this.#last;
    if (last?.parts.length === parts.length && parts.every((part, at) => part === last.parts[at])) return last.result;
    const result = makeHostSet(node, policies, surroundings, { ingress, egress });
    this.#last = { parts, result };
    return result;
  }

  /** An old table keeps what changed since: it must not be remembered for longer than it is asked for. */
  #forget(direction: Direction): void {
    this.#guards[direction] = rememberedGuards(direction);
  }
}

type GuardArguments = readonly [
  node: NodeRow,
  apiServer: Surroundings["apiServer"],
  endpointSlices: HostFacts["endpointSlices"],
];

const noGuards: readonly Guard[] = [];

function rememberedGuards(direction: Direction) {
  return memo((...[node, apiServer, endpointSlices]: GuardArguments) =>
    guardsOf(direction, { node, apiServer, endpointSlices }),
  );
}

function makeHostSet(
  node: NodeRow,
  policies: readonly PolicyInForce[],
  surroundings: Surroundings,
  resolved: Readonly<Record<Direction, Resolved>>,
): HostSet {
  const kept: string[] = [];
  const direct = (direction: Direction): CompiledDirection => {
    const { entries, guards, enforced } = resolved[direction];
    for (const guard of guards) {
      if (closes(entries, enforced, guard, peersOf(guard, node, surroundings)))
        kept.push(`${guard.name} ${direction === "ingress" ? "in" : "out"}`);
    }
    return compileDirection([...guards, ...entries], enforced);
  };
  const ingress = direct("ingress");
  const egress = direct("egress");
  const problems = kept.length === 0 ? [] : policies.map((policy) => [policy, [keptOpen(policy, node, kept)]] as const);
  return { set: makeSet(hostSetKey, egress, ingress), policies, problems };
}

/** Those of a policy that select the node. */
export function nodeSpecs({ specs }: PolicyInForce, { labels }: NodeRow): readonly Spec[] {
  const nodes = specs.filter(({ subject }) => isNodeSubject(subject));
  if (nodes.length === 0) return [];
  const own = nodeSubjectLabels(labels);
  return nodes.filter(({ subject }) => selects(subject, own));
}

const { remoteNode, worldIpv4, worldIpv6 } = identityNumbers;
/** For anybody outside (RFC 5737, RFC 3849). */
const samples = ["192.0.2.1", "2001:db8::1"].flatMap((text) => parseAddress(text) ?? []);

/** Those that a guard is about, as far as they are known: the outside is one address of each family that the node has. */
function peersOf({ identities, blocks }: Guard, node: NodeRow, { nodes }: Surroundings): readonly PeerFacts[] {
  const named = new Set(identities.flat());
  const others = nodes.flatMap((each) => each.blocks.map(({ prefix }) => prefix.address));
  const isNode = new Set(others.map(({ text }) => text));
  const outside = ({ family }: Address) => (family === 4 ? worldIpv4 : worldIpv6);
  return [
    ...(named.has(remoteNode) ? others.map((address) => ({ identity: remoteNode, address })) : []),
    ...samples
      .filter(
        (address) => named.has(outside(address)) && node.addresses.some(({ family }) => family === address.family),
      )
      .map((address) => ({ identity: outside(address), address })),
    ...blocks.map(({ prefix: { address } }) => ({
      identity: isNode.has(address.text) ? remoteNode : outside(address),
      address,
    })),
  ];
}

/** Whether some of what the guard keeps open for these peers would be closed without it. */
function closes(entries: readonly Entry[], enforced: boolean, { ports }: Guard, peers: readonly PeerFacts[]): boolean {
  return peers.some((peer) =>
    ports.some(({ protocol, first }) => {
      const { matches } = meet(entries, peer, { protocol, port: first });
      if (matches.some(({ action }) => action === "deny")) return true;
      return enforced && !matches.some(({ action }) => action === "allow");
    }),
  );
}

function keptOpen(policy: PolicyInForce, { name }: NodeRow, kept: readonly string[]): Problem {
  return {
    code: "POLICY_LOCKOUT_GUARD",
    severity: "warning",
    object: policyObject(policy.row),
    field: "",
    message: `policies close what node ${name} needs to stay in its cluster; kept open: ${[...kept].sort(compareText).join(", ")}`,
    remedy: "allow it in a policy, or set allowLockout if the node shall be closed to that too",
  };
}
