/** Which clients outside may use a service's address, from what the service says of both families at once. A family that it does not name has nobody. */
import { type Address, comparePrefixes, type Prefix } from "../../model/ip.ts";
import type { Severity } from "../../model/status.ts";
import type { ServiceRow, SourceRanges } from "../../model/tables.ts";

export type Report = (severity: Severity, code: string, field: string, message: string, remedy: string) => void;

/** undefined: all. */
export function sourcesOf({ sourceRanges }: ServiceRow, family: 4 | 6): SourceRanges | undefined {
  if (sourceRanges === null) return undefined;
  const prefixes = ofFamily(sourceRanges.prefixes, family);
  if (sourceRanges.policy === "deny" && prefixes.length === 0) return undefined;
  return { policy: sourceRanges.policy, prefixes };
}

/** Tells of ranges of a family in which the service has no address, and of addresses that its ranges leave without a client. */
export function checkSourceRanges({ sourceRanges, loadBalancerIps }: ServiceRow, report: Report): void {
  if (sourceRanges === null || loadBalancerIps.length === 0) return;
  const { policy, prefixes } = sourceRanges;
  const field = "spec.loadBalancerSourceRanges";
  if (policy === "allow" && prefixes.length === 0) {
    const message = `nobody outside may use ${texts(loadBalancerIps)}: no range can be read`;
    report("warning", "SERVICE_SOURCE_RANGES", field, message, "correct the ranges, or remove them all");
    return;
  }
  for (const family of [4, 6] as const) {
    const addresses = loadBalancerIps.filter((each) => each.family === family);
    const ranges = ofFamily(prefixes, family);
    if (addresses.length === 0 && ranges.length > 0) {
      const message = `the service has no IPv${family} address for clients of ${ranges.map(({ text }) => text).join(", ")}`;
      report(
        "warning",
        "SERVICE_SOURCE_RANGES",
        field,
        message,
        `remove them, or give the service an IPv${family} address`,
      );
    }
    if (addresses.length > 0 && ranges.length === 0 && policy === "allow") {
      const message = `nobody outside may use ${texts(addresses)}: all ranges are of IPv${family === 4 ? 6 : 4}`;
      report("warning", "SERVICE_SOURCE_RANGES", field, message, `add ranges of IPv${family}`);
    }
  }
}

/** Sorted, each once. */
function ofFamily(prefixes: readonly Prefix[], family: 4 | 6): readonly Prefix[] {
  const sorted = prefixes.filter((each) => each.family === family).sort(comparePrefixes);
  return sorted.filter(({ text }, at) => sorted[at - 1]?.text !== text);
}

function texts(addresses: readonly Address[]): string {
  return addresses.map(({ text }) => text).join(", ");
}
