/**
 * The `nodeHealth` source: whether each other node answers over the data path, long before BGP's hold timer says that it does not. It asks by the
 * addon's prober; what begins or ends to answer is a row, how well it answers is in the report.
 *
 * A node that is reached over a route of kube-router's with BGP up, and does not answer, is what nobody else sees: a link that drops, a firewall, a
 * neighbour that is hung. It acts on nothing: whoever reads the table does.
 */
import { getSystemErrorName } from "node:util";
import type { AgentConfig } from "../../config/index.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Address } from "../../model/ip.ts";
import type { NodeHealthReport, ProbeTotals } from "../../model/node-health.ts";
import { routeFinder } from "../../model/route-lookup.ts";
import type { ConditionSink } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import type { TableName } from "../../model/tables.ts";
import type { Handle } from "../../native/handle.ts";
import {
  packRequests,
  type ProbeAnswer,
  type ProbeBinding,
  type ProbeRequest,
  readAnswers,
} from "../../native/probe-contract.ts";
import { isOf, type Probed, type Sized, takeSized, tellerOf } from "./answers.ts";
import { NodeProbe } from "./node-probe.ts";
import { missMs, type Moment, type PathProbe } from "./path-probe.ts";
import { pathsTo } from "./paths.ts";
import { PodAddressIndex } from "./pod-addresses.ts";
import { Totals } from "./totals.ts";
import { type Watched, Watching } from "./watching.ts";

/** ms between two looks at what is due. */
const tickMs = 100;
/** And while the addon watches all that there is. */
const idleMs = 500;
/** ms between two readings of changed tables. */
const readMs = 1_000;
/** ms over which the first questions to each node are spread; never more than an interval. */
const spreadMsOfNode = 20;
/** With more nodes they are asked less often, so that all of them together cost the same. */
const nodesOfInterval = 600;
/** ms before a port or socket that could not be had is tried again. */
const reopenMs = 30_000;
/** Tables that say which paths there are. */
const tablesOfPaths: ReadonlySet<TableName> = new Set<TableName>(["nodes", "routes", "uplinks"]);

export interface HealthSourceOptions {
  readonly native: ProbeBinding;
  readonly config: Pick<AgentConfig, "nodeName" | "ipv4" | "ipv6" | "healthProbe" | "healthInterval" | "healthPort">;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly clock: Clock;
  /** Namespace to probe from; null: the agent's own. */
  readonly netns?: string | null;
  readonly random?: () => number;
}

/** A question that waits for its answer, or for a late one. */
interface Asked extends Probed {
  readonly sentMs: number;
  /** Another address than the path's own was asked in its place. */
  readonly elsewhere: boolean;
  readonly sized: Sized | null;
}

export class HealthSource {
  readonly #options: HealthSourceOptions;
  readonly #random: () => number;
  readonly #pods: PodAddressIndex;
  readonly #nodes = new Map<string, NodeProbe>();
  /** Of these some path is asked from here. */
  readonly #restless = new Set<NodeProbe>();
  readonly #watching: Watching;
  readonly #totals = new Totals();
  /** By sequence number. */
  readonly #asked = new Map<number, Asked>();
  #sequence = 0;
  #intervalMs = 0;
  #handle: Handle | null = null;
  #reopenMs = Number.POSITIVE_INFINITY;
  #timer: Timer | null = null;
  /** The timer is one of `idleMs`. */
  #isIdle = false;
  #readAtMs = 0;
  #changed = true;
  #stopped = false;
  #unsubscribe: () => void = () => undefined;

  constructor(options: HealthSourceOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#pods = new PodAddressIndex(options.store, options.clock);
    this.#watching = new Watching(options.native, options.config.healthPort);
  }

