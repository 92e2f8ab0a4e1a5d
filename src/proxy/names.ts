/**
 * Between the engine and the agent about names of DNS. The engine tells answers that a rule may use; the agent opens their addresses, and then the
 * engine lets the answers go. An engine that comes later (another turn) is told what the one before knew of the agent.
 */
import type { LookupMessage, NamesFromProxy, NamesToProxy } from "../api/names-link.ts";
import { type Clock, resolvedWithin } from "../lib/clock.ts";
import { Histogram, type HistogramData } from "../lib/histogram.ts";
import { durationBounds } from "./counters.ts";
import type { EngineNames } from "./engine.ts";
import { RecentLookups } from "./recent-lookups.ts";

/** Answers whose wait is measured at the same time: as many as an engine lets wait. */
const mostWaiting = 4096;
const mostTakenBack = 1024;

/** What a proxy tells its successor. */
interface Handover {
  readonly wanted: { readonly pattern: string | null; readonly shared: boolean } | null;
  /** Base64 of EngineNames.handOver. */
  readonly memory: string;
}

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
  /** What the agent took back since this engine began: a predecessor's memory may be older. */
  #takenBack: NamesToProxy[] = [];
  /** Whether the agent, or a predecessor, has said what names are wanted. */
  #isTold = false;
  readonly #recent: RecentLookups;
  #onTold: () => void = () => undefined;
  readonly #told = new Promise<void>((resolve) => {
    this.#onTold = resolve;
  });

  /** @param send false: it was not sent */
  constructor(send: (message: NamesFromProxy) => boolean, clock: Pick<Clock, "monotonicMs">) {
    this.#send = send;
    this.#clock = clock;
    this.#recent = new RecentLookups(clock);
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
    this.#takenBack = [];
    engine?.want(this.#pattern, this.#isShared);
    engine?.connected(this.#isConnected);
  }

  /** An agent is there: it is told what the one before may have lost, and asked for the names. */
  greeting(): readonly NamesFromProxy[] {
    this.#isConnected = true;
    // What was open before may have gone with the agent before.
    this.#takeBack({ type: "names-forget", names: null });
    const lookups = this.#recent.again();
    this.#engine?.connected(true);
    return [...(lookups.length > 0 ? [{ type: "names-seen" as const, lookups }] : []), { type: "names-hello" }];
  }

  /** The agent went: what it wanted holds, what it has opened stays. */
  lost(): void {
    this.#isConnected = false;
    this.#recent.lost();
    this.#waiting.clear();
    this.#engine?.connected(false);
  }

  seen(lookups: readonly LookupMessage[]): void {
    this.#recent.add(lookups);
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

  /** Resolves when it is known what names are wanted, or after that time: until then answers would open nothing. */
  told(limitMs: number, clock: Pick<Clock, "setTimer">): Promise<void> {
    return resolvedWithin(this.#told, limitMs, clock);
  }

  /** All that a successor needs (`inherit`), as text. @param isLast it has the first one, and the flows: what is under way is enough */
  handOver(isLast: boolean): string {
    const memory = Buffer.from(this.#engine?.handOver(!isLast) ?? []).toString("base64");
    const wanted = this.#isTold ? { pattern: this.#pattern, shared: this.#isShared } : null;
    return JSON.stringify({ wanted, memory } satisfies Handover);
  }

  /** @param text of a predecessor, which may be of another version; what is not understood is not used */
  inherit(text: string): void {
    const told = readHandover(text);
    if (told === null) return;
    // What the agent said itself is newer.
    if (told.wanted !== null && !this.#isTold) {
      this.#pattern = told.wanted.pattern;
      this.#isShared = told.wanted.shared;
      this.#engine?.want(this.#pattern, this.#isShared);
      this.#hasTold();
    }
    this.#engine?.inherit(Buffer.from(told.memory, "base64"));
    for (const message of this.#takenBack) this.#forget(message);
  }

  #hasTold(): void {
    this.#isTold = true;
    this.#onTold();
  }

  #takeBack(message: NamesToProxy): void {
    if (this.#takenBack.length < mostTakenBack) this.#takenBack.push(message);
    // So many that one stands for all.
    else this.#takenBack = [{ type: "names-forget", names: null }];
    this.#forget(message);
  }

  #forget(message: NamesToProxy): void {
    if (message.type === "names-gone") this.#engine?.gone(message.endpoints);
    else if (message.type !== "names-forget") return;
    else if (message.names === null) this.#engine?.forget(null);
    else for (const name of message.names) this.#engine?.forget(name);
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
        this.#hasTold();
        return;
      case "names-gone":
        this.#recent.gone(message.endpoints);
        this.#takeBack(message);
        return;
      case "names-forget":
        this.#recent.forget(message.names);
        this.#takeBack(message);
        return;
      case "names-open":
        this.#measure(message.tickets);
        this.#engine?.open(message.tickets);
        return;
    }
  }
}

function readHandover(text: string): Handover | null {
  try {
    const read = JSON.parse(text) as { readonly wanted?: Handover["wanted"]; readonly memory?: unknown } | null;
    if (read === null || typeof read.memory !== "string") return null;
    return { wanted: read.wanted ?? null, memory: read.memory };
  } catch {
    return null;
  }
}
