/**
 * The `nodeHealth` source: whether each other node answers over the data path, long before BGP's hold timer says that it does not. It asks by the
 * addon's prober; what begins or ends to answer is a row, how well it answers is in the report.
 *
 * A node that is reached over a route of kube-router's with BGP up, and does not answer, is what nobody else sees: a link that drops, a firewall, a
 * neighbour that is hung. It acts on nothing: whoever reads the table does.
 */
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import type { AgentConfig } from "../../config/index.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { addressFromBytes, type Address, prefixContains } from "../../model/ip.ts";
import type { NodeHealthReport } from "../../model/node-health.ts";
import { routeFinder } from "../../model/route-lookup.ts";
import type { ConditionSink } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import type { TableName } from "../../model/tables.ts";
import type { Handle } from "../../native/contract.ts";
import {
  packRequests,
  type ProbeAnswer,
  type ProbeBinding,
  type ProbeRequest,
  readAnswers,
} from "../../native/probe-contract.ts";
import type { MtuProbe } from "./mtu-probe.ts";
import { NodeProbe } from "./node-probe.ts";
import { missMs, type Moment, type PathProbe } from "./path-probe.ts";
import { pathsTo } from "./paths.ts";
import { PodAddressIndex } from "./pod-addresses.ts";

/** ms between two looks at what is due. */
const tickMs = 100;
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
interface Asked {
  readonly node: NodeProbe;
  readonly path: PathProbe;
  readonly sentMs: number;
  /** Of a question of size: what it is of, and how large. */
  readonly sized: { readonly mtu: MtuProbe; readonly bytes: number } | null;
}

export class HealthSource {
  readonly #options: HealthSourceOptions;
  readonly #random: () => number;
  readonly #pods: PodAddressIndex;
  readonly #nodes = new Map<string, NodeProbe>();
  /** The same: ten times a second all of them are looked at. */
  #list: readonly NodeProbe[] = [];
  /** By sequence number. */
  readonly #asked = new Map<number, Asked>();
  #sequence = 0;
  #intervalMs = 0;
  #handle: Handle | null = null;
  #reopenMs = Number.POSITIVE_INFINITY;
  #timer: Timer | null = null;
  #readAtMs = 0;
  #changed = true;
  #stopped = false;
  #unsubscribe: () => void = () => undefined;

  constructor(options: HealthSourceOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#pods = new PodAddressIndex(options.store, options.clock);
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
    return [...this.#nodes.values()].map((node) => node.report()).sort((a, b) => (a.node < b.node ? -1 : 1));
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
    this.#timer = this.#options.clock.setTimer(tickMs, () => {
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
    for (const node of this.#list) if (node.wakeMs <= now.monotonicMs) this.#ask(node, now, requests);
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
    if (handle !== null) await this.#options.native.closeProber(handle);
    if (!this.#stopped) this.#open();
  }

  #request(node: NodeProbe, path: PathProbe, now: Moment, sized: Asked["sized"]): ProbeRequest {
    this.#sequence = (this.#sequence + 1) & 0xffff;
    this.#asked.set(this.#sequence, { node, path, sentMs: now.monotonicMs, sized });
    const { kind, address, device } = path.path;
    return {
      kind: kind === "tcp" ? "tcp" : "icmp",
      sequence: this.#sequence,
      address: (sized === null ? this.#otherAddress(node, path) : null)?.bytes ?? address.bytes,
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
      const asked = this.#asked.get(answer.sequence);
      if (asked === undefined || this.#nodes.get(asked.node.node.name) !== asked.node) continue;
      this.#asked.delete(answer.sequence);
      if (asked.sized !== null) takeSized(asked, asked.sized, answer, now);
      else if (!this.#takeSmall(asked, answer, now)) continue;
      asked.node.wake();
      this.#write(asked.node, now);
    }
  }

  /** @returns whether the row may be another */
  #takeSmall({ node, path }: Asked, answer: ProbeAnswer, now: Moment): boolean {
    const { event, sequence, rttUs, value } = answer;
    // Given up before: that miss has been counted.
    const missed = (told: string) => path.waitsFor(sequence) && node.missed(path, now, told);
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
        return false;
      case "failed":
        return missed(`it cannot be asked: ${getSystemErrorName(-value)}`);
    }
  }

  /** Questions whose answer would be too late for anything; of a size they are failures of that size. */
  #forget(now: Moment): void {
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
      node.wake();
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
    for (const name of this.#nodes.keys()) {
      if (nodes.has(name) && name !== config.nodeName) continue;
      this.#nodes.delete(name);
      store.delete("nodeHealth", name);
    }
    this.#intervalMs = config.healthInterval * 1000 * Math.max(1, nodes.size / nodesOfInterval);
    const pace = { intervalMs: () => this.#intervalMs, random: this.#random };
    const spreadMs = Math.min(this.#intervalMs, nodes.size * spreadMsOfNode);
    for (const node of nodes.values()) {
      if (node.name === config.nodeName) continue;
      const probe = this.#nodes.get(node.name) ?? new NodeProbe(node, pace, now);
      this.#nodes.set(node.name, probe);
      probe.update(node, pathsTo(node, facts), now, spreadMs);
      this.#write(probe, now);
    }
    this.#list = [...this.#nodes.values()];
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

/** Of a large packet: an error of the node itself is an answer, and one of a router's says nothing of sizes. */
function takeSized(
  { node, path }: Asked,
  { mtu, bytes }: NonNullable<Asked["sized"]>,
  answer: ProbeAnswer,
  now: Moment,
): void {
  const { event, value } = answer;
  if (event === "too_large") mtu.missed(bytes, value, now);
  else if (event === "reply" || (event === "unreachable" && isOf(node, path, answer))) mtu.answered(bytes, now);
  else if (event === "failed" && value === constants.errno.EMSGSIZE) mtu.missed(bytes, 0, now);
  else mtu.unsure(now);
}

function tellerOf({ path }: PathProbe, { from }: ProbeAnswer): Address {
  return addressFromBytes(path.address.family === 4 ? from.slice(0, 4) : from.slice());
}

/** The node itself says so, by whichever of its addresses: nearly always by the first, for which no address is made. */
function isOf({ node: { addresses, podCidrs } }: NodeProbe, path: PathProbe, answer: ProbeAnswer): boolean {
  const { family } = path.path.address;
  const { from } = answer;
  const isFrom = ({ bytes }: Address) => bytes.every((byte, at) => from[at] === byte);
  if (addresses.some((address) => address.family === family && isFrom(address))) return true;
  const teller = tellerOf(path, answer);
  return podCidrs.some((cidr) => prefixContains(cidr, teller));
}
