/**
 * What becomes of a packet from outside to a service's address that nobody here translates: another port, a service without a backend, or no
 * program at all. The fabric sends the address here for as long as kube-router announces it, which it does from every node and without
 * looking at backends; the default route would send the packet back, and so on until it dies. An `unreachable` route of each address
 * answers instead, also while the agent is away, and also where the service is for other nodes alone.
 *
 * They are in a table of their own, and a rule for each uplink asks it for what comes in there, before the main table, where kube-router would replace a
 * route of ours. What the node itself sends never asks it: connections that kube-proxy or IPVS translates behind the
 * routing decision go on, and `ip route get` tells what it told. A rule is recognised by its priority and table, a route by protocol and table.
 */
import type { DesiredFrontend, DesiredIdentity, DesiredState } from "../compute/desired.ts";
import { DeltaTracker } from "../lib/delta-tracker.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { type Address, makePrefix, type Prefix } from "../model/ip.ts";
import type { Problem } from "../model/status.ts";
import type { UplinkRow } from "../model/tables.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { RuleRow } from "../native/netlink-contract.ts";
import type { Doubt } from "./comparison.ts";
import type { Counters } from "./map-table.ts";
import { type FrontendChanges, type RowChanges, rowChanges } from "./row-changes.ts";
import { type RouteFailure, type RouteNative, UnreachableRoutes } from "./unreachable-routes.ts";

/** Neither anybody's well-known table nor one of kube-router's (77 to 79). */
export const serviceTable = 15_800;
/** After what others put in front of their routes, before kube-router's rules and the main table (32766). */
export const servicePriority = 32_000;
const metric = 1024;
/** FR_ACT_TO_TBL (linux/fib_rules.h). */
const toTable = 1;
/** How many failures a message names. */
const named = 5;

export type ServiceRouteNative = RouteNative & Pick<NativeBinding, "rules">;

/** Addresses that services have, here or on other nodes alone. */
type Served = Pick<DesiredState, "frontends" | "elsewhere">;
type Identities = ReadonlyMap<string, DesiredIdentity>;

export class ServiceRoutes {
  readonly #native: ServiceRouteNative;
  readonly #routes: UnreachableRoutes;
  readonly #changes: FrontendChanges;
  readonly #rules = new DeltaTracker<RuleRow>(() => true);
  #frontends: readonly DesiredFrontend[] | null = null;
  #elsewhere: readonly Address[] = [];
  #identities: Identities = new Map();
  #wanted: ReadonlyMap<string, Prefix> = new Map();

  constructor(native: ServiceRouteNative, changes: FrontendChanges = rowChanges) {
    this.#native = native;
    this.#changes = changes;
    this.#routes = new UnreachableRoutes(native, { table: serviceTable, metric });
  }

  get counters(): Counters {
    return this.#routes.counters;
  }

