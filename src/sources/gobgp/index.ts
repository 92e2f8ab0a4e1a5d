/**
 * The `gobgp` source: what kube-router's BGP daemon knows, as the reason for the routes that the kernel has. It changes nothing there, and
 * nothing here depends on it: while the daemon is away its last rows stay, are said to be stale, and are listed anew when it is back.
 */
import { Backoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Prefix } from "../../model/ip.ts";
import type { Logger } from "../../model/logging.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import { GobgpClient } from "./client.ts";
import { GobgpError, type GobgpErrorCode } from "./errors.ts";
import { Rib } from "./rib.ts";
import { Session } from "./session.ts";
import type { Global } from "./types.ts";

/** ms before gobgpd is tried again. */
const retryMs = { firstMs: 200, maxMs: 5_000 } as const;
/**
 * ms at most between two tries of one that was there and is gone: with graceful restart it tells its peers what it has as soon as their sessions stand, and they
 * forget what is not among it. Service addresses that are announced through it have to be there by then.
 */
const awayMs = 250;
/** More than the table of the whole internet's IPv6; kube-router next to it has a route for each in the kernel. */
const pathLimit = 300_000;
/** ms for asking what peers sent, which somebody waits for; and peers and prefixes that are asked for at once. */
const receivedLimitMs = 2_000;
const receivedLimits = { peers: 64, prefixes: 64 } as const;

export interface GobgpSourceOptions {
  /** host:port; tried in turn. null: off. */
  readonly addresses: readonly string[] | null;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  /** A session has begun, with all of its paths in the table. */
  readonly onSession?: () => void;
  readonly random?: () => number;
}

/** A daemon whose paths are all known: who announces by it begins anew with each. */
export interface GobgpSession {
  readonly client: GobgpClient;
  readonly asn: number;
}

export interface GobgpStatus {
  readonly name: "gobgp";
  readonly synced: boolean;
  readonly stale: boolean;
  readonly detail: string;
}

/** off: not looked at; waiting: never reached; stale: it was, and is not any more. */
export type GobgpState = "off" | "waiting" | "synced" | "stale";

/** What a peer sent for a prefix. */
export interface ReceivedPath {
  readonly prefix: Prefix;
  readonly peer: string;
  /** An import policy rejects it. */
  readonly filtered: boolean;
}

export class GobgpSource {
  readonly #options: GobgpSourceOptions;
  readonly #backoff: Backoff;
  readonly #rib: Rib;
  #session: GobgpSession | null = null;
  #global: Global | null = null;
  #label = "";
  #synced = false;
  #failure: string | null = null;
  /** There is no connection yet. */
  #isConnecting = false;
  /** The session stands, and nothing comes by it. */
  #isSilent = false;

