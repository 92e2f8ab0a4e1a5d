/**
 * Whose clients from outside this node could not serve after the last apply: who announces service addresses withdraws those, and no others. A pod without
 * its policy, an identity or a prefix that found no room are told where they failed, and take nothing from services.
 */
import type { UplinkRow } from "../model/tables.ts";
import type { EntryFailure } from "./problems.ts";

export interface Servability {
  /** What keeps every address from being served; null: nothing does. */
  readonly all: string | null;
  /** By the text of an address that is not in the kernel as it should be: what is missing. */
  readonly addresses: ReadonlyMap<string, string>;
}

/** Before there is a datapath. */
export const servesNothing: Servability = { all: "the datapath is not up", addresses: new Map() };

/** Without these no packet from outside is a service's. */
const neededByAll: ReadonlySet<string> = new Set(["settings", "device"]);

/** @param closed uplinks without their programs */
export function servability(
  failures: readonly EntryFailure[],
  closed: readonly Pick<UplinkRow, "name">[],
): Servability {
  const [uplink] = closed;
  const broken = failures.find(({ map }) => neededByAll.has(map));
  const addresses = new Map<string, string>();
  for (const { map, entry, service } of failures)
    if (service !== undefined && !addresses.has(service)) addresses.set(service, `map ${map} has not taken ${entry}`);
  if (uplink !== undefined) return { all: `the programs of ${uplink.name} are not attached`, addresses };
  return { all: broken === undefined ? null : `map ${broken.map} has not taken ${broken.entry}`, addresses };
}
