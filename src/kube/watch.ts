/** The stream of a watch: what it is asked by, and its lines as events. */
import { messageOf } from "../lib/errors.ts";
import { KubeAnswerError } from "./errors.ts";
import { type KubeKind, resourceName } from "./kinds.ts";
import { isKubeObject, isRecord, type Status, type WatchEvent } from "./objects.ts";
import { LineSplitter } from "./split-lines.ts";
import type { Answer } from "./transport.ts";

/** Bytes of one event; an object has at most 3 MB. */
const lineLimit = 16 * 1024 * 1024;

export interface WatchOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** What came after this version is told. */
  readonly resourceVersion: string;
  /** After which the API server ends it; shortly before, it sends a bookmark. */
  readonly timeoutSeconds: number;
  /** ms without a byte after which it counts as dead. */
  readonly silenceMs: number;
  /** ms until the answer begins; 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface Watch {
  /**
   * Events that came together, in order. Ends when the API server ends it.
   * @throws KubeConnectionError, KubeAnswerError; the signal's reason
   */
  readonly events: AsyncIterable<readonly WatchEvent[]>;
}

export async function openWatch(
  kind: KubeKind,
  options: WatchOptions,
  send: (query: Readonly<Record<string, string>>) => Promise<Answer>,
): Promise<Watch> {
  const { labelSelector, fieldSelector, resourceVersion, timeoutSeconds } = options;
  const answer = await send({
    watch: "true",
    allowWatchBookmarks: "true",
    resourceVersion,
    timeoutSeconds: String(timeoutSeconds),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
  });
  return { events: eventsOf(resourceName(kind), answer) };
}

async function* eventsOf(title: string, answer: Answer): AsyncGenerator<readonly WatchEvent[]> {
  const splitter = new LineSplitter(lineLimit);
  try {
    for await (const piece of answer.pieces) {
      const events: WatchEvent[] = [];
      let failure: KubeAnswerError | null = null;
      try {
        for (const line of splitter.push(piece)) events.push(decodeEvent(line));
      } catch (error) {
        failure = malformed(title, messageOf(error), error);
      }
      // What was understood before the first mistake is true.
      if (events.length > 0) yield events;
      if (failure !== null) throw failure;
    }
    if (splitter.rest > 0) throw malformed(title, "it ends within an event");
  } finally {
    answer.discard();
  }
}

/** @throws SyntaxError */
export function decodeEvent(line: string): WatchEvent {
  const event: unknown = JSON.parse(line);
  const object = isRecord(event) ? event.object : null;
  if (!isRecord(event) || !isRecord(object)) throw new SyntaxError("it is no event");
  switch (event.type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      if (!isKubeObject(object)) throw new SyntaxError("its object has no metadata.name");
      return { type: event.type, object };
    case "BOOKMARK": {
      const version = isRecord(object.metadata) ? object.metadata.resourceVersion : null;
      if (typeof version !== "string") throw new SyntaxError("a bookmark has no version");
      return { type: "BOOKMARK", resourceVersion: version };
    }
    case "ERROR":
      return { type: "ERROR", status: object as Status };
    default:
      throw new SyntaxError(`there are no events of type ${JSON.stringify(event.type)}`);
  }
}

function malformed(title: string, message: string, cause?: unknown): KubeAnswerError {
  return new KubeAnswerError({
    code: "KUBE_ANSWER",
    object: title,
    message: `the watch cannot be understood: ${message}`,
    remedy: "it is asked for again; if it lasts, see what is between this node and the API server",
    cause,
  });
}
