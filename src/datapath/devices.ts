/**
 * What the programs must know of the devices to other nodes (map device). All entries are ours; while the agent is away the kernel goes
 * on with them, and an uplink that came meanwhile is not used for delivery but routed by the stack.
 */
import type { MapInfo } from "../native/bpf-contract.ts";
import type { UplinkRow } from "../model/tables.ts";
import { DeviceFlags, device, deviceKey } from "../native/layouts.gen.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";

export class DeviceReconciler {
  readonly counters = new Counters();
  readonly table: MapTable;

  constructor(native: MapNative, map: MapInfo) {
    this.table = new MapTable(native, map, this.counters, (key) => `ifindex ${deviceKey.decode(key).ifindex}`);
  }

  /** Before the programs are attached: they must know whether packets have an Ethernet header. */
  async write(uplinks: readonly UplinkRow[]): Promise<readonly EntryFailure[]> {
    const entries = new Map<string, Buffer>();
    for (const { ifindex, mtu, l3 } of uplinks) {
      const flags = DeviceFlags.uplink | (l3 ? DeviceFlags.l3 : 0);
      entries.set(keyText(deviceKey.encode({ ifindex })), device.encode({ flags, mtu }));
    }
    this.table.replaceDesired(entries);
    return this.table.write();
  }

  /** After the programs were detached. */
  async remove(): Promise<readonly EntryFailure[]> {
    return this.table.remove();
  }

  /** ifindexes of what the kernel knows as uplinks. */
  known(): readonly number[] {
    return [...this.table.actual.keys()].map((key) => deviceKey.decode(Buffer.from(key, "latin1")).ifindex);
  }
}
