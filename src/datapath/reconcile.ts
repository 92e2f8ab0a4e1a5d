/**
 * Desired state to kernel, in an order in which no packet sees half of a change:
 *
 *  1. settings, and the way to the L7 proxy
 *  2. addresses and prefixes: who is who, before anybody is judged by it; addresses that nobody has go at once
 *     where pods' own addresses are known, and those in whose name the others leave, before a device is used
 *  3. new policy sets, whole, under new numbers that nobody uses yet; the proxy is told what they demand of requests
 *  4. devices, then programs on them: a pod is never open on a device without its programs
 *  5. endpoints: those that go, then those that change; one write per key switches set, revision and flags together; the node itself
 *  6. services: new tables, then the switch; then sockets that are connected to who has left
 *  7. what nothing refers to any more: tables (within 6), programs, devices, sets
 *  8. routes that close what of the node's pod CIDRs is no pod's, and service addresses for what nothing translates
 *
 * An entry that cannot be written is a problem of its own, stays dirty for the next time, and holds up nothing else.
 */
import type { AgentConfig } from "../config/index.ts";
import type { DesiredFrontend, DesiredState } from "../compute/desired.ts";
import { memo } from "../lib/memo.ts";
import type { Problem } from "../model/status.ts";
import type { NativeBinding } from "../native/contract.ts";
import { EndpointFlags, type MapName } from "../native/layouts.gen.ts";
import { Attachments, type Device } from "./attachments.ts";
import { ClosingRoutes, type RouteNative } from "./closing-routes.ts";
import type { Look, Turn } from "./comparison.ts";
import type { Conntrack } from "./conntrack.ts";
import { DeviceReconciler } from "./devices.ts";
import { type EndpointContext, EndpointReconciler, type HeldBack } from "./endpoints.ts";
import type { Capabilities } from "./features.ts";
import { HostReconciler } from "./host-endpoint.ts";
import { type IdentityChange, IdentityReconciler } from "./ipcache.ts";
import { type FlowNative, KernelFlows } from "./kernel-flows.ts";
import type { LoadedObjects } from "./load.ts";
import type { Counters, MapNative, MapTable } from "./map-table.ts";
import type { Nat } from "./nat.ts";
import { NativePrefixReconciler } from "./native-prefixes.ts";
import { NodePortReconciler } from "./node-ports.ts";
import type { Pins } from "./pins.ts";
import { ProxyRoutes } from "./proxy-routes.ts";
import { PolicySetReconciler } from "./policy-sets.ts";
import { type EntryFailure, entryProblems, isFull } from "./problems.ts";
import { type FrontendChanges, rowChanges } from "./row-changes.ts";
import { type Servability, servability } from "./servability.ts";
import { ServiceAddressReconciler } from "./service-addresses.ts";
import { type ServiceRouteNative, ServiceRoutes } from "./service-routes.ts";
import { ServiceReconciler } from "./services.ts";
import type { DemandsPublisher } from "./set-demands.ts";
import { SettingsReconciler } from "./settings.ts";
import { SocketHook } from "./socket-hook.ts";
import { type SocketNative, StaleSockets } from "./stale-sockets.ts";
import { mayTakeAway } from "./stale-verdicts.ts";
import { WireAttachments } from "./wire.ts";

type ReconcilerNative = MapNative &
  FlowNative &
  RouteNative &
  ServiceRouteNative &
  SocketNative &
  Pick<NativeBinding, "maglevTable" | "attachTc" | "detachTc" | "attachXdp" | "attachCgroup" | "unpin" | "links">;

export interface ReconcilerOptions {
  readonly native: ReconcilerNative;
  readonly config: Pick<AgentConfig, "traceFlows" | "cgroup" | "ipv4" | "ipv6" | "xdp">;
  readonly capabilities: Pick<Capabilities, "mode" | "peerNames" | "kernelConntrack">;
  readonly pins: Pins;
  readonly objects: Pick<LoadedObjects, "map" | "program" | "optionalProgram">;
  readonly demands: DemandsPublisher;
}

export class Reconciler {
  readonly settings: SettingsReconciler;
  readonly devices: DeviceReconciler;
  readonly identities: IdentityReconciler;
  readonly native: NativePrefixReconciler;
  readonly sets: PolicySetReconciler;
  readonly endpoints: EndpointReconciler;
  readonly host: HostReconciler;
  readonly services: ServiceReconciler;
  readonly nodePorts: NodePortReconciler;
  readonly serviceAddresses: ServiceAddressReconciler;
  readonly attachments: Attachments;
  readonly wire: WireAttachments;
  readonly closing: ClosingRoutes;
  readonly serviceRoutes: ServiceRoutes;
  readonly proxyRoutes: ProxyRoutes;
  readonly staleSockets: StaleSockets;
  readonly socket: SocketHook;
  /** null: programs ask the kernel themselves. */
  readonly kernelFlows: KernelFlows | null;
  readonly #options: ReconcilerOptions;
  /** Addresses that changed hands since all endpoints had a revision of afterwards. */
  #changes: IdentityChange[] = [];
  /** Not known which: every endpoint with a policy gets a new revision. */
  #anyChange = false;
  #socketProblems: readonly Problem[] = [];
  /** Some service is served since the start of this agent. */
  #serves = false;
  #servability: Servability = { all: null, addresses: new Map() };

