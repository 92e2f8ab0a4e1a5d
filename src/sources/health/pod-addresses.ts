/** An address of a running pod of a node, asked for when something is wrong: found in one look at all pods, which serves some seconds. */
import type { Clock } from "../../lib/clock.ts";
import { type Address, prefixContains } from "../../model/ip.ts";
import type { TableStore } from "../../model/store.ts";
import type { NodeRow } from "../../model/tables.ts";

const keptMs = 5_000;

export class PodAddressIndex {
  readonly #store: Pick<TableStore, "table">;
  readonly #clock: Pick<Clock, "monotonicMs">;
  #index: ReadonlyMap<string, readonly Address[]> = new Map();
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(store: Pick<TableStore, "table">, clock: Pick<Clock, "monotonicMs">) {
    this.#store = store;
    this.#clock = clock;
  }

  /** null: it has none that is known. */
  of({ name, podCidrs }: NodeRow, family: 4 | 6): Address | null {
    if (this.#clock.monotonicMs() >= this.#untilMs) this.#build();
    const isPods = (address: Address) =>
      address.family === family && podCidrs.some((cidr) => prefixContains(cidr, address));
    return this.#index.get(name)?.find(isPods) ?? null;
  }

  /** One pod of each node that has an address of the pod network. */
  #build(): void {
    const index = new Map<string, readonly Address[]>();
    for (const { node, phase, hostNetwork, addresses } of this.#store.table("pods").values()) {
      if (phase === "Running" && !hostNetwork && addresses.length > 0 && !index.has(node)) index.set(node, addresses);
    }
    this.#index = index;
    this.#untilMs = this.#clock.monotonicMs() + keptMs;
  }
}
