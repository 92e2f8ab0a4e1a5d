/**
 * Facts in, desired state out. Pure but for four memories: what was computed before (only to be quick: a fresh computation gives the
 * same answer), the numbers of identities (the allocator's), the last valid version of each policy (`book.ts`), and what a pod was
 * before its labels changed, for as long as the number of the new ones is on its way (`pods.ts`).
 */
import { compareText } from "../model/labels.ts";
import type { Problem } from "../model/status.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { CompiledSet, DesiredEndpoint } from "./desired.ts";
import { closedCidrs } from "./closed-cidrs.ts";
import { deviceSources } from "./device-sources.ts";
import { AddressBook, podOfEndpoint } from "./identity/addresses.ts";
import { podCidrsOf } from "./identity/pod-cidrs.ts";
import { PodIdentifier } from "./identity/pods.ts";
import { identityNumbers } from "./identity/reserved.ts";
import { memo } from "../lib/memo.ts";
import { NativePrefixes } from "./native-prefixes.ts";
import { NamedSets } from "./names/named-sets.ts";
import { type Policies, PolicyBook } from "./policy/book.ts";
import { missingGroups } from "./policy/groups.ts";
import { type HostSet, HostSetCompiler } from "./policy/host-sets.ts";
import { NamedLabels } from "./policy/named-labels.ts";
import { SetCompiler } from "./policy/sets.ts";
import { nodePeers } from "./policy/surroundings.ts";
import { SurroundingsIndex } from "./policy/surroundings-index.ts";
import { Reports } from "./reports.ts";
import type { Computation, ComputationOptions, ComputeResult } from "./result.ts";
import type { ServiceSettings } from "./services/candidates.ts";
import { createFrontends } from "./services/index.ts";
import { unreachableNodes } from "./services/unreachable.ts";

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
  readonly #nodeName: string;
  readonly #serviceSettings: ServiceSettings;
  readonly #auditMode: boolean;
  readonly #book: PolicyBook;
  readonly #pods: PodIdentifier;
  readonly #addresses: AddressBook;
  readonly #named = new NamedLabels();
  readonly #known = new SurroundingsIndex();
  readonly #sets: SetCompiler;
  /** Null: nothing is enforced. */
  readonly #hostSets: HostSetCompiler | null;
  readonly #namedSets: NamedSets;
  readonly #frontends = createFrontends();
  readonly #services: ComputationOptions["services"];
  readonly #native: NativePrefixes;
  readonly #cidrs = memo(podCidrsOf);
  readonly #closed = memo(closedCidrs);
  readonly #missing = memo(missingGroups);
  readonly #nodePeers = memo(nodePeers);
  readonly #problems = memo(sortedProblems);
  readonly #unreachable = memo(unreachableNodes);
  readonly #healthActs: boolean;

  constructor(options: ComputationOptions) {
    const { nodeName, identities, policyEnforcement, policyAuditMode, allowLockout, masquerade, lastValid } = options;
    this.#nodeName = nodeName;
    const { loadBalancerMode = "snat", serviceSelection = "random", externalClusterIps = false } = options;
    this.#serviceSettings = { loadBalancerMode, serviceSelection, externalClusterIps };
    this.#auditMode = policyAuditMode ?? false;
    this.#healthActs = options.healthActs ?? false;
    this.#services = options.services;
    this.#book = new PolicyBook(lastValid ?? new Map());
    this.#pods = new PodIdentifier(identities);
    this.#addresses = new AddressBook(nodeName);
    this.#sets = new SetCompiler(policyEnforcement, options.visibility ?? true);
    this.#namedSets = new NamedSets({ perEndpoint: options.namesPerEndpoint ?? false });
    this.#native = new NativePrefixes({ families: masquerade ?? new Set() });
    this.#hostSets = policyEnforcement === "never" ? null : new HostSetCompiler(allowLockout ?? false);
  }

  compute(snapshot: TableSnapshot): ComputeResult {
    const { nodes, services, endpointSlices, localEndpoints, localAddresses, uplinks, cidrGroups, names } = snapshot;
    const policies = this.#book.read(snapshot.policies);
    const named = this.#named.update(policies, services);
    const identities = this.#pods.identify(snapshot.pods, snapshot.namespaces, named);
    const { pods } = identities;
    const cidrs = this.#cidrs(nodes);
    const holders = this.#addresses.update({ pods, nodes, localEndpoints, localAddresses });
    const frontends = this.#frontends(
      { services, endpointSlices, pods: snapshot.pods, nodes },
      {
        nodeName: this.#nodeName,
        ...this.#serviceSettings,
        ...(this.#services !== undefined && { rules: this.#services }),
        ...(this.#healthActs && { unreachable: this.#unreachable(snapshot.nodeHealth) }),
      },
    );
    const surroundings = this.#known.update({
      identities,
      holders,
      services,
      endpointSlices,
      cidrGroups,
      nodes: this.#nodePeers(nodes, this.#nodeName),
    });
    const local = [...localEndpoints.values()].sort((a, b) => a.id - b.id || compareText(a.containerId, b.containerId));
    const localFacts = local.map((row) => podOfEndpoint(row, pods));
    const { sets, setOf } = this.#sets.compile(
      localFacts.flatMap((fact) => fact ?? []),
      policies.all,
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
    const ownNode = nodes.get(this.#nodeName) ?? null;
    const host =
      this.#hostSets?.compile({ node: ownNode, policies: policies.ofNodes, surroundings, endpointSlices }) ?? null;
    const filled = this.#namedSets.fill(host === null ? sets : [...sets, host.set], endpoints, names);
    const missing = this.#missing(policies.withGroups, cidrGroups);
    const closed = this.#closed(this.#nodeName, nodes, snapshot.routes, uplinks);
    const refused = filled.sets.filter((set) => set.refused !== null);
    const reports = new Reports({ policies: policies.all, identities, missing, host });
    return {
      desired: {
        identities: holders.identities,
        clusterPrefixes: cidrs.prefixes,
        endpoints: filled.endpoints,
        ...(host !== null && { host: { set: host.set.key, audit: this.#auditMode } }),
        sets: filled.sets,
        frontends: frontends.frontends,
        healthChecks: frontends.healthChecks,
        ...(frontends.elsewhere && { elsewhere: frontends.elsewhere }),
        uplinks: [...uplinks.values()].sort((a, b) => a.ifindex - b.ifindex),
        nativePrefixes: this.#native.update(snapshot),
        deviceSources: deviceSources(snapshot, ownNode),
        ...(closed.prefixes !== undefined && { podCidrs: closed.prefixes }),
      },
      identityOfPod: identities.identityOfPod,
      identitiesInUse: identities.identities,
      get identities() {
        return reports.identities;
      },
      get policies() {
        return reports.policies;
      },
      lastValid: this.#book.lastValid,
      problems: this.#problems(
        policies.withProblems,
        missing,
        host?.problems ?? noneGuarded,
        identities.problems,
        cidrs.problems,
        closed.problems,
        holders.problems,
        frontends.problems,
        refused.length === 0 ? noneRefused : refused,
      ),
    };
  }
}

const noneGuarded: HostSet["problems"] = [];
const noneRefused: readonly CompiledSet[] = [];

/** Everything that could not be taken as it was written. */
function sortedProblems(
  policies: Policies["withProblems"],
  missing: ReturnType<typeof missingGroups>,
  guarded: HostSet["problems"],
  ofPods: readonly Problem[],
  ofCidrs: readonly Problem[],
  ofClosed: readonly Problem[],
  ofAddresses: readonly Problem[],
  ofServices: readonly Problem[],
  refused: readonly CompiledSet[],
): readonly Problem[] {
  return [
    ...policies.flatMap(({ problems }) => problems),
    ...[...missing.values()].flat(),
    ...guarded.flatMap(([, problems]) => problems),
    ...ofPods,
    ...ofCidrs,
    ...ofClosed,
    ...ofAddresses,
    ...ofServices,
    ...refused.map(refusal),
  ].sort(
    (a, b) =>
      compareText(a.object, b.object) ||
      compareText(a.field, b.field) ||
      compareText(a.code, b.code) ||
      compareText(a.message, b.message),
  );
}

function refusal({ key, refused }: CompiledSet): Problem {
  return {
    code: "POLICY_TOO_MANY_GROUPS",
    severity: "error",
    object: `policy set ${key}`,
    field: "",
    message: `${refused}; its pods keep the last set that fitted, and are closed if there was none`,
    remedy: "write fewer different lists of ports in the policies of these pods",
  };
}