  /** Once the cluster was seen. Until `stop`. */
  start(): void {
    const { config, store } = this.#options;
    if (!config.healthProbe) return;
    this.#open();
    this.#unsubscribe = store.onChange(({ table }) => {
      if (tablesOfPaths.has(table)) this.#changed = true;
    });
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    if (this.#handle !== null) await this.#options.native.closeProber(this.#handle);
    this.#handle = null;
  }

  /** By name of the node. */
  report(): readonly NodeHealthReport[] {
    if (this.#handle !== null) this.#watching.refresh(this.#handle, this.#now());
    return [...this.#nodes.values()].map((node) => node.report()).sort((a, b) => (a.node < b.node ? -1 : 1));
  }

  /** Of all nodes, those that are gone as well. */
  totals(): readonly ProbeTotals[] {
    if (this.#handle !== null) this.#watching.refresh(this.#handle, this.#now());
    return this.#totals.all;
  }

  /** Without the port other nodes are told that no agent is here, and this one asks all the same. */
  #open(): void {
    const { native, config, conditions, clock, netns = null } = this.#options;
    this.#reopenMs = Number.POSITIVE_INFINITY;
    const failures: [string, number][] = [];
    for (const port of config.healthPort === 0 ? [0] : [config.healthPort, 0]) {
      try {
        this.#handle = native.openProber(netns, port, (answers) => this.#take(readAnswers(answers)));
        break;
      } catch (error) {
        failures.push([messageOf(error), port]);
      }
    }
    if (failures.length > 0) this.#reopenMs = clock.monotonicMs() + reopenMs;
    conditions.report(
      "health-socket",
      failures.map(([message, port]) => ({
        code: port === 0 ? "HEALTH_SOCKET" : "HEALTH_PORT",
        severity: "warning",
        object: port === 0 ? "node health" : `TCP port ${port}`,
        field: port === 0 ? "healthProbe" : "healthPort",
        message:
          port === 0 ? `other nodes cannot be probed: ${message}` : `other nodes' probes are refused here: ${message}`,
        remedy:
          port === 0
            ? "give the agent CAP_NET_RAW, or switch healthProbe off; it is tried again"
            : "see who has the port (ss -tlnp), or use another on all nodes; it is tried again",
      })),
    );
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#isIdle = this.#restless.size === 0 && this.#asked.size === 0;
    this.#timer = this.#options.clock.setTimer(this.#isIdle ? idleMs : tickMs, () => {
      this.#isIdle = false;
      // A late timer comes before the answers that waited as long as it did: they are heard first.
      setImmediate(() => {
        this.#tick();
        this.#schedule();
      });
    });
  }

  #tick(): void {
    if (this.#stopped) return;
    const now = this.#now();
    if (now.monotonicMs >= this.#reopenMs) void this.#reopen();
    if (this.#changed && now.monotonicMs >= this.#readAtMs) this.#read(now);
    this.#forget(now);
    if (this.#handle === null) return;
    const requests: ProbeRequest[] = [];
    for (const node of this.#restless) {
      if (node.wakeMs <= now.monotonicMs) this.#ask(node, now, requests);
      if (node.wakeMs === Number.POSITIVE_INFINITY) this.#restless.delete(node);
    }
    this.#watching.flush(this.#handle);
    if (requests.length > 0) this.#options.native.probe(this.#handle, packRequests(requests));
  }

  #ask(node: NodeProbe, now: Moment, requests: ProbeRequest[]): void {
    for (const path of node.paths) {
      if (path.isOverdue(now) && node.missed(path, now, null)) this.#write(node, now);
    }
    for (const { mtu, path } of node.sized()) {
      const bytes = mtu.next(now);
      if (bytes === null) continue;
      requests.push(this.#request(node, path, now, { mtu, bytes }));
      // Whether small ones pass at the same time.
      path.revive(now);
    }
    for (const path of node.paths) {
      if (!path.isDue(now)) continue;
      const request = this.#request(node, path, now, null);
      requests.push(request);
      path.asked(now, request.sequence);
    }
    node.rest();
  }

  async #reopen(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    this.#reopenMs = Number.POSITIVE_INFINITY;
    if (handle !== null) {
      this.#watching.recallAll(handle, this.#now());
      for (const node of this.#nodes.values()) this.#disturb(node);
      await this.#options.native.closeProber(handle);
    }
    if (!this.#stopped) this.#open();
  }

  #request(node: NodeProbe, path: PathProbe, now: Moment, sized: Asked["sized"]): ProbeRequest {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const other = sized === null ? this.#otherAddress(node, path) : null;
    this.#asked.set(this.#sequence, { node, path, sentMs: now.monotonicMs, elsewhere: other !== null, sized });
    const { kind, address, device } = path.path;
    return {
      kind: kind === "tcp" ? "tcp" : "icmp",
      sequence: this.#sequence,
      address: (other ?? address).bytes,
      port: this.#options.config.healthPort,
      size: sized?.bytes ?? 0,
      ifindex: device?.ifindex ?? 0,
    };
  }

  /** A host tells of few addresses a second that nobody is there: before it is called silent one of its pods is asked. */
  #otherAddress(node: NodeProbe, { path, misses }: PathProbe): Address | null {
    if (path.kind !== "pods" || misses === 0 || misses % 2 === 1) return null;
    return this.#pods.of(node.node, path.address.family);
  }

  #take(answers: readonly ProbeAnswer[]): void {
    const now = this.#now();
    for (const answer of answers) {
      if (answer.watch !== 0) {
        this.#takeWatched(answer, now);
        continue;
      }
      const asked = this.#asked.get(answer.sequence);
      if (asked === undefined || this.#nodes.get(asked.node.node.name) !== asked.node) continue;
      this.#asked.delete(answer.sequence);
      const { node, path, sized } = asked;
      // Given up before: that miss has been counted.
      const waits = path.waitsFor(answer.sequence);
      const isOther =
        sized === null ? this.#takeSmall(asked, answer, waits, now) : takeSized(asked, sized, answer, now);
      if (sized === null && !asked.elsewhere) path.expected = { event: answer.event, from: answer.from.slice() };
      this.#watching.offer(node, path, now);
      if (isOther) this.#write(node, now);
      this.#disturb(node);
    }
    if (this.#handle !== null) this.#watching.flush(this.#handle);
  }

  /** A watch has ended, or had: what it did not expect is taken as if it was asked from here, and all of its node are asked from here for a while. */
  #takeWatched(answer: ProbeAnswer, now: Moment): void {
    const watched = this.#watching.of(answer.watch);
    if (watched === undefined || this.#handle === null) return;
    const { node, path } = watched;
    if (this.#nodes.get(node.node.name) !== node) return;
    const isLate = watched.endedMs !== null;
    if (!isLate) this.#watching.recall(this.#handle, answer.large ? [path] : node.paths, now);
    if (answer.large) this.#takeLarge(watched, answer, now);
    else if (answer.event !== "silent") this.#takeSmall(watched, answer, !isLate, now);
    else if (!isLate) {
      path.lapsed(now);
      node.missed(path, now, null);
    }
    this.#write(node, now);
    this.#disturb(node);
  }

  /** The watch's packet of size was lost, or somebody says that it is too large; or the path itself is silent, which a small one shows. */
  #takeLarge({ node, path }: Watched, answer: ProbeAnswer, now: Moment): void {
    const mtu = node.sizedBy(path);
    if (mtu === null) return;
    if (answer.event === "silent") mtu.retry(now);
    else takeSized({ node, path }, { mtu, bytes: mtu.claimed }, answer, now);
    path.revive(now);
  }

  /** Something of it is to be asked from here. */
  #disturb(node: NodeProbe): void {
    node.wake();
    this.#restless.add(node);
    if (!this.#isIdle) return;
    this.#timer?.cancel();
    this.#schedule();
  }

  /** @returns whether the row may be another */
  #takeSmall({ node, path }: Probed, answer: ProbeAnswer, waits: boolean, now: Moment): boolean {
    const { event, rttUs, value } = answer;
    const missed = (told: string) => waits && node.missed(path, now, told);
    switch (event) {
      case "reply":
      case "accepted":
        return node.answered(path, now, rttUs, null);
      case "refused":
        return node.answered(path, now, rttUs, "nobody listens at the port: no agent is there");
      case "unreachable": {
        if (isOf(node, path, answer)) return node.answered(path, now, rttUs, null);
        return missed(`${tellerOf(path, answer).text} says that it is unreachable`);
      }
      case "too_large":
      case "silent":
        return false;
      case "failed":
        return missed(`it cannot be asked: ${getSystemErrorName(-value)}`);
    }
  }

  /** Questions whose answer would be too late for anything; of a size they are failures of that size. */
  #forget(now: Moment): void {
    this.#watching.forget(now);
    for (const [sequence, { node, path, sentMs, sized }] of this.#asked) {
      const age = now.monotonicMs - sentMs;
      if (age < (sized === null ? 5 * missMs : missMs)) {
        if (age < missMs) return;
        continue;
      }
      this.#asked.delete(sequence);
      if (sized === null) continue;
      const answeredMs = path.answeredMs ?? 0;
      if (path.misses === 0 && answeredMs >= now.wallMs - age) sized.mtu.missed(sized.bytes, 0, now);
      else sized.mtu.unsure(now);
      this.#disturb(node);
      this.#write(node, now);
    }
  }

  #read(now: Moment): void {
    const { store, config } = this.#options;
    this.#changed = false;
    this.#readAtMs = now.monotonicMs + readMs;
    const nodes = store.table("nodes");
    const facts = {
      routeTo: routeFinder(store.table("routes")),
      uplinks: store.table("uplinks"),
      families: new Set<4 | 6>([...(config.ipv4 ? [4 as const] : []), ...(config.ipv6 ? [6 as const] : [])]),
      tcp: config.healthPort !== 0,
    };
    const recall = (probe: NodeProbe) => {
      if (this.#handle !== null) this.#watching.recall(this.#handle, probe.paths, now);
    };
    for (const [name, probe] of this.#nodes) {
      if (nodes.has(name) && name !== config.nodeName) continue;
      recall(probe);
      this.#restless.delete(probe);
      this.#nodes.delete(name);
      store.delete("nodeHealth", name);
    }
    const intervalMs = config.healthInterval * 1000 * Math.max(1, nodes.size / nodesOfInterval);
    const isPaced = this.#intervalMs === intervalMs;
    this.#intervalMs = intervalMs;
    const pace = { intervalMs: () => this.#intervalMs, random: this.#random, totals: this.#totals };
    const spreadMs = Math.min(this.#intervalMs, nodes.size * spreadMsOfNode);
    for (const node of nodes.values()) {
      if (node.name === config.nodeName) continue;
      const probe = this.#nodes.get(node.name) ?? new NodeProbe(node, pace, now);
      this.#nodes.set(node.name, probe);
      const paths = pathsTo(node, facts);
      if (probe.differs(paths)) recall(probe);
      probe.update(node, paths, now, spreadMs);
      this.#restless.add(probe);
      this.#write(probe, now);
    }
    if (!isPaced) this.#watching.repace(now);
  }

  #write(node: NodeProbe, now: Moment): void {
    // A node without any way to it is told of by its routes.
    this.#options.store.upsert("nodeHealth", node.node.name, node.row(now));
  }

  #now(): Moment {
    const { clock } = this.#options;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
  }
}
