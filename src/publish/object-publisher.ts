/**
 * Keeps objects of one kind at the API server as this node says they are: one request for each object that changed, none for one that
 * did not, also after a restart. Objects of this node bear its name as a label, so that what an agent before this one left behind
 * is found by one list.
 *
 * Another node may take an object over: a pod of a StatefulSet keeps its name on whichever node it runs. Who applies last has it; who
 * wants to delete it does so only if it is still what he wrote; and who was away, and still knows an old pod of that name, does not
 * take it back.
 */
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import { isStatus, type KubeClient, type KubeKind, type KubeObject, objectKey, objectTitle } from "../kube/index.ts";
import type { ConditionSink } from "../model/status.ts";
import { equalRows } from "../model/store.ts";

/** Of an object: the node whose agent wrote it. */
export const nodeLabel = "tandem.io/node";

/** ms between two rounds of requests: what changes within is one request for each object. */
const minIntervalMs = 100;
/** ms after which it is seen to that nobody else changed or removed an object. */
const lookMs = 600_000;
/** Requests at once. */
const batch = 8;

export interface ObjectPublisherOptions {
  readonly client: Pick<KubeClient, "apply" | "delete" | "get" | "listAll">;
  readonly kind: KubeKind;
  /** Value of `nodeLabel`, and who the fields are of. */
  readonly nodeName: string;
  readonly fieldManager: string;
  readonly conditions: ConditionSink;
  readonly clock: Clock;
}

/** What the API server has, as far as this node knows. */
interface Written {
  readonly object: KubeObject;
  readonly resourceVersion: string | undefined;
}

export class ObjectPublisher {
  readonly #options: ObjectPublisherOptions;
  readonly #runner: BoundedFrequencyRunner;
  readonly #signal = new AbortController();
  /** By "namespace/name". */
  #wanted: ReadonlyMap<string, KubeObject> = new Map();
  readonly #written = new Map<string, Written>();
  /** Objects that another node has taken over: left to it, until there is something else to say. */
  readonly #yielded = new Map<string, KubeObject>();
  /** Since when what is written is known; null: to be listed. */
  #listedAt: number | null = null;
  #begun = false;
  /** What is written may be gone. */
  #doubted = false;

