/** Keeps the MTU of this node's pods what the ways to other nodes allow: of new ones, and of those that run when a way changes. */
import type { CniService } from "../cni/index.ts";
import { type MtuOptions, type MtuTables, type PodMtu, podMtu } from "../compute/pod-mtu.ts";
import type { Logger } from "../model/logging.ts";

export interface PodMtuOptions extends MtuOptions {
  /** As they are now. */
  readonly tables: () => MtuTables;
  readonly cni: () => Pick<CniService, "setMtu">;
  readonly log: Pick<Logger, "info">;
}

export class PodMtuFollower {
  readonly #options: PodMtuOptions;
  #seen: MtuTables | null = null;
  #current: PodMtu | null = null;
  #given: number | null = null;
  #giving: Promise<void> = Promise.resolve();

  constructor(options: PodMtuOptions) {
    this.#options = options;
  }

  get current(): PodMtu {
    this.#current ??= podMtu(this.#options.tables(), this.#options);
    return this.#current;
  }

  /** After facts changed. The first time pods of the agent before this one get it too, whatever they had. */
  follow({ nodes, routes, uplinks }: MtuTables): void {
    const seen = this.#seen;
    if (seen?.nodes === nodes && seen.routes === routes && seen.uplinks === uplinks) return;
    this.#seen = { nodes, routes, uplinks };
    const { bytes, from } = podMtu(this.#seen, this.#options);
    this.#current = { bytes, from };
    if (bytes === this.#given) return;
    if (this.#given !== null) this.#options.log.info({ bytes, before: this.#given, from }, "MTU of pods changed");
    this.#given = bytes;
    this.#giving = this.#giving.then(() => this.#give(bytes));
  }

  /** Resolves when the pods that were there have the last one. */
  settled(): Promise<void> {
    return this.#giving;
  }

  async #give(bytes: number): Promise<void> {
    // Another one came meanwhile.
    if (bytes === this.#given) await this.#options.cni().setMtu(bytes);
  }
}