  constructor(options: ReconcilerOptions) {
    const { native, config, capabilities, pins, objects, demands } = options;
    const map = (name: MapName) => objects.map(name);
    const program = (name: string) => objects.program(name);
    this.#options = options;
    this.settings = new SettingsReconciler(native, map("settings"));
    this.devices = new DeviceReconciler(native, map("device"));
    this.identities = new IdentityReconciler(native, map);
    this.native = new NativePrefixReconciler(native, map);
    this.sets = new PolicySetReconciler(native, map, (set) => demands.known(set));
    this.endpoints = new EndpointReconciler(native, map("endpoint"), map("endpoint_addr"));
    this.host = new HostReconciler(native, map("host_endpoint"), () => this.endpoints.nextRevision());
    const changes: FrontendChanges = memo(rowChanges<DesiredFrontend>);
    this.services = new ServiceReconciler(native, map, changes);
    this.nodePorts = new NodePortReconciler(native, map, changes);
    this.serviceAddresses = new ServiceAddressReconciler(native, map, changes);
    this.attachments = new Attachments({ native, pins, mode: capabilities.mode, program });
    this.wire = new WireAttachments({
      native,
      pins,
      xdp: config.xdp,
      program: () => objects.optionalProgram("from_wire"),
    });
    this.closing = new ClosingRoutes(native, config);
    this.serviceRoutes = new ServiceRoutes(native, changes);
    this.proxyRoutes = new ProxyRoutes(native, config);
    this.staleSockets = new StaleSockets(native, map("sock_reverse"), changes);
    this.kernelFlows = capabilities.kernelConntrack ? null : new KernelFlows(native, map("kernel_flow"));
    this.socket = new SocketHook({ native, pins, cgroup: config.cgroup, program, peerNames: capabilities.peerNames });
  }

  /** Of the last apply. */
  get servability(): Servability {
    return this.#servability;
  }

  /** By name, for reports. */
  counters(): readonly (readonly [string, Counters])[] {
    return [
      ["settings", this.settings.counters],
      ["identities", this.identities.counters],
      ["native prefixes", this.native.counters],
      ["policy sets", this.sets.counters],
      ["devices", this.devices.counters],
      ["programs", this.attachments.counters],
      ["xdp", this.wire.counters],
      ["endpoints", this.endpoints.counters],
      ["host", this.host.counters],
      ["services", this.services.counters],
      ["node ports", this.nodePorts.counters],
      ["service addresses", this.serviceAddresses.counters],
      ["socket", this.socket.counters],
      ["stale sockets", this.staleSockets.counters],
      ["closing routes", this.closing.counters],
      ["service routes", this.serviceRoutes.counters],
      ["proxy routes", this.proxyRoutes.counters],
      ...(this.kernelFlows === null ? [] : [["kernel flows", this.kernelFlows.counters] as const]),
    ];
  }

