/**
 * Tells the proxy what the kernel's policy sets demand, before an endpoint is judged by them. A proxy that is away or slow holds no policy up: after a
 * tenth of a second the endpoint is switched, and the proxy refuses what it has no rules for until it has heard.
 */
import type { Clock } from "../../lib/clock.ts";
import type { DemandsBySet, DemandsPublisher, SetDemands } from "../../datapath/set-demands.ts";
import type { ProxyLinks } from "./proxy-links.ts";
import type { L7Book } from "./tables.ts";
import type { TablesFile } from "./tables-file.ts";

/** ms that an endpoint's switch waits for the proxy. */
const patienceMs = 100;

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

  constructor(options: L7PublisherOptions) {
    this.#options = options;
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
    const { book, file, links, onChange } = this.#options;
    if (!book.update(demands)) return;
    this.#generation++;
    const told = links.configure(this.#generation, book.tables());
    const written = file.write(book.kept);
    onChange();
    if (urgent) await Promise.all([this.#soon(told), written]);
    else await written;
  }

  #soon(told: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(patienceMs, resolve);
      void told.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}
