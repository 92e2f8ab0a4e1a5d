/**
 * What is wrong with a Service, as Events on it: `kubectl describe service` shows them. Every node finds the same, so one of them says it: the one
 * that a hash of the Service and the nodes' names picks, without asking anybody. While that node is away nobody does: Events are courtesy, and
 * every node's `tandem status` has it all.
 */
import type { Problem } from "../model/status.ts";
import type { NoticeSink } from "../model/pod-notices.ts";
import type { TableSnapshot } from "../model/store.ts";

const prefix = "Service ";

export class ServiceNotices {
  readonly #nodeName: string;
  readonly #sink: NoticeSink;
  #last: readonly Problem[] = [];
  #said: ReadonlySet<string> = new Set();

  constructor(nodeName: string, sink: NoticeSink) {
    this.#nodeName = nodeName;
    this.#sink = sink;
  }

  /** Says what was not among the problems of the last time; nothing, if they are the same list. */
  tell(problems: readonly Problem[], { services, nodes }: Pick<TableSnapshot, "services" | "nodes">): void {
    if (problems === this.#last) return;
    this.#last = problems;
    const said = new Set<string>();
    for (const { code, severity, object, field, message, remedy } of problems) {
      if (!object.startsWith(prefix)) continue;
      const service = services.get(object.slice(prefix.length));
      if (service?.uid === undefined) continue;
      const { namespace, name, uid } = service;
      const text = `${field === "" ? "" : `${field}: `}${message} (${severity}; ${remedy})`;
      const key = `${uid} ${code} ${text}`;
      said.add(key);
      if (this.#said.has(key) || speakerOf(uid, nodes.keys()) !== this.#nodeName) continue;
      this.#sink.notice({ service: { namespace, name, uid }, type: "Warning", reason: reasonOf(code), message: text });
    }
    this.#said = said;
  }
}

/** SERVICE_ADDRESS_TAKEN -> ServiceAddressTaken, as reasons of Events are written. */
export function reasonOf(code: string): string {
  return code
    .split("_")
    .map((word) => `${word.slice(0, 1)}${word.slice(1).toLowerCase()}`)
    .join("");
}

/** The node whose name and the Service together hash highest: a node that comes or goes changes few of these choices. */
export function speakerOf(uid: string, nodes: Iterable<string>): string | null {
  let speaker: string | null = null;
  let highest = -1;
  for (const node of nodes) {
    const hash = hashOf(`${node}\0${uid}`);
    if (hash < highest || (hash === highest && speaker !== null && node > speaker)) continue;
    highest = hash;
    speaker = node;
  }
  return speaker;
}

/** FNV-1a, 32 bits, mixed once more so that names that differ in their last letter spread (the finalizer of MurmurHash3). */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
