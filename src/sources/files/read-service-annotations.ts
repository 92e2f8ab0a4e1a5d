/**
 * What annotations say of a service: Kubernetes' older way to name source ranges, and Cilium's `service.cilium.io/*`. Those that mean nothing
 * here are told, so that nobody counts on them.
 */
import { nearest } from "../../lib/nearest.ts";
import type { ServiceRow } from "../../model/tables.ts";
import { at, type Fields, isAbsent, type Place, readFields, shown, warn } from "./read-values.ts";

export const sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges";
export const sourcePolicyAnnotation = "service.cilium.io/src-ranges-policy";
const typeAnnotation = "service.cilium.io/type";
const forwardingAnnotation = "service.cilium.io/forwarding-mode";
const selectionAnnotation = "service.cilium.io/lb-algorithm";
const weightAnnotation = "service.cilium.io/weight";

const ciliumPrefix = "service.cilium.io/";
const inUse: ReadonlySet<string> = new Set([
  sourcePolicyAnnotation,
  typeAnnotation,
  forwardingAnnotation,
  selectionAnnotation,
  `${ciliumPrefix}node`,
  `${ciliumPrefix}node-selector`,
]);

const ofMesh = "services of several clusters are not joined here: it is one of this cluster alone";
/** Of the others that Cilium knows: what becomes of a service that has it. */
const withoutEffect: Readonly<Record<string, string>> = {
  "service.cilium.io/affinity": ofMesh,
  "service.cilium.io/global": ofMesh,
  "service.cilium.io/global-sync-endpoint-slices": ofMesh,
  "service.cilium.io/proxy-delegation": "no other proxy is asked",
  "service.cilium.io/shared": ofMesh,
  [weightAnnotation]: "it is for EndpointSlices",
};

export interface Annotations {
  readonly fields: Fields;
  readonly place: Place;
}

export function annotationsOf(object: Fields, place: Place): Annotations {
  const metadataPlace = at(place, "metadata");
  const { annotations } = readFields(object.metadata, metadataPlace, null);
  const annotationsPlace = at(metadataPlace, "annotations");
  return { fields: readFields(annotations, annotationsPlace, null), place: annotationsPlace };
}

/** Tells which of Cilium's annotations have no effect. */
export function checkCiliumAnnotations({ fields, place }: Annotations): void {
  for (const [name, value] of Object.entries(fields)) {
    if (!name.startsWith(ciliumPrefix) || inUse.has(name) || isAbsent(value)) continue;
    const why = withoutEffect[name];
    const near = why === undefined ? nearest(name, [...inUse, ...Object.keys(withoutEffect)]) : null;
    const remedy = near === null ? "remove it" : `did you mean ${near}?`;
    const message = why === undefined ? "there is no such annotation" : why;
    warn(at(place, name), "SERVICE_ANNOTATION", `${name} has no effect: ${message}`, remedy);
  }
}

const exposures = ["ClusterIP", "NodePort", "LoadBalancer"] as const;

/** Of the kinds of address that the service's type brings those that it is to have; undefined: all. One that is none of them is told, and brings nothing. */
export function readExposure({ fields, place }: Annotations): ServiceRow["exposed"] {
  const value = fields[typeAnnotation];
  if (isAbsent(value) || value === "") return undefined;
  const words = typeof value === "string" ? value.split(",").map((word) => word.trim()) : [shown(value)];
  for (const word of words) {
    if (exposures.some((one) => one === word)) continue;
    const near = nearest(word, exposures);
    const remedy =
      near === null ? `write one of ${exposures.join(", ")}, or several with commas` : `did you mean ${near}?`;
    warn(at(place, typeAnnotation), "SERVICE_ANNOTATION", `${shown(word)} is no kind of address of a service`, remedy);
  }
  return exposures.filter((one) => words.includes(one));
}

const forwardingModes = ["snat", "dsr"] as const;

/** How backends on other nodes answer clients outside; undefined: as the setting loadBalancerMode says, also where it is none that there is. */
export function readForwarding({ fields, place }: Annotations): ServiceRow["forwarding"] {
  const value = fields[forwardingAnnotation];
  if (isAbsent(value) || value === "") return undefined;
  const mode = forwardingModes.find((one) => one === value);
  if (mode === undefined) {
    const message = `${shown(value)} is no way to forward: the service goes by the node's settings`;
    warn(at(place, forwardingAnnotation), "SERVICE_ANNOTATION", message, `write ${forwardingModes.join(" or ")}`);
  }
  return mode;
}

const selections = ["random", "maglev"] as const;

/** What chooses a backend for clients inside; undefined: as the setting serviceSelection says, also where it is none that there is. */
export function readSelection({ fields, place }: Annotations): ServiceRow["selection"] {
  const value = fields[selectionAnnotation];
  if (isAbsent(value) || value === "") return undefined;
  const selection = selections.find((one) => one === value);
  if (selection === undefined) {
    const message = `${shown(value)} is no way to choose a backend: the service goes by the node's settings`;
    warn(at(place, selectionAnnotation), "SERVICE_ANNOTATION", message, `write ${selections.join(" or ")}`);
  }
  return selection;
}

const mostWeight = 65_535;

/** What the endpoints of a slice count against others; undefined: 1, also where it is no number that can be. */
export function readWeight({ fields, place }: Annotations): number | undefined {
  const value = fields[weightAnnotation];
  if (isAbsent(value) || value === "") return undefined;
  const weight = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
  if (weight <= mostWeight) return weight;
  const message = `${shown(value)} is no weight: its endpoints count as those of other slices`;
  warn(at(place, weightAnnotation), "SLICE_WEIGHT", message, `write a number from 0 to ${mostWeight} in quotes`);
  return undefined;
}
