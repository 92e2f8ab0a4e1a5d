/** The rules behind a cluster's compiled sets: who closes a direction, and which rules a packet meets. Only for people; verdicts are the sets'. */
import { compareText, selects } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { TableSnapshot } from "../../model/store.ts";
import { AddressBook } from "../identity/addresses.ts";
import { PodIdentifier, type PodIdentities } from "../identity/pods.ts";
import { PolicyBook, type PolicyInForce } from "../policy/book.ts";
import { HostSetCompiler, nodeSpecs } from "../policy/host-sets.ts";
import { isNodeSubject } from "../policy/node-subjects.ts";
import { NamedLabels } from "../policy/named-labels.ts";
import { policyObject } from "../policy/parse.ts";
import { type Entry, RuleResolver } from "../policy/resolve.ts";
import type { Direction, Spec } from "../policy/rules.ts";
import { nextMoment, nodePeers, type Surroundings } from "../policy/surroundings.ts";
import { SurroundingsIndex } from "../policy/surroundings-index.ts";
import type { ComputationOptions, IdentityAllocator } from "../result.ts";

export class PolicyExplainer {
  readonly #policies: readonly PolicyInForce[];
  readonly #allowLockout: boolean;
  readonly #pods: PodIdentities["pods"];
  readonly #nodes: TableSnapshot["nodes"];
  readonly #endpointSlices: TableSnapshot["endpointSlices"];
  readonly #selectsNodes: boolean;
  /** Without a node of its own. */
  readonly #surroundings: Surroundings;
  /** By node: rules about nodes never mean the pod's own. One for all, if there are no such rules. */
  readonly #views = new Map<string, { readonly surroundings: Surroundings; readonly resolver: RuleResolver }>();
  readonly #entries = new Map<string, readonly Entry[]>();

  /**
   * @param identities the allocator that numbered the sets
   * @param settings with which they were computed
   */
  constructor(
    tables: TableSnapshot,
    identities: IdentityAllocator,
    settings: Pick<ComputationOptions, "allowLockout" | "lastValid">,
  ) {
    const { pods, namespaces, services, endpointSlices, nodes, localEndpoints, localAddresses } = tables;
    const policies = new PolicyBook(settings.lastValid ?? new Map()).read(tables.policies);
    this.#policies = policies.all;
    this.#allowLockout = settings.allowLockout ?? false;
    const named = new NamedLabels().update(policies, services);
    const known = new PodIdentifier(identities).identify(pods, namespaces, named);
    const holders = new AddressBook("").update({ pods: known.pods, nodes, localEndpoints, localAddresses });
    this.#pods = known.pods;
    this.#nodes = nodes;
    this.#endpointSlices = endpointSlices;
    this.#selectsNodes = this.#policies.some(({ specs }) =>
      specs.some(({ rules }) => rules.some(({ peers }) => peers.some(({ kind }) => kind === "nodes"))),
    );
    this.#surroundings = new SurroundingsIndex().update({
      identities: known,
      holders,
      services,
      endpointSlices,
      cidrGroups: tables.cidrGroups,
      nodes: [],
    });
  }

  /** What the rules say about the pod in one direction, looked up; in an open direction only what they deny. */
  entries(pod: string, direction: Direction, enforced: boolean): readonly Entry[] {
    const key = `${direction} ${pod}`;
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const fact = this.#pods.get(pod);
    const subject = { specs: this.#selecting(pod).map(({ spec }) => spec), ports: fact?.row.ports ?? [] };
    const { resolver, surroundings } = this.#viewOf(fact?.row.node ?? "");
    const { entries } = resolver.resolve(subject, direction, enforced, surroundings);
    this.#entries.set(key, entries);
    return entries;
  }

  #viewOf(node: string): { readonly surroundings: Surroundings; readonly resolver: RuleResolver } {
    const name = this.#selectsNodes ? node : "";
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    const surroundings = { ...this.#surroundings, moment: nextMoment(), nodes: nodePeers(this.#nodes, name) };
    const view = { surroundings, resolver: new RuleResolver() };
    this.#views.set(name, view);
    return view;
  }

  /** Policies that close the direction for the pod: "NetworkPolicy shop/db", sorted. */
  closedBy(pod: string, direction: Direction): readonly string[] {
    const closing = this.#selecting(pod).filter(({ spec }) => spec.isolates[direction]);
    return [...new Set(closing.map(({ policy }) => policyObject(policy.row)))].sort(compareText);
  }

  /** What the rules say about a node itself, behind what is kept open for it. */
  nodeEntries(node: string, direction: Direction): readonly Entry[] {
    const row = this.#nodes.get(node);
    if (row === undefined) return [];
    const { surroundings } = this.#viewOf(node);
    const facts = { node: row, policies: this.#policies, surroundings, endpointSlices: this.#endpointSlices };
    const { guards, entries } = new HostSetCompiler(this.#allowLockout).resolve(facts, direction);
    return [...guards, ...entries];
  }

  /** Warnings of policies that close what the guard of a node keeps open; of several nodes the first by name speaks for all. */
  lockoutProblems(): readonly Problem[] {
    const found = new Map<PolicyInForce, readonly Problem[]>();
    const ofNodes = this.#policies.filter(({ specs }) => specs.some(({ subject }) => isNodeSubject(subject)));
    if (ofNodes.length === 0) return [];
    for (const node of [...this.#nodes.values()].sort((a, b) => compareText(a.name, b.name))) {
      const { surroundings } = this.#viewOf(node.name);
      const facts = { node, policies: ofNodes, surroundings, endpointSlices: this.#endpointSlices };
      for (const [policy, problems] of new HostSetCompiler(this.#allowLockout).compile(facts)?.problems ?? []) {
        if (!found.has(policy)) found.set(policy, problems);
      }
    }
    return [...found.values()].flat();
  }

  /** Policies that close the direction for a node, sorted. */
  nodeClosedBy(node: string, direction: Direction): readonly string[] {
    return this.#selectingNode(node, ({ isolates }) => isolates[direction]);
  }

  /** Policies that select the node, sorted. */
  selectingNode(node: string): readonly string[] {
    return this.#selectingNode(node, () => true);
  }

  #selectingNode(node: string, counts: (spec: Spec) => boolean): readonly string[] {
    const row = this.#nodes.get(node);
    if (row === undefined) return [];
    return this.#policies
      .filter((policy) => nodeSpecs(policy, row).some(counts))
      .map((policy) => policyObject(policy.row))
      .sort(compareText);
  }

  /** Policies that select the pod, sorted. */
  selecting(pod: string): readonly PolicyInForce[] {
    return [...new Set(this.#selecting(pod).map(({ policy }) => policy))];
  }

  #selecting(pod: string): readonly { readonly policy: PolicyInForce; readonly spec: Spec }[] {
    const labels = this.#pods.get(pod)?.labelSet.labels;
    if (labels === undefined) return [];
    return this.#policies.flatMap((policy) =>
      policy.specs.filter(({ subject }) => selects(subject, labels)).map((spec) => ({ policy, spec })),
    );
  }
}