  constructor(options: GobgpSourceOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ ...retryMs, ...(options.random && { random: options.random }) });
    this.#rib = new Rib({ store: options.store, limit: pathLimit });
  }

  /** Follows gobgpd until the signal. Resolves at once: routes hold without it, and kube-router may start after us. */
  async start(signal: AbortSignal): Promise<void> {
    if (this.#options.addresses !== null) void this.#run(this.#options.addresses, signal);
  }

  /** Of now; null: the daemon is away, or its paths are not known yet. */
  get session(): GobgpSession | null {
    return this.#session;
  }

  get state(): GobgpState {
    if (this.#options.addresses === null) return "off";
    if (!this.#synced) return "waiting";
    return this.#failure === null ? "synced" : "stale";
  }

  /** All best paths are in the table: there are not more than are kept, and all could be read. */
  get complete(): boolean {
    return this.#rib.counts.beyond === 0 && (this.#session?.client.unreadable.count ?? 0) === 0;
  }

  status(): GobgpStatus {
    const state = this.state;
    return { name: "gobgp", synced: state !== "waiting", stale: state === "stale", detail: this.#detail(state) };
  }

  /**
   * Which of these prefixes peers sent, and whether a policy rejects them here: what is in no table otherwise. Empty when gobgpd is away or slow.
   * @param peers addresses of those that are asked
   */
  async received(prefixes: readonly Prefix[], peers: readonly string[]): Promise<readonly ReceivedPath[]> {
    const client = this.#session?.client;
    if (client === undefined || prefixes.length === 0) return [];
    const ending = new AbortController();
    const timer = this.#options.clock.setTimer(receivedLimitMs, () => ending.abort());
    const found: ReceivedPath[] = [];
    try {
      for (const peer of peers.slice(0, receivedLimits.peers)) {
        for (const family of [4, 6] as const) {
          const asked = prefixes.filter((prefix) => prefix.family === family).slice(0, receivedLimits.prefixes);
          if (asked.length === 0) continue;
          for await (const paths of client.paths({ table: "received", family, peer, prefixes: asked }, ending.signal))
            for (const { prefix, filtered } of paths) found.push({ prefix, peer, filtered });
        }
      }
    } catch (error) {
      this.#options.log.debug({ error: messageOf(error) }, "gobgpd does not tell what peers sent");
    } finally {
      timer.cancel();
      ending.abort();
    }
    return found;
  }

  #detail(state: GobgpState): string {
    const { addresses, store } = this.#options;
    if (addresses === null) return "off: the setting `gobgp` is null";
    if (state === "waiting") return this.#failure ?? `not reached yet at ${addresses.join(", ")}`;
    const peers = [...store.table("bgpPeers").values()];
    const away = peers.filter((peer) => peer.state !== "ESTABLISHED");
    const named = away
      .slice(0, 3)
      .map((peer) => `${peer.address.text} ${peer.adminDown ? "switched off" : peer.state}`);
    const more = away.length > named.length ? `, and ${away.length - named.length} more` : "";
    const missing = named.length === 0 ? "" : ` (not: ${named.join(", ")}${more})`;
    const { kept, beyond } = this.#rib.counts;
    const paths = beyond === 0 ? `${kept} best paths` : `${kept} best paths, more are not kept`;
    const known = `${peers.length - away.length} of ${peers.length} peers established${missing}, ${paths}`;
    if (this.#failure !== null) return `${this.#failure}; last known: ${known}`;
    return `${this.#label}, AS ${this.#global?.asn ?? 0}; ${known}`;
  }

  async #run(addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const { clock, log, conditions } = this.#options;
    for (let at = 0; !signal.aborted; at = (at + 1) % addresses.length) {
      let mostMs: number = retryMs.maxMs;
      try {
        await this.#follow(addresses[at] ?? "", signal);
      } catch (error) {
        if (signal.aborted) return;
        const wasUp = this.#failure === null && this.#synced;
        this.#failure = messageOf(error);
        const isAway = this.#isConnecting && error instanceof GobgpError && error.code === "GOBGP_UNREACHABLE";
        if (isAway && this.#synced) mostMs = awayMs;
        if (error instanceof GobgpError && !(this.#synced || isLoud(error.code)))
          log.debug({ source: "gobgp", object: error.object }, this.#failure);
        else conditions.report("gobgp", [problem(error)]);
        if (wasUp) log.warn({ source: "gobgp", error: this.#failure }, "lost; routes stay as the kernel has them");
      }
      // Rejected by the signal only.
      await clock.sleep(Math.min(this.#backoff.next(), mostMs), signal).catch(() => undefined);
    }
  }

  /** What is there and not known: also what came after everything was seen once. */
  #tellIncomplete(client: GobgpClient): void {
    const problems = [
      ...(this.#rib.counts.beyond > 0 ? [tooMany(client.address)] : []),
      ...(client.unreadable.count > 0 ? [unreadablePaths(client)] : []),
    ];
    this.#options.conditions.report("gobgp", problems);
  }

  async #follow(address: string, signal: AbortSignal): Promise<never> {
    const { store, clock, log, conditions } = this.#options;
    this.#isConnecting = true;
    const client = await GobgpClient.connect(address, signal);
    this.#isConnecting = false;
    const session = new Session({
      client,
      store,
      rib: this.#rib,
      clock,
      onSynced: () => {
        this.#session = { client, asn: this.#global?.asn ?? 0 };
        this.#synced = true;
        this.#failure = null;
        this.#backoff.reset();
        this.#tellIncomplete(client);
        log.info({ source: "gobgp", detail: this.status().detail }, "seen everything once");
        this.#options.onSession?.();
      },
      onPeers: () => {
        if (this.#session?.client === client && !this.#isSilent) this.#tellIncomplete(client);
      },
      onSilent: () => {
        if (this.#session?.client !== client) return;
        this.#isSilent = true;
        const error = new GobgpError("GOBGP_TIMEOUT", address, "it does not answer, and BGP may go on all the same");
        this.#failure = error.message;
        conditions.report("gobgp", [problem(error)]);
      },
      onAnswer: () => {
        if (this.#session?.client !== client) return;
        this.#isSilent = false;
        this.#failure = null;
        this.#tellIncomplete(client);
      },
    });
    try {
      this.#global = await client.global(signal);
      this.#label = `${client.protocol.label} at ${address}`;
      return await session.follow(signal);
    } finally {
      this.#session = null;
      this.#isSilent = false;
      client.close();
    }
  }
}

function unreadablePaths({ address, unreadable }: Pick<GobgpClient, "address" | "unreadable">): Problem {
  return {
    code: "GOBGP_PATH_UNREADABLE",
    severity: "warning",
    object: `gobgpd at ${address}`,
    field: "gobgp",
    message: `paths that it tells cannot be read and are left out: ${unreadable.text()}; the kernel's routes are followed all the same`,
    remedy: "look at them: gobgp global rib PREFIX; is this kube-router newer than what docs/bgp.md names?",
  };
}

/** Somebody answers there, and wrong: that is told also when kube-router never was there. */
const isLoud = (code: GobgpErrorCode): boolean => code !== "GOBGP_UNREACHABLE" && code !== "GOBGP_TIMEOUT";

function problem(error: unknown): Problem {
  const known = error instanceof GobgpError ? error : null;
  const code = known?.code ?? "GOBGP_ANSWER";
  return {
    code,
    // Forwarding goes on by the kernel's routes; an answer that is none says that something else is wrong.
    severity: isLoud(code) ? "error" : "warning",
    object: known?.object ?? "gobgpd",
    field: "gobgp",
    message: messageOf(error),
    remedy: known?.remedy ?? "read the agent's log",
  };
}

function tooMany(address: string): Problem {
  return {
    code: "GOBGP_TOO_MANY_PATHS",
    severity: "warning",
    object: `gobgpd at ${address}`,
    field: "gobgp",
    message: `it has more than ${pathLimit} best paths: those beyond are not explained`,
    remedy:
      "let the fabric announce aggregates to nodes: each of these paths is a kernel route, too (a default route kube-router rejects)",
  };
}
