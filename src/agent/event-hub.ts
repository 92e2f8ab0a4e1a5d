/** Passes events of the datapath to whoever listens; nothing is decoded or named while nobody does. */
import type { EventDto } from "../api/dto.ts";
import type { EventFeed } from "../api/queries.ts";
import type { DatapathEvent, EventBatch } from "../datapath/report.ts";

export class EventHub implements EventFeed {
  readonly #onWatched: (isWatched: boolean) => void;
  readonly #describe: (events: readonly DatapathEvent[]) => readonly EventDto[];
  readonly #listeners = new Set<(events: readonly EventDto[]) => void>();

  /** @param onWatched somebody listens now, or nobody does any more */
  constructor(
    describe: (events: readonly DatapathEvent[]) => readonly EventDto[],
    onWatched: (isWatched: boolean) => void,
  ) {
    this.#onWatched = onWatched;
    this.#describe = describe;
  }

  subscribe(listener: (events: readonly EventDto[]) => void): () => void {
    // Its own function, so that one listener may subscribe twice.
    const own = (events: readonly EventDto[]) => listener(events);
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.#onWatched(true);
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0) this.#onWatched(false);
    };
  }

  /** @param describe called only if somebody listens */
  tell(describe: () => readonly EventDto[]): void {
    if (this.#listeners.size === 0) return;
    const events = describe();
    for (const listener of this.#listeners) listener(events);
  }

  publish(batch: EventBatch): void {
    if (batch.count > 0) this.tell(() => this.#describe(batch.decode()));
  }
}
