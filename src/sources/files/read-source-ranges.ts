/**
 * Who outside may use a service's load balancer addresses: `loadBalancerSourceRanges` or, as kube-proxy takes it where that is empty, the
 * annotation of old. A mistake is told and never lets anybody in: what cannot be read is left out of those who may, and closes the service where the
 * list names those who may not.
 */
import { nearest } from "../../lib/nearest.ts";
import { parsePrefix, type Prefix } from "../../model/ip.ts";
import type { SourceRanges } from "../../model/tables.ts";
import { type Annotations, sourcePolicyAnnotation, sourceRangesAnnotation } from "./read-service-annotations.ts";
import { at, type Fields, isAbsent, type Place, shown, warn } from "./read-values.ts";

const closed: SourceRanges = { policy: "allow", prefixes: [] };
const policies = ["allow", "deny"] as const;

/** @param place of the spec */
export function readSourceRanges(spec: Fields, annotations: Annotations, place: Place): SourceRanges | null {
  const given = rangesOf(spec, annotations, place);
  if (given === null) return null;
  const policy = readPolicy(annotations);
  const prefixes = given.entries.map((entry, index) => readRange(entry, given.placeOf(index)));
  const read = prefixes.flatMap((prefix) => prefix ?? []);
  // To leave out who may not would let him in.
  if (policy === null || (policy === "deny" && read.length < prefixes.length)) return closed;
  return { policy, prefixes: read };
}

interface Given {
  readonly entries: readonly unknown[];
  readonly placeOf: (index: number) => Place;
}

function rangesOf({ loadBalancerSourceRanges: ranges }: Fields, annotations: Annotations, place: Place): Given | null {
  const field = at(place, "loadBalancerSourceRanges");
  if (Array.isArray(ranges)) {
    if (ranges.length > 0) return { entries: ranges, placeOf: (index) => at(field, index) };
  } else if (!isAbsent(ranges)) return { entries: [ranges], placeOf: () => field };
  const text = annotations.fields[sourceRangesAnnotation];
  if (isAbsent(text) || text === "") return null;
  const annotation = at(annotations.place, sourceRangesAnnotation);
  return { entries: typeof text === "string" ? text.split(",") : [text], placeOf: () => annotation };
}

function readRange(value: unknown, place: Place): Prefix | null {
  const text = typeof value === "string" ? value.trim() : "";
  const prefix = text.includes("/") ? parsePrefix(text) : null;
  if (prefix === null) {
    const message = `${shown(value)} is not a CIDR: it lets nobody in`;
    warn(place, "SERVICE_SOURCE_RANGE", message, "write address/length, as 192.0.2.0/24 or 2001:db8::/32");
  }
  return prefix;
}

/** null: it cannot be understood. */
function readPolicy({ fields, place }: Annotations): SourceRanges["policy"] | null {
  const value = fields[sourcePolicyAnnotation];
  if (isAbsent(value) || value === "") return "allow";
  const policy = policies.find((one) => one === value);
  if (policy !== undefined) return policy;
  const near = typeof value === "string" ? nearest(value, policies) : null;
  const remedy = near === null ? "write allow or deny" : `did you mean ${near}?`;
  const message = `${shown(value)} is neither allow nor deny: clients outside are not served by the load balancer's addresses`;
  warn(at(place, sourcePolicyAnnotation), "SERVICE_SOURCE_RANGE", message, remedy);
  return null;
}
