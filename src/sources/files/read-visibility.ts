/** The annotation of pods that makes requests visible: "<Egress/53/UDP/DNS>,<Ingress/80/TCP/HTTP>", as Cilium 1.8 to 1.15 have it. */
import type { PodVisibility } from "../../model/tables.ts";
import { type Place, warn } from "./read-values.ts";

export const visibilityAnnotation = "policy.cilium.io/proxy-visibility";

const [TCP, UDP] = [6, 17];

/** What proxies see of each. */
const transports = { HTTP: [TCP], KAFKA: [TCP], DNS: [TCP, UDP] } as const;

const form = /^<(Ingress|Egress)\/([1-9]\d{0,4})\/(TCP|UDP|SCTP|ANY)\/([A-Za-z]{3,32})>$/;

/** An entry that means nothing is a warning, and the others count. */
export function readVisibility(text: string, place: Place): readonly PodVisibility[] {
  const found = text.split(",").flatMap((entry) => readEntry(entry.trim(), place));
  const known = new Set<string>();
  return found.filter(({ direction, protocol, port }) => {
    const way = `${direction} ${protocol}/${port}`;
    if (known.has(way)) refused(place, way, "is named twice: what is named first counts");
    return known.size < known.add(way).size;
  });
}

function readEntry(entry: string, place: Place): readonly PodVisibility[] {
  const [, side = "", digits = "", transport = "", parser = ""] = form.exec(entry) ?? [];
  const name = parser.toUpperCase();
  const port = Number(digits);
  if (side === "" || port > 65_535) {
    refused(place, JSON.stringify(entry), "is not <Ingress|Egress/PORT/TCP|UDP|ANY/HTTP|DNS|Kafka>");
    return [];
  }
  if (name !== "HTTP" && name !== "DNS" && name !== "KAFKA") {
    refused(place, entry, `names ${parser}, which no proxy of Tandem reads: write HTTP, DNS or Kafka`);
    return [];
  }
  if (name === "DNS" && side === "Ingress") {
    refused(place, entry, "is DNS at ingress: it is told of the pods that ask, so write Egress");
    return [];
  }
  const wanted: readonly number[] = transport === "ANY" ? [TCP, UDP] : transport === "TCP" ? [TCP] : [UDP];
  const protocols = transport === "SCTP" ? [] : transports[name].filter((protocol) => wanted.includes(protocol));
  if (protocols.length === 0) refused(place, entry, `is ${name} over ${transport}, which nobody speaks`);
  const direction = side === "Ingress" ? "ingress" : "egress";
  return protocols.map((protocol) => ({ direction, protocol, port, l7: name.toLowerCase() as PodVisibility["l7"] }));
}

function refused(place: Place, entry: string, message: string): void {
  warn(place, "POD_VISIBILITY", `${entry} ${message}; it makes nothing visible`, "see L7 visibility in docs/l7.md");
}