  constructor(options: ObjectPublisherOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs,
      maxIntervalMs: lookMs,
      action: () => this.#round(),
    });
  }

  /** From now on these and no others, by "namespace/name". An object that is the same as before costs nothing. */
  publish(objects: ReadonlyMap<string, KubeObject>): void {
    this.#begun = true;
    this.#wanted = objects;
    for (const [key, object] of this.#yielded) if (objects.get(key) !== object) this.#yielded.delete(key);
    this.#runner.trigger();
  }

  /** Somebody may have removed what is written: it is listed again, and what is missing written. */
  doubt(): void {
    this.#doubted = true;
    // Before something is wanted, nothing is: all that there is would go.
    if (this.#begun) this.#runner.trigger();
  }

  /** What is written stays: it is true until another agent says otherwise. */
  async stop(): Promise<void> {
    this.#signal.abort();
    await this.#runner.stop();
  }

  async #round(): Promise<void> {
    const { clock, kind } = this.#options;
    try {
      if (this.#doubted || this.#listedAt === null || clock.monotonicMs() - this.#listedAt >= lookMs) {
        this.#doubted = false;
        await this.#list();
      }
      const failures: unknown[] = [];
      const attempt = async (work: Promise<void>) => {
        await work.catch((error: unknown) => failures.push(error));
      };
      const wanted = this.#wanted;
      const changed = [...wanted].filter(
        ([key, object]) => this.#yielded.get(key) !== object && !isSame(this.#written.get(key)?.object, object),
      );
      const gone = [...this.#written].filter(([key]) => !wanted.has(key));
      await inBatches(gone, ([key, written]) => attempt(this.#remove(key, written)));
      await inBatches(changed, ([key, object]) => attempt(this.#put(key, object)));
      if (failures.length > 0) throw failures[0];
      this.#report(null);
    } catch (error) {
      if (this.#signal.signal.aborted) return;
      // What is there may have been changed by whoever made this fail.
      this.#listedAt = null;
      this.#report(`${kind.kind} objects of this node cannot be written: ${messageOf(error)}`);
      throw error;
    }
  }

  async #list(): Promise<void> {
    const { client, kind, nodeName, clock } = this.#options;
    const labelSelector = `${nodeLabel}=${nodeName}`;
    const { signal } = this.#signal;
    const objects = await client.listAll(kind, { labelSelector, signal });
    const missing = new Map([...this.#written].filter(([key, { object }]) => this.#wanted.get(key) === object));
    for (const object of objects) missing.delete(objectKey(object));
    for (const [key, { object }] of missing) {
      const now = await this.#get(object);
      if (now !== null && now.metadata.labels?.[nodeLabel] !== nodeName) this.#yielded.set(key, object);
    }
    this.#written.clear();
    for (const object of objects) {
      this.#written.set(objectKey(object), { object, resourceVersion: object.metadata.resourceVersion });
    }
    this.#listedAt = clock.monotonicMs();
  }

  async #put(key: string, object: KubeObject): Promise<void> {
    const { client, kind, nodeName, fieldManager } = this.#options;
    const { metadata } = object;
    const labelled = { ...object, metadata: { ...metadata, labels: { ...metadata.labels, [nodeLabel]: nodeName } } };
    const options = { fieldManager, force: true, signal: this.#signal.signal };
    const { metadata: after } = await client.apply(kind, labelled, options);
    // What was asked for, and not what came back: a field that the server adds is no difference.
    this.#written.set(key, { object, resourceVersion: after.resourceVersion });
    this.#yielded.delete(key);
  }

  /** Null: it is not there. */
  async #get({ metadata: { name, namespace } }: KubeObject): Promise<KubeObject | null> {
    const { client, kind } = this.#options;
    const path = { name, ...(namespace === undefined ? {} : { namespace }) };
    return client.get(kind, path, { signal: this.#signal.signal }).catch((failure: unknown) => {
      if (isStatus(failure, 404)) return null;
      throw failure;
    });
  }

  async #remove(key: string, { object, resourceVersion }: Written): Promise<void> {
    const { client, kind, nodeName } = this.#options;
    const { name, namespace } = object.metadata;
    const path = { name, ...(namespace === undefined ? {} : { namespace }) };
    const { signal } = this.#signal;
    try {
      await client.delete(kind, path, { signal, ...(resourceVersion === undefined ? {} : { resourceVersion }) });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      const now = await this.#get(object);
      // Another node has it now, or somebody wrote to it: then the next round knows of which version it is.
      if (now !== null && now.metadata.labels?.[nodeLabel] === nodeName) {
        this.#written.set(key, { object, resourceVersion: now.metadata.resourceVersion });
        throw new Error(`${objectTitle(kind, path)} was changed by somebody else`, { cause: error });
      }
    }
    this.#written.delete(key);
    this.#yielded.delete(key);
  }

  #report(message: string | null): void {
    const { conditions, kind, nodeName } = this.#options;
    const remedy = "it is tried again; nothing in the kernel depends on it. See that the agent may write these objects";
    const about = { severity: "warning", object: `Node ${nodeName}`, field: "", remedy } as const;
    conditions.report(
      `publish-${kind.plural}`,
      message === null ? [] : [{ ...about, code: "PUBLISH_FAILED", message }],
    );
  }
}

/** Whether what is written says all that is wanted. Labels of others, and what the server adds, do not count. */
function isSame(written: KubeObject | undefined, wanted: KubeObject): boolean {
  if (written === undefined || written === wanted) return written === wanted;
  const { apiVersion: _version, kind: _kind, metadata, ...fields } = wanted;
  const { labels, ownerReferences } = written.metadata;
  return (
    Object.entries(metadata.labels ?? {}).every(([key, value]) => labels?.[key] === value) &&
    equalRows(ownerReferences ?? [], metadata.ownerReferences ?? []) &&
    Object.entries(fields).every(([name, value]) => equalRows(written[name], value))
  );
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += batch) await Promise.all(items.slice(at, at + batch).map(work));
}
