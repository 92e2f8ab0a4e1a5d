/**
 * What annotations say of how BGP announces a service. A value that does not parse is told and counts as not written: the rest of the service, and
 * the rest of the list, hold.
 */
import type { AdvertisedKind, ServiceAdvertise } from "../../model/tables.ts";
import { nearest } from "../../lib/nearest.ts";
import type { Annotations } from "./read-service-annotations.ts";
import { at, isAbsent, shown, warn } from "./read-values.ts";

const prefix = "tandem.io/";
export const advertiseAnnotation = `${prefix}advertise`;
export const communitiesAnnotation = `${prefix}bgp-communities`;
export const localPreferenceAnnotation = `${prefix}bgp-local-preference`;
export const prependAnnotation = `${prefix}bgp-as-path-prepend`;

const all = [advertiseAnnotation, communitiesAnnotation, localPreferenceAnnotation, prependAnnotation];
const kinds: readonly AdvertisedKind[] = ["ClusterIP", "ExternalIPs", "LoadBalancer"];

/** RFC 1997 and RFC 3765, RFC 7999, RFC 8326, by the names that routers give them. */
const wellKnown: Readonly<Record<string, string>> = {
  "graceful-shutdown": "65535:0",
  blackhole: "65535:666",
  "no-export": "65535:65281",
  "no-advertise": "65535:65282",
  "no-export-subconfed": "65535:65283",
  "no-peer": "65535:65284",
};

/** Each is stored with the path; a path has 64 KiB for all (RFC 4271). */
const mostCommunities = 64;
/** Routers cut longer paths off. */
const mostPrepends = 10;

/** undefined: no annotation says anything. */
export function readAdvertise(annotations: Annotations): ServiceAdvertise | undefined {
  checkNames(annotations);
  const wanted = readKinds(annotations);
  const communities = readCommunities(annotations);
  const localPref = readNumber(annotations, localPreferenceAnnotation, 0xffff_ffff);
  const prepend = readNumber(annotations, prependAnnotation, mostPrepends);
  const made: ServiceAdvertise = {
    ...(wanted !== undefined && { kinds: wanted }),
    ...(communities.length > 0 && { communities }),
    ...(localPref !== undefined && { localPref }),
    ...(prepend !== undefined && { prepend }),
  };
  return Object.keys(made).length === 0 ? undefined : made;
}

/** A name that is nearly one of ours has no effect, which nobody would see. */
function checkNames({ fields, place }: Annotations): void {
  for (const name of Object.keys(fields)) {
    if (!(name.startsWith(`${prefix}bgp-`) || name.startsWith(advertiseAnnotation)) || all.includes(name)) continue;
    const near = nearest(name, all);
    const remedy = near === null ? "remove it" : `did you mean ${near}?`;
    warn(at(place, name), "SERVICE_ANNOTATION", `${name} has no effect: there is no such annotation`, remedy);
  }
}

function readKinds(annotations: Annotations): ServiceAdvertise["kinds"] {
  const text = textOf(annotations, advertiseAnnotation);
  if (text === undefined || text === "") return undefined;
  if (text === "true") return true;
  if (text === "false") return [];
  const words = text.split(",").map((word) => word.trim());
  const known = kinds.filter((kind) => words.includes(kind));
  for (const word of words) {
    if (known.some((kind) => kind === word)) continue;
    const near = nearest(word, [...kinds, "true", "false"]);
    const remedy = near === null ? `write true, false, or some of ${kinds.join(", ")}` : `did you mean ${near}?`;
    warnOf(annotations, advertiseAnnotation, `${shown(word)} is no kind of address of a service`, remedy);
  }
  return known.length === 0 ? undefined : known;
}

function readCommunities(annotations: Annotations): readonly string[] {
  const words = (textOf(annotations, communitiesAnnotation) ?? "").split(/[\s,]+/).filter((word) => word !== "");
  const found = new Set<string>();
  for (const word of words) {
    const community = communityOf(word);
    if (community !== null) found.add(community);
    else {
      const remedy = `write 64512:100, 64512:1:2 or one of ${Object.keys(wellKnown).join(", ")}`;
      warnOf(annotations, communitiesAnnotation, `${shown(word)} is no community: it is left out`, remedy);
    }
  }
  if (found.size > mostCommunities) {
    const message = `${found.size} communities: only the first ${mostCommunities} are announced`;
    warnOf(annotations, communitiesAnnotation, message, "write fewer");
  }
  return [...found].slice(0, mostCommunities).sort();
}

function communityOf(word: string): string | null {
  const named = wellKnown[word.toLowerCase()];
  if (named !== undefined) return named;
  const parts = word.split(":");
  const most = parts.length === 2 ? 0xffff : parts.length === 3 ? 0xffff_ffff : -1;
  const isGood = parts.every((part) => /^\d{1,10}$/.test(part) && Number(part) <= most);
  return isGood ? parts.map(Number).join(":") : null;
}

function readNumber(annotations: Annotations, name: string, most: number): number | undefined {
  const text = textOf(annotations, name);
  if (text === undefined || text === "") return undefined;
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (number <= most) return number;
  warnOf(annotations, name, `${shown(text)} is no number from 0 to ${most}: it is left out`, "write one in quotes");
  return undefined;
}

function textOf(annotations: Annotations, name: string): string | undefined {
  const value = annotations.fields[name];
  if (isAbsent(value)) return undefined;
  if (typeof value === "string") return value.trim();
  warnOf(annotations, name, `${shown(value)} is no text`, "put it in quotes");
  return undefined;
}

function warnOf({ place }: Annotations, name: string, message: string, remedy: string): void {
  warn(at(place, name), "SERVICE_ANNOTATION", message, remedy);
}
