/**
 * One connection to gobgpd from its beginning to its end: first the watch, then the list of everything, then what changes. Peers are listed
 * again whenever one changed, and every few seconds.
 */
import type { Clock } from "../../lib/clock.ts";
import { Turns } from "../../lib/turns.ts";
import type { TableStore } from "../../model/store.ts";
import type { GobgpClient } from "./client.ts";
import { GobgpError } from "./errors.ts";
import { Pulse } from "./pulse.ts";
import type { Rib } from "./rib.ts";
import type { Peer } from "./types.ts";

/** ms between two lists of peers at least, and at most. */
const peersIntervalMs = { least: 100, most: 5_000 } as const;

export interface SessionOptions {
  readonly client: Pick<GobgpClient, "address" | "global" | "peers" | "paths" | "watch">;
  readonly store: TableStore;
  readonly rib: Rib;
  readonly clock: Clock;
  /** Everything is in the tables for the first time. */
  readonly onSynced: () => void;
  /** Peers were listed: after each change of one, and at least every 5 s. */
  readonly onPeers: () => void;
  /** It does not answer for now. */
  readonly onSilent: () => void;
  /** It does again. */
  readonly onAnswer: () => void;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #pulse: Pulse;
  #nudge: () => void = () => undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { client, clock, onSilent, onAnswer } = options;
    this.#pulse = new Pulse({ ask: (signal) => client.global(signal), clock, onSilent, onAnswer });
  }

  /** Rejects when the connection is of no use any more, or with the signal's reason. */
  async follow(signal: AbortSignal): Promise<never> {
    const ending = new AbortController();
    const all = AbortSignal.any([signal, ending.signal]);
    let watched: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => {
      watched = resolve;
    });
    const peersKnown = this.#listPeers(all);
    const parts: readonly Promise<void>[] = [
      this.#watch(all, watched),
      this.#keepPeers(peersKnown, all),
      this.#list(ready, peersKnown, all),
      this.#pulse.run(all),
    ];
    try {
      await Promise.all(parts);
      throw new GobgpError("GOBGP_UNREACHABLE", this.#options.client.address, "gobgpd ended the connection");
    } finally {
      ending.abort();
      watched();
      this.#nudge();
      await Promise.allSettled(parts);
    }
  }

  async #watch(signal: AbortSignal, watched: () => void): Promise<void> {
    const { client, rib, clock } = this.#options;
    const turns = new Turns(clock);
    for await (const event of client.watch(signal)) {
      this.#pulse.heard();
      if (event.kind === "ready") watched();
      else if (event.kind === "peer") this.#nudge();
      else {
        rib.follow(event.paths);
        if (turns.isOver) await turns.next();
      }
    }
    signal.throwIfAborted();
    throw new GobgpError("GOBGP_UNREACHABLE", client.address, "gobgpd ended the stream of events");
  }

  async #list(ready: Promise<void>, peersKnown: Promise<void>, signal: AbortSignal): Promise<void> {
    await ready;
    signal.throwIfAborted();
    const { client, rib, clock, onSynced } = this.#options;
    rib.begin();
    const turns = new Turns(clock);
    for (const family of [4, 6] as const) {
      for await (const paths of client.paths({ table: "global", family }, signal)) {
        this.#pulse.heard();
        rib.list(paths);
        if (turns.isOver) await turns.next();
      }
    }
    await rib.commit();
    await peersKnown;
    onSynced();
  }

  async #keepPeers(first: Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await first;
    for (;;) {
      await this.#news(signal);
      await clock.sleep(peersIntervalMs.least, signal);
      await this.#listPeers(signal);
    }
  }

  /** Resolves when a peer changed, or after a while. */
  async #news(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.setTimer(peersIntervalMs.most, resolve);
      this.#nudge = () => {
        timer.cancel();
        resolve();
      };
    });
    signal.throwIfAborted();
  }

  async #listPeers(signal: AbortSignal): Promise<void> {
    const { client, store, onPeers } = this.#options;
    const rows = new Map<string, Omit<Peer, "routerId">>();
    const before = store.table("bgpPeers");
    for await (const { routerId: _, ...row } of client.peers(signal)) {
      const last = before.get(row.address.text);
      // gobgpd counts from each try that fails: what is of interest is since when the session is gone.
      const isStillDown = last !== undefined && last.state !== "ESTABLISHED" && row.state !== "ESTABLISHED";
      rows.set(row.address.text, isStillDown ? { ...row, since: last.since ?? row.since } : row);
    }
    store.replaceAll("bgpPeers", rows);
    onPeers();
  }
}
