/**
 * Tells the proxy what the kernel's policy sets demand, before an endpoint is judged by them. A proxy that is away or slow holds no policy up: after a
 * tenth of a second the endpoint is switched, and the proxy refuses what it has no rules for until it has heard.
 *
 * A proxy that ran on while the agent was away is there again half a second after the agent answers (proxy/agent-link.ts). What an agent changes at
 * once when it starts waits for that: a set whose names have other addresses than before has another number, which that proxy has never heard of.
 */
import { type Clock, resolvedWithin } from "../../lib/clock.ts";
import type { DemandsBySet, DemandsPublisher, SetDemands } from "../../datapath/set-demands.ts";
import type { ProxyLinks } from "./proxy-links.ts";
import type { L7Book } from "./tables.ts";
import type { TablesFile } from "./tables-file.ts";

/** ms that an endpoint's switch waits for the proxy. */
const patienceMs = 100;
/** ms in which a proxy that the agent before has told something is there again: so long the first switch waits for it. */
export const returnMs = 1_500;

export interface L7PublisherOptions {
  readonly book: L7Book;
  readonly file: Pick<TablesFile, "write">;
  readonly links: Pick<ProxyLinks, "configure">;
  readonly clock: Pick<Clock, "setTimer">;
  /** There are other tables. */
  readonly onChange: () => void;
}

export class L7Publisher implements DemandsPublisher {
  readonly #options: L7PublisherOptions;
  #generation = 1;
  #awaitsReturn: boolean;

  constructor(options: L7PublisherOptions) {
    this.#options = options;
    this.#awaitsReturn = options.book.kept.ruleSets.length > 0;
    // A proxy that comes early works by what the last agent told.
    void options.links.configure(this.#generation, options.book.tables());
  }

  get generation(): number {
    return this.#generation;
  }

  get highest(): number {
    return this.#options.book.kept.highestSet;
  }

  known(set: number): SetDemands | null {
    return this.#options.book.known(set);
  }

  async publish(demands: DemandsBySet, urgent: boolean): Promise<void> {
    const { book, file, links, onChange, clock } = this.#options;
    const awaitsReturn = urgent && this.#awaitsReturn;
    if (urgent) this.#awaitsReturn = false;
    if (!book.update(demands)) return;
    this.#generation++;
    const told = links.configure(this.#generation, book.tables(), awaitsReturn);
    const written = file.write(book.kept);
    onChange();
    if (urgent) await Promise.all([resolvedWithin(told, awaitsReturn ? returnMs : patienceMs, clock), written]);
    else await written;
  }
}
