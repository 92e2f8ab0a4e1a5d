/**
 * kube-router's export policy lets nothing out but what its sets of prefixes name. The one of the pod CIDRs is made once at its start and never again
 * compared, so that a prefix which is added there is exported until gobgpd ends; the one of the service addresses is rewritten with each of its events.
 * Entries are only ever added and taken out one by one, each a host's prefix of its exact length; the pod CIDRs in it stay.
 */
import type { Prefix } from "../../model/ip.ts";
import type { GobgpClient } from "../../sources/gobgp/client.ts";

const names = { 4: "podcidrdefinedset", 6: "podcidrdefinedsetv6" } as const;

type SetClient = Pick<GobgpClient, "definedSets" | "changeSet">;

export class ExportSet {
  readonly #client: SetClient;
  /** Texts of what each set has; null: there is no such set, and whatever gobgpd exports is not decided there. */
  readonly #members = new Map<4 | 6, Set<string> | null>();

  constructor(client: SetClient) {
    this.#client = client;
  }

  async read(signal: AbortSignal): Promise<void> {
    const sets = await this.#client.definedSets("prefix", signal);
    for (const family of [4, 6] as const) {
      const set = sets.find(({ name }) => name === names[family]);
      this.#members.set(family, set === undefined ? null : new Set(set.prefixes.map(({ prefix }) => prefix)));
    }
  }

  /** Not open: kube-router's set of this family is empty, and is left so: an empty one matches everything, one with our prefixes only them. */
  isOpen(prefix: Prefix): boolean {
    return this.#members.get(prefix.family)?.size !== 0;
  }

  /** @returns whether it was missing */
  async add(prefix: Prefix, signal: AbortSignal): Promise<boolean> {
    const members = this.#members.get(prefix.family);
    if (members === undefined || members === null || members.size === 0 || members.has(prefix.text)) return false;
    await this.#client.changeSet("add", names[prefix.family], [prefix], signal);
    members.add(prefix.text);
    return true;
  }

  /** The last one stays: see `isOpen`. */
  async remove(prefix: Prefix, signal: AbortSignal): Promise<void> {
    const members = this.#members.get(prefix.family);
    if (members === undefined || members === null || !members.has(prefix.text) || members.size < 2) return;
    await this.#client.changeSet("remove", names[prefix.family], [prefix], signal);
    members.delete(prefix.text);
  }
}
