/**
 * What a node finds wrong between it and others as Events on its Node object: once when it begins. What comes and goes again and again is the same
 * Event, as its text has no time in it, and the recorder writes that at most every ten minutes.
 */
import type { NoticeSink } from "../model/pod-notices.ts";
import type { Problem } from "../model/status.ts";
import { reasonOf } from "./service-notices.ts";

/** Times of ISO 8601, with what leads to them. */
const time = / since \d{4}-\d\d-\d\dT[\d:.]+Z/g;

export class NodeNotices {
  readonly #nodeName: string;
  readonly #sink: NoticeSink;
  /** By topic, what stands. */
  readonly #standing = new Map<string, ReadonlySet<string>>();

  constructor(nodeName: string, sink: NoticeSink) {
    this.#nodeName = nodeName;
    this.#sink = sink;
  }

  /** @param problems all that stand of the topic */
  tell(topic: string, problems: readonly Problem[]): void {
    const before = this.#standing.get(topic);
    const standing = new Set<string>();
    for (const { code, object, message, remedy } of problems) {
      const text = `${object}: ${message} (${remedy})`.replaceAll(time, "");
      const key = `${code} ${text}`;
      if (before?.has(key) !== true && !standing.has(key))
        this.#sink.notice({ node: this.#nodeName, type: "Warning", reason: reasonOf(code), message: text });
      standing.add(key);
    }
    this.#standing.set(topic, standing);
  }
}
