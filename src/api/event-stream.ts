/**
 * A stream of events to one reader, as JSON lines. A reader that is slower than the events loses some, and is told how many: the
 * agent's memory never grows because somebody watches.
 */
import type { Writable } from "node:stream";
import type { EventDto, LostEventsDto } from "./dto.ts";
import { ApiError } from "./errors.ts";
import type { EventFeed } from "./queries.ts";

export interface EventFilter {
  /** Empty: all. */
  readonly types: ReadonlySet<string>;
  /** Name ("shop/web-0") or address of the source, or a part before "/" ("shop"); null: any. */
  readonly from: string | null;
  readonly to: string | null;
}

const eventTypes = ["drop", "verdict", "flow", "l7"];

/** @throws ApiError BAD_REQUEST for a type that does not exist */
export function parseFilter(query: URLSearchParams): EventFilter {
  const types = query.getAll("type").flatMap((text) => text.split(",").filter((type) => type !== ""));
  const unknown = types.find((type) => !eventTypes.includes(type));
  if (unknown !== undefined) {
    throw new ApiError(400, "BAD_REQUEST", `${unknown} is not a type of event`, `use ${eventTypes.join(", ")}`);
  }
  return { types: new Set(types), from: query.get("from"), to: query.get("to") };
}

export function matches(filter: EventFilter, event: EventDto): boolean {
  if (filter.types.size > 0 && !filter.types.has(event.type)) return false;
  return isPeer(filter.from, event.source) && isPeer(filter.to, event.destination);
}

function isPeer(wanted: string | null, peer: EventDto["source"]): boolean {
  if (wanted === null) return true;
  return peer.name === wanted || peer.address === wanted || peer.name.startsWith(`${wanted}/`);
}

/** Writes until the reader goes away or `end` is called. @returns end */
export function streamEvents(feed: EventFeed, filter: EventFilter, output: Writable): () => void {
  let waiting = false;
  let lost = 0;

  const write = (lines: readonly (EventDto | LostEventsDto)[]) => {
    waiting = !output.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  };
  const unsubscribe = feed.subscribe((events) => {
    const wanted = events.filter((event) => matches(filter, event));
    if (wanted.length === 0) return;
    if (waiting) lost += wanted.length;
    else write(wanted);
  });
  const onDrain = () => {
    waiting = false;
    if (lost === 0) return;
    const count = lost;
    lost = 0;
    write([{ type: "lost", count }]);
  };
  const end = () => {
    unsubscribe();
    output.off("drain", onDrain);
    output.off("close", end);
    if (!output.writableEnded) output.end();
  };
  output.on("drain", onDrain);
  output.on("close", end);
  return end;
}
