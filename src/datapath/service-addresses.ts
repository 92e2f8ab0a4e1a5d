/**
 * Addresses that services have (service_address): pings to them are answered, whoever serves them. All entries are ours; while the agent is
 * away they stay, as the services do. A change of one service costs what that service has.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import { type Address, fromMappedBytes, toMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { type MapName, ServiceScope, serviceAddress, serviceAddressKey } from "../native/layouts.gen.ts";
import type { Doubt } from "./comparison.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";
import { type FrontendChanges, rowChanges } from "./row-changes.ts";

/** How many frontends an address has, for clients of each scope. */
interface Users {
  inside: number;
  outside: number;
}

export class ServiceAddressReconciler {
  readonly counters = new Counters();
  readonly table: MapTable;
  readonly #changes: FrontendChanges;
  #last: readonly DesiredFrontend[] = [];
  /** By the text of the address. */
  readonly #users = new Map<string, Users>();
  #synced = false;

  constructor(native: MapNative, map: (name: MapName) => MapInfo, changes: FrontendChanges = rowChanges) {
    this.#changes = changes;
    this.table = new MapTable(native, map("service_address"), this.counters, (key) => {
      return `service address ${fromMappedBytes(serviceAddressKey.decode(key).address).text}`;
    });
  }

  /** @returns how many entries were not as they were believed to be */
  read(): Promise<number> {
    this.#synced = false;
    return this.table.read();
  }

  look(): Promise<Doubt | null> {
    return this.table.look();
  }

  async apply(frontends: readonly DesiredFrontend[]): Promise<readonly EntryFailure[]> {
    const { gone, come } = this.#changes(this.#last, frontends);
    this.#last = frontends;
    const touched = new Map<string, Address>();
    for (const [rows, step] of [
      [gone, -1],
      [come, 1],
    ] as const) {
      for (const { address, outside } of rows) {
        touched.set(address.text, address);
        const users = this.#users.get(address.text) ?? { inside: 0, outside: 0 };
        users.inside += step;
        if (outside !== undefined) users.outside += step;
        this.#users.set(address.text, users);
      }
    }
    for (const [text, address] of touched) this.#want(text, address);
    if (this.#synced && touched.size === 0) return [];
    const failures = await this.table.sync();
    this.#synced = failures.length === 0;
    return failures;
  }

  #want(text: string, address: Address): void {
    const key = keyText(serviceAddressKey.encode({ address: toMappedBytes(address) }));
    const { inside, outside } = this.#users.get(text) ?? { inside: 0, outside: 0 };
    if (inside === 0) {
      this.#users.delete(text);
      this.table.deleteDesired(key);
      return;
    }
    const scopes = (1 << ServiceScope.inside) | (outside > 0 ? 1 << ServiceScope.outside : 0);
    this.table.setDesired(key, serviceAddress.encode({ scopes }));
  }
}
