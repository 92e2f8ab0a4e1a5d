/**
 * The speaker's table of best paths in ours: filled by a list and followed by events, which are newer than the list that is read
 * meanwhile. Bounded: paths beyond the limit are counted and not kept.
 */
import { equalRows, type TableStore } from "../../model/store.ts";
import type { BgpPathRow } from "../../model/tables.ts";
import type { AsSegment, Path } from "./types.ts";

/** Rows written before the event loop gets a turn: about a ms. */
const rowsPerTurn = 250;

export interface RibOptions {
  readonly store: TableStore;
  /** Paths that are kept at most. */
  readonly limit: number;
}

export class Rib {
  readonly #store: TableStore;
  readonly #limit: number;
  /** Prefixes of the list that is read; null: none is. */
  #listed: Set<string> | null = null;
  /** Prefixes that events told of while a list is read. */
  readonly #news = new Set<string>();
  readonly #beyond = new Set<string>();
  /** The last of each kind: neighbouring paths share what they carry. */
  #communities: readonly string[] = [];
  #others: readonly string[] = [];

  constructor({ store, limit }: RibOptions) {
    this.#store = store;
    this.#limit = limit;
  }

  /** Paths that are kept, and that are there beyond the limit. */
  get counts(): { readonly kept: number; readonly beyond: number } {
    return { kept: this.#store.table("bgpPaths").size, beyond: this.#beyond.size };
  }

  /** From here on `list` tells all there is. */
  begin(): void {
    this.#listed = new Set();
    this.#news.clear();
    this.#beyond.clear();
  }

  /** @param paths to one prefix */
  list(paths: readonly Path[]): void {
    const best = paths.find((path) => path.best) ?? paths[0];
    if (best === undefined || this.#news.has(best.prefix.text)) return;
    this.#listed?.add(best.prefix.text);
    this.#write(best);
  }

  /** Forgets what the list did not have. */
  async commit(): Promise<void> {
    const listed = this.#listed ?? new Set<string>();
    let written = 0;
    for (const key of [...this.#store.table("bgpPaths").keys()]) {
      if (listed.has(key) || this.#news.has(key)) continue;
      this.#store.delete("bgpPaths", key);
      if (++written % rowsPerTurn === 0) await turn();
    }
    this.#listed = null;
    this.#news.clear();
  }

  /** @param paths as many as an event has at most: who follows gives others their turn in between */
  follow(paths: readonly Path[]): void {
    for (const path of paths) {
      const key = path.prefix.text;
      if (this.#listed !== null) this.#news.add(key);
      if (path.withdrawn) {
        this.#beyond.delete(key);
        this.#store.delete("bgpPaths", key);
      } else this.#write(path);
    }
  }

  #write(path: Path): void {
    const key = path.prefix.text;
    const table = this.#store.table("bgpPaths");
    if (!table.has(key) && table.size >= this.#limit) {
      // Counting them has a bound, too.
      if (this.#beyond.size < this.#limit) this.#beyond.add(key);
      return;
    }
    this.#store.upsert("bgpPaths", key, this.#row(path));
  }

  #row(path: Path): BgpPathRow {
    const communities = [...path.communities, ...path.largeCommunities];
    if (!equalRows(communities, this.#communities)) this.#communities = communities;
    if (!equalRows(path.others, this.#others)) this.#others = path.others;
    const { prefix, nextHop, peer, localPref, med, originatorId, stale } = path;
    return {
      prefix,
      nextHop,
      peer,
      asPath: asPathText(path.asPath),
      localPref,
      med,
      communities: this.#communities,
      originatorId,
      stale,
      others: this.#others,
    };
  }
}

/** As routers print it: sets in braces, confederations in parentheses (RFC 5065). */
export function asPathText(segments: readonly AsSegment[]): string {
  return segments
    .filter(({ numbers }) => numbers.length > 0)
    .map(({ kind, numbers }) => {
      const [open, close] = brackets[kind];
      return `${open}${numbers.join(" ")}${close}`;
    })
    .join(" ");
}

const brackets: Readonly<Record<AsSegment["kind"], readonly [string, string]>> = {
  sequence: ["", ""],
  set: ["{", "}"],
  "confed-sequence": ["(", ")"],
  "confed-set": ["[", "]"],
};

const turn = () => new Promise((resolve) => setImmediate(resolve));
