/** Settings that may change while programs run: one entry of the map `settings`, which is ours. It stays while the agent is away. */
import type { MapInfo } from "../native/bpf-contract.ts";
import { u32 } from "../native/layout.ts";
import { settings } from "../native/layouts.gen.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";

/** Records of drops that each CPU may make in a second; the counters hold all of them. A flood must not drown what else happens. */
const dropEventsPerSecond = 1000;

export class SettingsReconciler {
  readonly counters = new Counters();
  readonly table: MapTable;

  constructor(native: MapNative, map: MapInfo) {
    this.table = new MapTable(native, map, this.counters, () => "settings");
  }

  async apply(traceFlows: boolean): Promise<readonly EntryFailure[]> {
    const value = settings.encode({ trace: traceFlows ? 1 : 0, dropEventsPerSecond });
    this.table.replaceDesired(new Map([[keyText(u32.encode(0)), value]]));
    return this.table.write();
  }
}