  /** Reads what is pinned: the point from which it goes on. */
  async readAll(conntrack: Pick<Conntrack, "highest">, nat: Pick<Nat, "highestTable">): Promise<void> {
    await readParts([...this.#smallParts(), ...this.#largeParts()]);
    this.sets.reserve(this.#options.demands.highest);
    const { revision, table } = await conntrack.highest();
    this.endpoints.reserveRevision(revision);
    this.services.reserve(Math.max(table, await nat.highestTable()));
    this.#anyChange = await this.#options.pins.isUnsettled();
    for (const [, counters] of this.counters()) counters.repaired = 0; // the first reading repaired nothing
  }

  /** Gives every link that is attached the programs of this version. */
  async replacePrograms(): Promise<readonly Problem[]> {
    const known: Device[] = [
      ...this.endpoints.known().map(({ ifindex }) => ({ kind: "pod", ifindex, name: `ifindex ${ifindex}` }) as const),
      ...this.devices.known().map((ifindex) => ({ kind: "uplink", ifindex, name: `ifindex ${ifindex}` }) as const),
    ];
    const problems = await this.attachments.replaceAll(known);
    await this.wire.replaceAll();
    this.#socketProblems = await this.socket.attach();
    return [...problems, ...this.#socketProblems];
  }

  /** @returns what could not be done */
  async apply(desired: DesiredState): Promise<readonly Problem[]> {
    const { config, pins } = this.#options;
    const failures: EntryFailure[] = [...(await this.settings.apply(config.traceFlows))];
    const proxy = await this.proxyRoutes.apply();

    if (this.identities.want(desired.identities, desired.clusterPrefixes)) await pins.markUnsettled();
    const identities = await this.identities.write();
    failures.push(...identities.failures);
    this.#changes.push(...identities.addresses);
    this.#anyChange ||= identities.prefixes;
    failures.push(...(await this.native.apply(desired.nativePrefixes, desired.deviceSources)));

    const first = await this.#applyPolicies(desired);
    const begins = !this.#serves && desired.frontends.length > 0;
    if (begins) await this.kernelFlows?.copy();
    failures.push(...(await this.services.apply(desired.frontends)));
    failures.push(...(await this.nodePorts.apply(desired.frontends)));
    if (begins) await this.kernelFlows?.copy();
    this.#serves = desired.frontends.length > 0;
    failures.push(...(await this.serviceAddresses.apply(desired.frontends)));
    await this.staleSockets.apply(desired.frontends, new Set(desired.endpoints.map(({ row }) => row.netns)));
    const xdp = await this.wire.apply(desired.uplinks);
    await this.attachments.detach();
    failures.push(...(await this.devices.remove()));
    const room = await this.sets.remove(this.#usedSets());
    // Old sets went last: where there was no room for new ones, there may be now.
    const again = room && first.failures.some(({ error }) => isFull(error));
    const policies = again ? await this.#applyPolicies(desired) : first;
    if (again) await this.sets.remove(this.#usedSets());
    await this.#options.demands.publish(this.sets.demands, false);
    const closing = [
      ...(await this.closing.apply(desired.podCidrs)),
      ...(await this.serviceRoutes.apply(desired, desired.identities, desired.uplinks)),
    ];

    if (policies.settled) {
      this.#changes = [];
      this.#anyChange = false;
      this.sets.forgetLessened();
      await pins.clearUnsettled();
    }
    this.#servability = servability(
      [...failures, ...policies.failures],
      // Through tunnels come other nodes' pods, not clients from outside.
      desired.uplinks.filter(({ ifindex, l3 }) => !l3 && !this.attachments.isAttached("uplink", ifindex)),
    );
    return [
      ...proxy,
      ...this.#socketProblems,
      ...(this.kernelFlows?.problems ?? []),
      ...entryProblems([...failures, ...policies.failures]),
      ...policies.problems,
      ...xdp,
      ...policies.heldBack.flatMap((each) => heldBackProblem(each)),
      ...closing,
    ];
  }

  /**
   * Compares what is there with what was written; changes go on meanwhile, and wait for what is small or differs.
   * @returns true if something differed and has to be written again
   */
  async verify(turn: Turn): Promise<boolean> {
    let differing = await turn(() => readParts(this.#smallParts()));
    for (const { look, ...part } of this.#largeParts()) {
      const doubt = await look();
      if (doubt !== null) differing += await turn(async () => (doubt() ? readParts([part]) : 0));
    }
    differing += await turn(async () => {
      const links = await this.attachments.verify();
      this.attachments.counters.repaired += links;
      const wires = await this.wire.verify();
      this.wire.counters.repaired += wires;
      const sockets = await this.socket.verify();
      this.socket.counters.repaired += sockets;
      return links + wires;
    });
    return differing > 0;
  }

  /** In the order in which they are read. */
  #smallParts(): readonly Part[] {
    const { settings, identities, native, sets, devices, endpoints, host, services, kernelFlows } = this;
    const reads = (tables: readonly MapTable[]) => tables.map((table) => () => table.read());
    const readHost = async () => {
      const differing = await host.table.read();
      endpoints.reserveRevision(host.known().policyRevision);
      return differing;
    };
    return [
      { counters: settings.counters, reads: reads([settings.table]) },
      { counters: identities.counters, reads: reads(identities.prefixTables) },
      { counters: native.counters, reads: reads(native.tables) },
      { counters: sets.counters, reads: [() => sets.read()] },
      { counters: devices.counters, reads: reads([devices.table]) },
      { counters: endpoints.counters, reads: [() => endpoints.read()] },
      { counters: host.counters, reads: [readHost] },
      { counters: services.counters, reads: [() => services.readSourceRanges()] },
      ...(kernelFlows === null ? [] : [{ counters: kernelFlows.counters, reads: reads([kernelFlows.table]) }]),
      { counters: this.closing.counters, reads: [() => this.closing.read()] },
      { counters: this.serviceRoutes.counters, reads: [() => this.serviceRoutes.readRules()] },
      { counters: this.proxyRoutes.counters, reads: [() => this.proxyRoutes.read()] },
    ];
  }

  /** Those that have entries for each pod or service of the cluster. */
  #largeParts(): readonly LargePart[] {
    const { identities, services, nodePorts, serviceAddresses, serviceRoutes } = this;
    const ofTable = (counters: Counters, table: Pick<MapTable, "look" | "read">): LargePart => {
      return { counters, look: () => table.look(), reads: [() => table.read()] };
    };
    return [
      ...identities.addressTables.map((table) => ofTable(identities.counters, table)),
      ofTable(services.counters, services),
      ofTable(nodePorts.counters, nodePorts),
      ofTable(serviceAddresses.counters, serviceAddresses),
      ofTable(serviceRoutes.counters, serviceRoutes),
    ];
  }

  #usedSets(): ReadonlySet<number> {
    return new Set([...this.endpoints.usedSets(), this.host.known().policySet]);
  }

  /** Sets, devices, programs, endpoints. `settled`: every endpoint that should have another revision has it. */
  async #applyPolicies(desired: DesiredState): Promise<{
    readonly failures: readonly EntryFailure[];
    readonly problems: readonly Problem[];
    readonly heldBack: readonly HeldBack[];
    readonly settled: boolean;
  }> {
    const sets = new Map(desired.sets.map((set) => [set.key, set]));
    const keys = [...desired.endpoints.map(({ set }) => set), desired.host?.set ?? null];
    const used = new Set(keys.flatMap((key) => (key === null ? [] : (sets.get(key) ?? []))));
    const failures = [
      ...(await this.sets.write(
        [...used].filter(({ refused }) => refused === null),
        () => this.#options.pins.markUnsettled(),
      )),
    ];
    await this.#options.demands.publish(this.sets.demands, true);
    failures.push(...(await this.devices.write(desired.uplinks)));
    const problems = await this.attachments.attach([
      ...desired.uplinks.map(({ ifindex, name }) => ({ kind: "uplink", ifindex, name }) as const),
      ...desired.endpoints.map(({ row }) => ({ kind: "pod", ifindex: row.ifindex, name: `Pod ${row.pod}` }) as const),
    ]);
    const context: EndpointContext = {
      sets,
      numberOf: (set) => this.sets.numberOf(set),
      isAttached: (ifindex) => this.attachments.isAttached("pod", ifindex),
      isStale: this.#staleness(),
    };
    const endpoints = await this.endpoints.apply(desired.endpoints, context);
    const host = await this.host.apply(desired.host, context);
    failures.push(...endpoints.failures, ...host.failures);
    return {
      failures,
      problems: [...problems, ...host.problems],
      heldBack: endpoints.heldBack,
      settled: endpoints.failures.length + host.failures.length === 0,
    };
  }

  #staleness(): EndpointContext["isStale"] {
    const changes = this.#changes;
    const bySet = new Map<number, boolean>();
    return (number, flags) => {
      if ((flags & (EndpointFlags.policyEgress | EndpointFlags.policyIngress)) === 0) return false;
      if (this.#anyChange || this.sets.isLessened(number)) return true;
      if (changes.length === 0) return false;
      const known = bySet.get(number);
      if (known !== undefined) return known;
      const compiled = this.sets.compiledOf(number);
      const stale = compiled === null || mayTakeAway(compiled, changes);
      bySet.set(number, stale);
      return stale;
    };
  }
}

/** What is read together. */
interface Part {
  readonly counters: Counters;
  readonly reads: readonly (() => Promise<number>)[];
}

interface LargePart extends Part {
  readonly look: Look;
}

/** @returns how much was not as it was believed to be */
async function readParts(parts: readonly Part[]): Promise<number> {
  let sum = 0;
  for (const { counters, reads } of parts) {
    for (const read of reads) {
      const differing = await read();
      counters.repaired += differing;
      sum += differing;
    }
  }
  return sum;
}

function heldBackProblem({ pod, kept, reason, detail }: HeldBack): readonly Problem[] {
  // A pod that is not known yet is no fault; what could not be attached was told where it failed.
  if (reason === "unknown" || reason === "not-attached") return [];
  const now = kept ? "it keeps the policy that it had" : "it stays closed";
  return [
    {
      code: reason === "refused" ? "POLICY_REFUSED" : "POLICY_NOT_WRITTEN",
      severity: "error",
      object: `Pod ${pod}`,
      field: "",
      message: `its policy is not in the kernel: ${detail}; ${now}`,
      remedy: reason === "refused" ? "merge or remove rules that select this pod" : "see the problem of that map",
    },
  ];
}