  /** Takes what the kernel has as what is there. @returns how much of it was not as it was believed to be */
  async read(): Promise<number> {
    return (await this.readRules()) + (await this.#routes.read());
  }

  /** Of the routes, which are as many as addresses of services. */
  look(): Promise<Doubt | null> {
    return this.#routes.look();
  }

  /** These alone. @returns as `read` does */
  async readRules(): Promise<number> {
    const rules = new Map((await this.#native.rules(null)).filter(isServiceRule).map((rule) => [ruleKey(rule), rule]));
    const before = this.#rules.actual;
    const differing =
      [...rules.keys()].filter((key) => !before.has(key)).length +
      [...before.keys()].filter((key) => !rules.has(key)).length;
    this.#rules.replaceActual(rules);
    return differing;
  }

  /**
   * Routes first: a rule that finds an empty table changes nothing.
   * @param identities addresses of pods and nodes: those are never closed, whatever a service says
   */
  async apply(served: Served, identities: Identities, uplinks: readonly UplinkRow[]): Promise<readonly Problem[]> {
    const failures = [...(await this.#routes.apply(this.#addresses(served, identities)))];
    const rules = uplinks.flatMap(({ name }) => [serviceRule(4, name), serviceRule(6, name)]);
    this.#rules.replaceDesired(new Map(rules.map((rule) => [ruleKey(rule), rule])));
    failures.push(...(await this.#applyRules()));
    return problems(failures);
  }

  #addresses({ frontends, elsewhere = [] }: Served, identities: Identities): ReadonlyMap<string, Prefix> {
    const isHeld = ({ key }: { readonly key: string }) =>
      this.#wanted.has(`${key}/32`) || this.#wanted.has(`${key}/128`);
    // Identities change with every pod: what matters is whether a service's address came to be somebody's, or is no more.
    const moved = mapChanges(this.#identities, identities).some(
      (change) => isHeld(change) || (change.after === undefined && (change.before?.localNode || change.before?.node)),
    );
    this.#identities = identities;
    const before = this.#frontends;
    this.#frontends = frontends;
    const isSameElsewhere = textsOf(elsewhere) === textsOf(this.#elsewhere);
    this.#elsewhere = elsewhere;
    if (!moved && isSameElsewhere && before !== null && haveSameAddresses(this.#changes(before, frontends)))
      return this.#wanted;
    const prefixes = new Map<string, Prefix>();
    for (const address of [...frontends.map((each) => each.address), ...elsewhere]) {
      if (identities.has(address.text)) continue;
      const prefix = makePrefix(address, address.bytes.length * 8);
      prefixes.set(prefix.text, prefix);
    }
    this.#wanted = prefixes;
    return prefixes;
  }

  async #applyRules(): Promise<readonly RouteFailure[]> {
    const updates = this.#rules.pendingUpdates().map(([key, rule]) => ({ op: "add", key, rule }) as const);
    const deletions = this.#rules.pendingDeletions().flatMap((key) => {
      const rule = this.#rules.actual.get(key);
      return rule === undefined ? [] : [{ op: "delete", key, rule } as const];
    });
    const changes = [...updates, ...deletions];
    if (changes.length === 0) return [];
    const failures = new Map(
      (
        await this.#native.applyNetlink(
          null,
          changes.map(({ op, rule }) => ({ kind: "rule", op, rule })),
        )
      ).map((failure) => [failure.at, failure]),
    );
    return changes.flatMap(({ op, key, rule }, at): readonly RouteFailure[] => {
      const failure = failures.get(at);
      const isSo = failure === undefined || failure.code === (op === "add" ? "EEXIST" : "ENOENT");
      if (!isSo) {
        const reason = failure.log ?? failure.code;
        this.counters.failed(new Error(`${op} rule of ${rule.iif}: ${reason}`));
        return [{ op: op === "add" ? "replace" : "delete", prefix: `what comes in by ${rule.iif}`, reason }];
      }
      this.counters.writes++;
      if (op === "add") this.#rules.setActual(key, rule);
      else this.#rules.deleteActual(key);
      return [];
    });
  }
}

function textsOf(addresses: readonly Address[]): string {
  return addresses.map(({ text }) => text).join();
}

/** Backends come and go all the time; addresses of services do not. */
function haveSameAddresses({ gone, come }: RowChanges<DesiredFrontend>): boolean {
  const texts = (rows: readonly DesiredFrontend[]) => new Set(rows.map(({ address }) => address.text));
  const [left, here] = [texts(gone), texts(come)];
  return left.size === here.size && [...left].every((text) => here.has(text));
}

/** One of ours, of whichever uplink. */
export function isServiceRule({ priority, table }: RuleRow): boolean {
  return priority === servicePriority && table === serviceTable;
}

function serviceRule(family: 4 | 6, iif: string): RuleRow {
  return {
    family,
    priority: servicePriority,
    table: serviceTable,
    source: null,
    sourceLength: 0,
    mark: 0,
    mask: 0,
    iif,
    action: toTable,
  };
}

function ruleKey({ family, iif }: RuleRow): string {
  return `${family} ${iif}`;
}

function problems(failures: readonly RouteFailure[]): readonly Problem[] {
  const [first] = failures;
  if (first === undefined) return [];
  const more = failures.length > named ? ` and ${failures.length - named} more` : "";
  const which = failures.slice(0, named).map(({ prefix }) => prefix);
  return [
    {
      code: "SERVICE_ROUTE",
      severity: "warning",
      object: `routing table ${serviceTable}`,
      field: "",
      message: `it is not as it should be for ${which.join(", ")}${more}: packets from outside that no service takes may leave by the default route: ${first.reason}`,
      remedy: `it is tried again with the next change; see \`ip route show table ${serviceTable}\` and \`ip rule\``,
    },
  ];
}
