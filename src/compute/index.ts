/**
 * Facts in, desired state out. Pure but for three memories: what was computed before (only to be quick: a fresh computation gives the
 * same answer), the numbers of identities (the allocator's), and the last valid version of each policy (`book.ts`).
 */
import { compareText } from "../model/labels.ts";
import type { Problem } from "../model/status.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { NodeRow } from "../model/tables.ts";
import type { CompiledSet, DesiredEndpoint } from "./desired.ts";
import { type AddressHolders, holdersOf, podOfEndpoint } from "./identity/addresses.ts";
import { podCidrsOf } from "./identity/pod-cidrs.ts";
import { PodIdentifier, type PodIdentities, type PodIdentity } from "./identity/pods.ts";
import { identityNumbers, reservedIdentities } from "./identity/reserved.ts";
import { memo } from "./memo.ts";
import { PolicyBook, type PolicyInForce } from "./policy/book.ts";
import { missingGroups } from "./policy/groups.ts";
import { type HostSet, HostSetCompiler } from "./policy/host-sets.ts";
import { NameIndex } from "./policy/name-index.ts";
import { SelectorIndex } from "./policy/selector-index.ts";
import { SetCompiler } from "./policy/sets.ts";
import { endpointAddresses, hostBlock, nodePeers, type PodPeer, type Surroundings } from "./policy/surroundings.ts";
import type { Computation, ComputationOptions, ComputedIdentity, ComputedPolicy, ComputeResult } from "./result.ts";
import { createFrontends } from "./services/index.ts";

export type {
  Computation,
  ComputationOptions,
  ComputedIdentity,
  ComputedPolicy,
  ComputeResult,
  IdentityAllocator,
} from "./result.ts";

export function createComputation(options: ComputationOptions): Computation {
  return new TableComputation(options);
}

