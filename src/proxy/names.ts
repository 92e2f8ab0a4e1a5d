/**
 * Between the engine and the agent about names of DNS. The engine tells answers that a rule may use; the agent opens their addresses, and then the
 * engine lets the answers go. An engine that comes later (another turn) is told what the one before knew of the agent.
 */
import type { LookupMessage, NamesFromProxy, NamesToProxy } from "../api/names-link.ts";
import type { Clock } from "../lib/clock.ts";
import { Histogram, type HistogramData } from "../lib/histogram.ts";
import { durationBounds } from "./counters.ts";
import type { EngineNames } from "./engine.ts";

/** Answers whose wait is measured at the same time: as many as an engine lets wait. */
const mostWaiting = 4096;

export class Names {
  readonly #send: (message: NamesFromProxy) => boolean;
  #engine: EngineNames | null = null;
  #pattern: string | null = null;
  #isShared = true;
  #isConnected = false;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #hold = new Histogram(durationBounds);
  /** ms of the monotonic clock when answers that wait were told, by ticket; the oldest first. */
  readonly #waiting = new Map<number, number>();

  /** @param send false: it was not sent */
  constructor(send: (message: NamesFromProxy) => boolean, clock: Pick<Clock, "monotonicMs">) {
    this.#send = send;
    this.#clock = clock;
  }

  /** Seconds that answers waited for their addresses to be open. What waited for nobody is not in it. */
  get hold(): HistogramData {
    return this.#hold.data;
  }

  /** null: there is none any more. */
  use(engine: EngineNames | null): void {
    this.#engine = engine;
    // Another engine counts its tickets anew.
    this.#waiting.clear();
    engine?.want(this.#pattern, this.#isShared);
    engine?.connected(this.#isConnected);
  }

  /** An agent is there; it is asked for the names. */
  greeting(): NamesFromProxy {
    this.#isConnected = true;
    // What was open before may have gone with the agent before.
    this.#engine?.forget(null);
    this.#engine?.connected(true);
    return { type: "names-hello" };
  }

  /** The agent went: what it wanted holds, what it has opened stays. */
  lost(): void {
    this.#isConnected = false;
    this.#waiting.clear();
    this.#engine?.connected(false);
  }

  seen(lookups: readonly LookupMessage[]): void {
    // What cannot be sent is open to nobody, and the answers need not wait for it.
    if (!this.#send({ type: "names-seen", lookups })) {
      this.#engine?.forget(null);
      return;
    }
    const now = this.#clock.monotonicMs();
    for (const { ticket } of lookups) this.#waiting.set(ticket, now);
    for (const oldest of this.#waiting.keys()) {
      if (this.#waiting.size <= mostWaiting) break;
      this.#waiting.delete(oldest);
    }
  }

  #measure(tickets: readonly number[]): void {
    const now = this.#clock.monotonicMs();
    for (const ticket of tickets) {
      const since = this.#waiting.get(ticket);
      if (this.#waiting.delete(ticket) && since !== undefined) this.#hold.observe((now - since) / 1000);
    }
  }

  take(message: NamesToProxy): void {
    switch (message.type) {
      case "names-wanted":
        this.#pattern = message.pattern;
        this.#isShared = message.shared ?? true;
        this.#engine?.want(this.#pattern, this.#isShared);
        return;
      case "names-gone":
        this.#engine?.gone(message.endpoints);
        return;
      case "names-open":
        this.#measure(message.tickets);
        this.#engine?.open(message.tickets);
        return;
      case "names-forget":
        if (message.names === null) this.#engine?.forget(null);
        else for (const name of message.names) this.#engine?.forget(name);
        return;
    }
  }
}
