/** Passes events of the datapath to whoever listens; nothing is decoded or named while nobody does. */
import type { EventDto } from "../api/dto.ts";
import type { EventFeed } from "../api/queries.ts";
import type { DatapathEvent, EventBatch } from "../datapath/report.ts";

export class EventHub implements EventFeed {
  readonly #describe: (events: readonly DatapathEvent[]) => readonly EventDto[];
  readonly #listeners = new Set<(events: readonly EventDto[]) => void>();

  constructor(describe: (events: readonly DatapathEvent[]) => readonly EventDto[]) {
    this.#describe = describe;
  }

  subscribe(listener: (events: readonly EventDto[]) => void): () => void {
    // Its own function, so that one listener may subscribe twice.
    const own = (events: readonly EventDto[]) => listener(events);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  publish(batch: EventBatch): void {
    if (this.#listeners.size === 0 || batch.count === 0) return;
    const events = this.#describe(batch.decode());
    for (const listener of this.#listeners) listener(events);
  }
}