class TableComputation implements Computation {
  readonly #book: PolicyBook;
  readonly #selectors = new SelectorIndex();
  readonly #names = new NameIndex();
  readonly #sets: SetCompiler;
  readonly #hostSets: HostSetCompiler;
  readonly #host = memo(
    (
      node: NodeRow | null,
      policies: readonly PolicyInForce[],
      surroundings: Surroundings,
      endpointSlices: TableSnapshot["endpointSlices"],
    ): HostSet | null =>
      this.#enforced ? this.#hostSets.compile({ node, policies, surroundings, endpointSlices }) : null,
  );
  readonly #enforced: boolean;
  readonly #frontends = createFrontends();
  readonly #nodeName: string;
  readonly #auditMode: boolean;
  readonly #reports = new WeakMap<
    PolicyInForce,
    {
      readonly selected: readonly PodIdentity[];
      readonly missing: readonly Problem[];
      readonly guarded: readonly Problem[];
      readonly report: ComputedPolicy;
    }
  >();
  readonly #pods: (
    pods: TableSnapshot["pods"],
    namespaces: TableSnapshot["namespaces"],
    named: ReadonlySet<string>,
  ) => PodIdentities;
  readonly #policies = memo((rows: TableSnapshot["policies"]) => this.#book.read(rows));
  readonly #named = memo((policies: readonly PolicyInForce[], services: TableSnapshot["services"]) =>
    this.#book.namedKeys(policies, services),
  );
  readonly #cidrs = memo(podCidrsOf);
  readonly #holders = memo(
    (
      pods: PodIdentities["pods"],
      nodes: TableSnapshot["nodes"],
      localEndpoints: TableSnapshot["localEndpoints"],
      localAddresses: TableSnapshot["localAddresses"],
    ): AddressHolders => holdersOf({ pods, nodes, localEndpoints, localAddresses, nodeName: this.#nodeName }),
  );
  readonly #missing = memo(missingGroups);
  readonly #nodePeers = memo((nodes: TableSnapshot["nodes"]) => nodePeers(nodes, this.#nodeName));
  readonly #surroundings = memo(
    (
      { identities }: PodIdentities,
      holders: AddressHolders,
      services: TableSnapshot["services"],
      endpointSlices: TableSnapshot["endpointSlices"],
      groups: TableSnapshot["cidrGroups"],
      nodes: Surroundings["nodes"],
      // The index is the same object whatever it holds: only its table tells that it answers something else.
      _names: TableSnapshot["names"],
    ) =>
      makeSurroundings(identities, holders, {
        selectors: this.#selectors,
        services,
        endpointSlices,
        groups,
        nodes,
        names: this.#names,
      }),
  );

  constructor({
    nodeName,
    identities,
    policyEnforcement,
    policyAuditMode,
    allowLockout,
    lastValid,
  }: ComputationOptions) {
    this.#book = new PolicyBook(lastValid ?? new Map());
    const identifier = new PodIdentifier(identities);
    // Where a pod got no number, ask again: numbers become free without a change of the tables.
    this.#pods = memo(
      (pods, namespaces, named) => identifier.identify(pods, namespaces, named),
      ({ problems }) => problems.length === 0,
    );
    this.#sets = new SetCompiler(policyEnforcement);
    this.#hostSets = new HostSetCompiler(allowLockout ?? false);
    this.#enforced = policyEnforcement !== "never";
    this.#nodeName = nodeName;
    this.#auditMode = policyAuditMode ?? false;
  }

  compute(snapshot: TableSnapshot): ComputeResult {
    const { nodes, services, endpointSlices, localEndpoints, localAddresses, uplinks, cidrGroups, names } = snapshot;
    const policies = this.#policies(snapshot.policies);
    const podIdentities = this.#pods(snapshot.pods, snapshot.namespaces, this.#named(policies, services));
    const { pods, identities } = podIdentities;
    const cidrs = this.#cidrs(nodes);
    const holders = this.#holders(pods, nodes, localEndpoints, localAddresses);
    const frontends = this.#frontends(
      { services, endpointSlices, pods: snapshot.pods, nodes },
      { nodeName: this.#nodeName },
    );
    this.#selectors.update(identities);
    this.#names.update(names);
    const nodePeers = this.#nodePeers(nodes);
    const surroundings = this.#surroundings(
      podIdentities,
      holders,
      services,
      endpointSlices,
      cidrGroups,
      nodePeers,
      names,
    );
    const local = [...localEndpoints.values()].sort((a, b) => a.id - b.id || compareText(a.containerId, b.containerId));
    const localFacts = local.map((row) => podOfEndpoint(row, pods));
    const { sets, setOf } = this.#sets.compile(
      localFacts.flatMap((fact) => fact ?? []),
      policies,
      surroundings,
    );
    const endpoints = local.map((row, index): DesiredEndpoint => {
      const fact = localFacts[index] ?? null;
      return {
        row,
        identity: fact?.identity ?? identityNumbers.init,
        set: fact === null ? null : (setOf.get(fact.key) ?? null),
        audit: row.policyAuditMode ?? this.#auditMode,
      };
    });
    const host = this.#host(nodes.get(this.#nodeName) ?? null, policies, surroundings, endpointSlices);
    const allSets = host === null ? sets : [...sets, host.set];
    const missing = this.#missing(policies, cidrGroups);
    const computed = policies.map((policy) =>
      this.#computedPolicy(
        policy,
        identities,
        missing.get(policy) ?? noProblems,
        host?.problems.get(policy) ?? noProblems,
        host?.policies.includes(policy) ?? false,
      ),
    );
    return {
      desired: {
        identities: holders.identities,
        clusterPrefixes: cidrs.prefixes,
        endpoints,
        ...(host !== null && { host: { set: host.set.key, audit: this.#auditMode } }),
        sets: allSets,
        frontends: frontends.frontends,
        uplinks: [...uplinks.values()].sort((a, b) => a.ifindex - b.ifindex),
      },
      identityOfPod: new Map([...pods].map(([key, { identity }]) => [key, identity])),
      identities: computedIdentities(identities),
      policies: computed,
      lastValid: this.#book.lastValid,
      problems: sortProblems([
        ...computed.flatMap((policy) => policy.problems),
        ...podIdentities.problems,
        ...cidrs.problems,
        ...holders.problems,
        ...frontends.problems,
        ...allSets.flatMap((set) => refusal(set)),
      ]),
    };
  }

  /** The same object as before, where the policy and the identities that it selects are. */
  #computedPolicy(
    policy: PolicyInForce,
    identities: PodIdentities["identities"],
    missing: readonly Problem[],
    guarded: readonly Problem[],
    ownNode: boolean,
  ): ComputedPolicy {
    const ids = new Set(policy.specs.flatMap(({ subject }) => this.#selectors.match(subject)));
    const selected = [...ids].flatMap((id) => identities.get(id) ?? []);
    const before = this.#reports.get(policy);
    if (
      before?.missing === missing &&
      before.guarded === guarded &&
      before.report.ownNode === ownNode &&
      before.selected.length === selected.length &&
      selected.every((each, at) => each === before.selected[at])
    ) {
      return before.report;
    }
    const { kind, namespace, name } = policy.row;
    const pods = selected.flatMap((identity) => identity.pods.map(({ key }) => key)).sort(compareText);
    const problems = [...policy.problems, ...missing, ...guarded];
    const report = { kind, namespace, name, valid: policy.valid, pods, ownNode, problems };
    this.#reports.set(policy, { selected, missing, guarded, report });
    return report;
  }
}

/** What policies refer to, of everything that is known. */
export function makeSurroundings(
  identities: PodIdentities["identities"],
  holders: AddressHolders,
  known: Pick<Surroundings, "selectors" | "services" | "groups" | "nodes" | "names"> &
    Pick<TableSnapshot, "endpointSlices">,
): Surroundings {
  const { endpointSlices, ...taken } = known;
  const podAddresses = new Set([...holders.addressesOf.values()].flat().map(({ text }) => text));
  const endpoints = endpointAddresses(endpointSlices);
  const peers = new Map<number, readonly PodPeer[]>();
  return {
    ...taken,
    podsOf: (id) => {
      const before = peers.get(id);
      if (before !== undefined) return before;
      const pods = (identities.get(id)?.pods ?? []).map(({ key, row }): PodPeer => {
        return { ports: row.ports, addresses: holders.addressesOf.get(key) ?? [] };
      });
      peers.set(id, pods);
      return pods;
    },
    // A pod that the slice names stays a pod.
    apiServer: (endpoints.get("default/kubernetes") ?? [])
      .filter(({ text }) => !podAddresses.has(text))
      .map((address) => hostBlock(address, false)),
    serviceBlocks: new Map([...endpoints].map(([name, each]) => [name, each.map((one) => hostBlock(one, true))])),
  };
}

const noProblems: readonly Problem[] = [];

function computedIdentities(identities: PodIdentities["identities"]): readonly ComputedIdentity[] {
  const reserved = reservedIdentities.map(({ id, labels }) => ({ id, labels, references: 0, reserved: true }));
  const used = [...identities.values()].map(({ id, texts, pods }) => {
    return { id, labels: texts, references: pods.length, reserved: false };
  });
  return [...reserved, ...used].sort((a, b) => a.id - b.id);
}

function refusal({ key, refused }: CompiledSet): readonly Problem[] {
  if (refused === null) return [];
  return [
    {
      code: "POLICY_TOO_MANY_GROUPS",
      severity: "error",
      object: `policy set ${key}`,
      field: "",
      message: `${refused}; its pods keep the last set that fitted, and are closed if there was none`,
      remedy: "write fewer different lists of ports in the policies of these pods",
    },
  ];
}

function sortProblems(problems: readonly Problem[]): readonly Problem[] {
  return [...problems].sort(
    (a, b) =>
      compareText(a.object, b.object) ||
      compareText(a.field, b.field) ||
      compareText(a.code, b.code) ||
      compareText(a.message, b.message),
  );
}
