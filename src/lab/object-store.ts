/**
 * The lab's cluster state: a JSON List per kind and namespace. Agents watch the folder; what only the lab understands is kept
 * in another. Few large files and not one per object: ten thousand services are written, and read by every agent, at once.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "./files.ts";
import { type KubeObject, objectTitle } from "./objects.ts";

/** Kinds that controllers of a cluster turn into others; the agents have no use for them. */
const labOnly = new Set(["Deployment"]);
const ourFile = /^[a-z]+_[a-z0-9.-]*\.json$/;

export class ObjectStore {
  readonly #shared: string;
  readonly #own: string;
  /** File to its objects by title. */
  readonly #files = new Map<string, Map<string, KubeObject>>();
  readonly #dirty = new Set<string>();
  /** One writer at a time. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(shared: string, own: string) {
    this.#shared = shared;
    this.#own = own;
  }

  /** Reads what is there; makes the folders if need be. */
  static async open(shared: string, own: string): Promise<ObjectStore> {
    const store = new ObjectStore(shared, own);
    for (const folder of [shared, own]) {
      await mkdir(folder, { recursive: true });
      for (const name of await readdir(folder)) {
        // Files with other names were put there by hand, for the agents alone.
        if (!ourFile.test(name)) continue;
        const path = join(folder, name);
        const { items } = JSON.parse(await readFile(path, "utf8")) as { readonly items: readonly KubeObject[] };
        store.#files.set(path, new Map(items.map((object) => [objectTitle(object), object])));
      }
    }
    return store;
  }

  all(): readonly KubeObject[] {
    return [...this.#files.values()].flatMap((objects) => [...objects.values()]);
  }

  list<T extends KubeObject = KubeObject>(kind: string): readonly T[] {
    return this.all().filter((object): object is T => object.kind === kind);
  }

  get<T extends KubeObject = KubeObject>(object: KubeObject): T | undefined {
    return this.#files.get(this.#path(object))?.get(objectTitle(object)) as T | undefined;
  }

  /** Takes the object; the agents see it after `flush`. */
  put(object: KubeObject): void {
    const path = this.#path(object);
    const objects = this.#files.get(path) ?? new Map<string, KubeObject>();
    this.#files.set(path, objects.set(objectTitle(object), object));
    this.#dirty.add(path);
  }

  remove(object: KubeObject): void {
    const path = this.#path(object);
    if (this.#files.get(path)?.delete(objectTitle(object)) === true) this.#dirty.add(path);
  }

  /** Writes what changed. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const paths = [...this.#dirty];
      this.#dirty.clear();
      for (const path of paths) {
        const items = [...(this.#files.get(path)?.values() ?? [])];
        if (items.length === 0) await rm(path, { force: true });
        else await writeAtomically(path, JSON.stringify({ apiVersion: "v1", kind: "List", items }, null, 1));
      }
    });
    return this.#writing;
  }

  #path({ kind, metadata }: KubeObject): string {
    return join(labOnly.has(kind) ? this.#own : this.#shared, `${kind.toLowerCase()}_${metadata.namespace ?? ""}.json`);
  }
}
