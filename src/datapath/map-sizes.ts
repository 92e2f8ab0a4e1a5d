/** How full the kernel's maps are, as reconcilers and sweeps know it. */
import { type MapName, mapLayouts } from "../native/layouts.gen.ts";
import type { Conntrack } from "./conntrack.ts";
import type { LoadedObjects } from "./load.ts";
import type { Nat } from "./nat.ts";
import { policyMaps } from "./policy-encode.ts";
import type { Reconciler } from "./reconcile.ts";
import type { DatapathReport } from "./report.ts";

/** Entries of each map, null where counting would cost too much, and how many there may be. */
export function mapSizes({
  objects,
  reconciler,
  conntrack,
  nat,
}: {
  readonly objects: Pick<LoadedObjects, "map">;
  readonly reconciler: Reconciler;
  readonly conntrack: Pick<Conntrack, "entries">;
  readonly nat: Pick<Nat, "entries">;
}): DatapathReport["maps"] {
  const entries = new Map<string, number>([...conntrack.entries, ...nat.entries]);
  const { endpoints, host, devices, identities, native, nodePorts, serviceAddresses, services, sets } = reconciler;
  for (const table of [
    endpoints.devices,
    endpoints.addresses,
    host.table,
    devices.table,
    ...identities.tables,
    ...native.tables,
    ...services.tables,
    nodePorts.table,
    serviceAddresses.table,
    ...services.sourceRanges.tables,
  ]) {
    entries.set(table.map.name, table.actual.size);
  }
  for (const name of policyMaps) entries.set(name, sets.entries(name));
  entries.set("service_backend", services.backendSlots);
  entries.set("maglev", services.maglevEntries);
  entries.set("source_range4", services.sourceRanges.entries(4));
  entries.set("source_range6", services.sourceRanges.entries(6));
  return (Object.keys(mapLayouts) as MapName[]).map((name) => ({
    name,
    entries: entries.get(name) ?? null,
    max: objects.map(name).maxEntries,
  }));
}
