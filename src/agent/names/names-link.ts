/**
 * Names as the proxies of this node see them: an answer that a pod waits for is learned at once, and the proxy hears when its addresses are in the
 * kernel. What cannot be learned in time the proxy lets go by itself; nothing here waits for a proxy.
 */
import type { LookupMessage, NamesFromProxy, NamesToProxy } from "../../api/names-link.ts";
import type { CompiledSet } from "../../compute/desired.ts";
import { nameExpression } from "../../compute/l7/name-expression.ts";
import { isReachable, type NameAddress } from "../../dns/addresses.ts";
import { type Clock, resolvedWithin } from "../../lib/clock.ts";
import { normalName } from "../../model/dns-names.ts";
import { parseAddress } from "../../model/ip.ts";
import type { TableStore } from "../../model/store.ts";
import { patternsOf } from "./name-reports.ts";

/** Seconds beyond an answer's own: a proxy asks again for what it will soon take for closed (addon/src/l7/dns/names.cc). */
const graceSeconds = 1;

export interface NamesLinkOptions {
  /** Takes what an answer says into the tables. @param endpoint whose it is alone; null: it counts for all. @param ago seconds. @returns whether they changed */
  readonly learn: (endpoint: string | null, name: string, found: readonly NameAddress[], ago: number) => boolean;
  /** containerId of the pod with this number on the node; null: there is none. Not set: what one pod is given counts for all. */
  readonly endpointOf?: (number: number) => string | null;
  readonly store: Pick<TableStore, "revision">;
  /** To every proxy. */
  readonly broadcast: (message: NamesToProxy) => void;
}

type Send = (message: NamesToProxy) => void;

export class NamesLink {
  readonly #options: NamesLinkOptions;
  /** Revision of the tables with the last change of a name. */
  #changed = 0;
  /** Of the tables that the kernel has. */
  #applied = 0;
  #waiting: { readonly revision: number; readonly tickets: readonly number[]; readonly send: Send }[] = [];
  /** undefined: no sets are known yet, and proxies go on by what the agent before wanted. */
  #pattern: string | null | undefined;
  /** Told before it was known whose the numbers are; null: it is known. */
  #early: { readonly lookups: readonly LookupMessage[]; readonly send: Send }[] | null = [];
  #onHeard: () => void = () => undefined;
  readonly #heard = new Promise<void>((resolve) => {
    this.#onHeard = resolve;
  });

  constructor(options: NamesLinkOptions) {
    this.#options = options;
  }

  /** What no other part of the agent understands. */
  take(message: { readonly type: string }, send: Send): void {
    const known = message as NamesFromProxy;
    if (known.type === "names-hello") {
      if (this.#pattern !== undefined) send(this.#wanted(this.#pattern));
      this.#onHeard();
    } else if (known.type === "names-seen") {
      if (this.#early !== null) this.#early.push({ lookups: known.lookups, send });
      else this.#learn(known.lookups, send);
    }
  }

  /** The pods of before and their names are known. */
  restored(): void {
    const early = this.#early ?? [];
    this.#early = null;
    for (const { lookups, send } of early) this.#learn(lookups, send);
  }

  /** Resolves when a proxy has told what the agent before may have lost, or after that time. */
  heard(limitMs: number, clock: Pick<Clock, "setTimer">): Promise<void> {
    return resolvedWithin(this.#heard, limitMs, clock);
  }

  /** These sets, of tables of this revision, are in the kernel. */
  applied(sets: readonly CompiledSet[], revision: number): void {
    this.#applied = revision;
    const pattern = expressionOf(sets);
    if (pattern !== this.#pattern) {
      this.#pattern = pattern;
      this.#options.broadcast(this.#wanted(pattern));
    }
    const ready = this.#waiting.filter((each) => each.revision <= revision);
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((each) => each.revision > revision);
    for (const { tickets, send } of ready) send({ type: "names-open", tickets });
  }

  /** Addresses of names went before their time. null: of all. */
  forgotten(names: readonly string[] | null): void {
    this.#options.broadcast({ type: "names-forget", names: names?.map((name) => `${name}.`) ?? null });
  }

  /** These pods, by their numbers, are no more: others may have the numbers. */
  gone(endpoints: readonly number[]): void {
    if (this.#options.endpointOf !== undefined) this.#options.broadcast({ type: "names-gone", endpoints });
  }

  #wanted(pattern: string | null): NamesToProxy {
    return { type: "names-wanted", pattern, shared: this.#options.endpointOf === undefined };
  }

  #learn(lookups: readonly LookupMessage[], send: Send): void {
    const { learn, store, endpointOf } = this.#options;
    const gone = new Set<number>();
    for (const { endpoint, name, ttl, addresses, ago = 0 } of lookups) {
      const of = endpointOf === undefined ? null : endpointOf(endpoint);
      if (of === null && endpointOf !== undefined) {
        gone.add(endpoint);
        continue;
      }
      const found = addresses.flatMap((text): readonly NameAddress[] => {
        const address = parseAddress(text);
        return address !== null && isReachable(address) ? [{ address, ttl: ttl + graceSeconds }] : [];
      });
      if (learn(of, normalName(name), found, ago)) this.#changed = store.revision;
    }
    const tickets = lookups.map(({ ticket }) => ticket);
    if (this.#changed <= this.#applied) send({ type: "names-open", tickets });
    else this.#waiting.push({ revision: this.#changed, tickets, send });
    // Told of a pod that went meanwhile: nothing was opened, and the proxy must not believe so of who has its number next.
    if (gone.size > 0) send({ type: "names-gone", endpoints: [...gone] });
  }
}

/** @returns LocalEndpointRow.containerId; null: no pod of this node has that number */
export function containerOf(store: Pick<TableStore, "table">, number: number): string | null {
  for (const { id, containerId } of store.table("localEndpoints").values()) if (id === number) return containerId;
  return null;
}

function expressionOf(sets: readonly CompiledSet[]): string | null {
  const patterns = [...patternsOf(sets).values()].map(({ pattern }) => nameExpression(pattern));
  return patterns.length === 0 ? null : patterns.sort().join("|");
}
