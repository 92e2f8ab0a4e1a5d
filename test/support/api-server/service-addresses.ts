/** Cluster addresses and node ports of services: given out from the server's ranges, kept for a service's life, no two alike. */
import { addressFromBytes, parsePrefix } from "../../../src/model/ip.ts";
import { invalid, invalidValue } from "./failure.ts";
import { at, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";
import type { Resource } from "./resources.ts";

export interface ServiceRanges {
  /** One prefix per family; the first is that of services that do not say which. */
  readonly cidrs: readonly string[];
}

const firstNodePort = 30_000;
const lastNodePort = 32_767;
/** Addresses at the start of a range that are looked through; more services than that are no test. */
const searched = 65_000;

/**
 * @param old the service before; null for a new one
 * @param services all others
 * @throws ApiFailure 422
 */
export function withAddresses(
  resource: Resource,
  ranges: ServiceRanges,
  old: JsonObject | null,
  service: JsonObject,
  services: Iterable<JsonObject>,
): JsonObject {
  const spec = objectAt(service, "spec");
  if (spec.type === "ExternalName") return service;
  const others = [...services].map((other) => objectAt(other, "spec"));
  const addressed = withClusterIps(resource, ranges, objectAt(old ?? undefined, "spec"), service, others);
  return { ...service, spec: withNodePorts(objectAt(old ?? undefined, "spec"), addressed, others) };
}

function withClusterIps(
  resource: Resource,
  { cidrs }: ServiceRanges,
  before: JsonObject,
  service: JsonObject,
  others: readonly JsonObject[],
): JsonObject {
  const spec = objectAt(service, "spec");
  const name = textAt(service, "metadata", "name");
  const had = textAt(before, "clusterIP");
  const asked = textAt(spec, "clusterIP") || String(listAt(spec, "clusterIPs")[0] ?? "") || had;
  if (had !== "" && asked !== had) {
    const causes = [invalidValue("spec.clusterIPs[0]", JSON.stringify([asked]), "primary clusterIP can not be unset")];
    throw invalid(resource, name, causes);
  }
  const kept = listAt(spec, "clusterIPs").length > 0 ? listAt(spec, "clusterIPs") : listAt(before, "clusterIPs");
  const families = familiesOf(spec, before, cidrs);
  const policy = textAt(spec, "ipFamilyPolicy") || textAt(before, "ipFamilyPolicy") || "SingleStack";
  const about = { ipFamilies: families, ipFamilyPolicy: policy };
  if (asked === "None") return { ...spec, clusterIP: "None", clusterIPs: ["None"], ...about };
  const used = new Set<Json>(others.flatMap((other) => listAt(other, "clusterIPs")));
  const addresses = families.map((family, index) => {
    const wanted = String(kept[index] ?? (index === 0 ? asked : ""));
    const cidr = cidrs.find((each) => each.includes(":") === (family === "IPv6")) ?? "";
    if (wanted === "") return freeAddress(cidr, used);
    if (wanted !== had && used.has(wanted)) {
      const why = "failed to allocate IP: provided IP is already allocated";
      throw invalid(resource, name, [invalidValue("spec.clusterIPs", JSON.stringify([wanted]), why)]);
    }
    return wanted;
  });
  return { ...spec, clusterIP: addresses[0] ?? "", clusterIPs: addresses, ...about };
}

function familiesOf(spec: JsonObject, before: JsonObject, cidrs: readonly string[]): readonly string[] {
  const served = cidrs.map((cidr) => (cidr.includes(":") ? "IPv6" : "IPv4"));
  const policy = textAt(spec, "ipFamilyPolicy") || textAt(before, "ipFamilyPolicy");
  const addresses = [...listAt(spec, "clusterIPs"), ...(textAt(spec, "clusterIP") ? [textAt(spec, "clusterIP")] : [])];
  const named = addresses.filter((ip) => ip !== "None").map((ip) => (String(ip).includes(":") ? "IPv6" : "IPv4"));
  const said = listAt(spec, "ipFamilies").length > 0 ? listAt(spec, "ipFamilies") : listAt(before, "ipFamilies");
  const wanted = [...new Set([...said.map(String), ...named])];
  const [first = served[0] ?? "IPv4"] = wanted;
  const second = served.find((family) => family !== first);
  const dual = policy === "PreferDualStack" || policy === "RequireDualStack" || (policy === "" && wanted.length > 1);
  return dual && second !== undefined ? [first, second] : [first];
}

/** The address of that number in a prefix; 0 is its first. @throws RangeError for a text that is no prefix */
export function nthAddress(cidr: string, number: number): string {
  const prefix = parsePrefix(cidr);
  if (prefix === null) throw new RangeError(`${cidr} is no prefix`);
  const bytes = Uint8Array.from(prefix.address.bytes);
  let rest = number;
  for (let index = bytes.length - 1; index >= 0 && rest > 0; index--) {
    rest += bytes[index] ?? 0;
    bytes[index] = rest & 0xff;
    rest >>= 8;
  }
  return addressFromBytes(bytes).text;
}

/** Not the very first one, which is that of the API server. */
function freeAddress(cidr: string, used: ReadonlySet<Json>): string {
  for (let number = 2; number < searched; number++) {
    const address = nthAddress(cidr, number);
    if (!used.has(address)) return address;
  }
  throw new RangeError(`the range of services ${cidr} is used up`);
}

function withNodePorts(before: JsonObject, spec: JsonObject, others: readonly JsonObject[]): JsonObject {
  const ports = listAt(spec, "ports").filter(isObject);
  if (spec.type !== "NodePort" && spec.type !== "LoadBalancer") return spec;
  const used = new Set<Json>(
    others.flatMap((other) => listAt(other, "ports").map((port) => at(port, "nodePort") ?? 0)),
  );
  for (const { nodePort = 0 } of ports) used.add(nodePort);
  return {
    ...spec,
    ports: ports.map((port) => {
      if (Number(port.nodePort ?? 0) > 0 || spec.allocateLoadBalancerNodePorts === false) return port;
      const had = listAt(before, "ports")
        .filter(isObject)
        .find((other) => other.port === port.port && other.protocol === port.protocol);
      let number = Number(had?.nodePort ?? 0);
      for (let next = firstNodePort; number === 0 && next <= lastNodePort; next++) if (!used.has(next)) number = next;
      used.add(number);
      return { ...port, nodePort: number };
    }),
  };
}
