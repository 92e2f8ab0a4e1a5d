/**
 * The file of probes: who connects to whom, and what has to come of it (test/conformance/README.md has the format). Every mistake
 * comes with its path, all at once.
 */
import { nearest } from "../../lib/nearest.ts";
import { parseAddress } from "../../model/ip.ts";
import type { Problem } from "../../model/status.ts";
import type { HttpRequest, KafkaRequest } from "../l7/judge.ts";
import {
  at,
  type Fields,
  type Place,
  readEach,
  readFields,
  readList,
  readText,
  refuse,
  shown,
} from "../policy/fields.ts";
import { kafkaApiKeys } from "../policy/read-cilium-requests.ts";
import { protocolNumbers } from "../policy/rules.ts";
import type { Address } from "../../model/ip.ts";
import { protocolNames, type ProtocolName } from "./text.ts";

const expectations = ["allow", "deny", "forbidden", "refused"] as const;
export type Expectation = (typeof expectations)[number];

export type ProbeRequest =
  | ({ readonly kind: "http" } & HttpRequest)
  | ({ readonly kind: "kafka" } & KafkaRequest)
  | { readonly kind: "dns"; readonly name: string };

export interface Probe {
  /** From 1, as they stand in the file. */
  readonly number: number;
  readonly from: string;
  /** Of a query: its server. */
  readonly to: string;
  readonly protocol: ProtocolName;
  /** ICMP: the type. */
  readonly port: number;
  readonly family: 4 | 6 | null;
  /** What is sent over the connection; null: it is only opened. */
  readonly request: ProbeRequest | null;
  /** What the client has learned from DNS before. */
  readonly resolved: readonly { readonly name: string; readonly addresses: readonly Address[] }[];
  readonly expect: Expectation;
}

export interface ProbesReading {
  readonly description: string;
  readonly probes: readonly Probe[];
  readonly problems: readonly Problem[];
}

const probeFields = ["from", "to", "protocol", "port", "icmp", "family", "expect", "http", "kafka", "dns", "resolved"];

/** @param value of the decoded file @param file how messages call it */
export function readProbes(value: unknown, file: string): ProbesReading {
  const problems: Problem[] = [];
  const place: Place = {
    path: "",
    report: (problem) => problems.push({ ...problem, code: problem.code.replace(/^POLICY_/, "PROBE_"), object: file }),
  };
  const fields = readFields(value, place, ["description", "covers", "probes"]);
  const description = readText(fields?.description, at(place, "description")) ?? "";
  readEach(fields?.covers, at(place, "covers"), readText);
  const list = readList(fields?.probes, at(place, "probes"));
  if ((list ?? []).length === 0) {
    refuse(at(place, "probes"), "PROBE_MISSING", "there are no probes", "write a list of {from, to, port, expect}");
  }
  const probes = (list ?? []).flatMap(
    (entry, index) => readProbe(entry, at(at(place, "probes"), index), index + 1) ?? [],
  );
  return { description, probes, problems };
}

function readProbe(value: unknown, place: Place, number: number): Probe | null {
  const fields = readFields(value ?? {}, place, probeFields);
  if (fields === null) return null;
  const dns = readFields(fields.dns, at(place, "dns"), ["name", "type", "server"]);
  const from = readName(fields.from, at(place, "from"));
  const to = dns === null ? readName(fields.to, at(place, "to")) : readName(dns.server, at(at(place, "dns"), "server"));
  if (dns !== null && fields.to !== undefined) {
    refuse(at(place, "to"), "PROBE_COMBINED", "to and dns in one probe", "a query goes to dns.server: leave out to");
  }
  const icmp = readFields(fields.icmp, at(place, "icmp"), ["type"]);
  const protocol = readOneOf(fields.protocol, at(place, "protocol"), protocolNames, dns === null ? "TCP" : "UDP");
  const isIcmp = protocol === "ICMP" || protocol === "ICMPv6";
  const port = isIcmp
    ? readNumber(icmp?.type, at(at(place, "icmp"), "type"), 0, 255)
    : readNumber(fields.port ?? (dns === null ? undefined : 53), at(place, "port"), 1, 65_535);
  if (!isIcmp && icmp !== null) {
    refuse(at(place, "icmp"), "PROBE_COMBINED", "icmp with a protocol of ports", "write protocol: ICMP or ICMPv6");
  }
  if (isIcmp && fields.port !== undefined)
    refuse(at(place, "port"), "PROBE_COMBINED", "ICMP has no port", "write icmp: {type: 8}");
  const family = fields.family === undefined ? null : readOneOf(fields.family, at(place, "family"), ["IPv4", "IPv6"]);
  const expect = readOneOf(fields.expect, at(place, "expect"), expectations);
  const requests = (["http", "kafka", "dns"] as const).filter((name) => fields[name] !== undefined);
  if (requests.length > 1) {
    refuse(place, "PROBE_COMBINED", `${requests.join(" and ")} in one probe`, "write a probe for each");
  }
  const resolved = readEach(fields.resolved, at(place, "resolved"), readResolved) ?? [];
  if (from === null || to === null || protocol === null || port === null || expect === null) return null;
  return {
    number,
    from,
    to,
    protocol,
    port,
    family: family === null ? null : family === "IPv4" ? 4 : 6,
    request: readRequest(requests[0] ?? null, fields, place),
    resolved,
    expect,
  };
}

function readRequest(kind: ProbeRequest["kind"] | null, fields: Fields, place: Place): Probe["request"] {
  if (kind === null) return null;
  if (kind === "kafka") return { kind, ...readKafka(fields.kafka, at(place, "kafka")) };
  if (kind === "dns") {
    const dns = readFields(fields.dns, at(place, "dns"), ["name", "type", "server"]);
    return { kind, name: readText(dns?.name, at(at(place, "dns"), "name")) ?? "" };
  }
  const http = readFields(fields.http, at(place, "http"), ["method", "path", "host", "headers"]);
  const text = (name: string, otherwise: string) => readText(http?.[name], at(at(place, "http"), name)) ?? otherwise;
  const headers = Object.entries((http?.headers ?? {}) as Readonly<Record<string, unknown>>);
  return {
    kind,
    method: text("method", "GET"),
    path: text("path", "/"),
    host: text("host", ""),
    headers: headers.map(([name, value]) => ({ name, value: String(value) })),
  };
}

function readKafka(value: unknown, place: Place): KafkaRequest {
  const fields = readFields(value, place, ["apiKey", "apiVersion", "clientID", "topic"]);
  const name = readText(fields?.apiKey, at(place, "apiKey")) ?? "";
  const apiKey = kafkaApiKeys.indexOf(name.toLowerCase());
  if (apiKey < 0) {
    const near = nearest(name.toLowerCase(), kafkaApiKeys);
    const remedy = near === null ? `one of ${kafkaApiKeys.join(", ")}` : `did you mean ${near}?`;
    refuse(at(place, "apiKey"), "PROBE_KAFKA", `${shown(name)} is not a request of Kafka`, remedy);
  }
  const version = fields?.apiVersion;
  const topics =
    typeof fields?.topic === "string" ? [fields.topic] : readEach(fields?.topic, at(place, "topic"), readText);
  return {
    apiKey,
    apiVersion: version === undefined ? null : readNumber(version, at(place, "apiVersion"), 0, 32_767),
    clientId: readText(fields?.clientID, at(place, "clientID")) ?? "",
    topics: (topics ?? []).filter((topic): topic is string => topic !== null),
  };
}

function readName(value: unknown, place: Place): string | null {
  const text = readText(value, place);
  if (text !== null && text !== "") return text;
  if (value === undefined || value === null || value === "") {
    refuse(
      place,
      "PROBE_MISSING",
      "this is missing",
      "write NAMESPACE/POD, node/NAME, svc/NAMESPACE/NAME or an address",
    );
  }
  return null;
}

function readNumber(value: unknown, place: Place, least: number, most: number): number | null {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  const what = value === undefined || value === null ? "this is missing" : `${shown(value)} is not one`;
  refuse(place, "PROBE_RANGE", what, `write a number from ${least} to ${most}`);
  return null;
}

function readOneOf<W extends string>(value: unknown, place: Place, words: readonly W[], otherwise?: W): W | null {
  const text = value === undefined ? otherwise : value;
  const word = words.find((one) => one === text);
  if (word !== undefined) return word;
  const what = value === undefined ? "this is missing" : `${shown(value)} is none`;
  refuse(place, "PROBE_VALUE", what, `write one of ${words.join(", ")}`);
  return null;
}

function readResolved(value: unknown, place: Place): Probe["resolved"][number] | null {
  const fields = readFields(value ?? {}, place, ["name", "addresses"]);
  const name = readText(fields?.name, at(place, "name"));
  const addresses = readEach(fields?.addresses, at(place, "addresses"), (entry, entryPlace) => {
    const text = readText(entry, entryPlace);
    const address = text === null ? null : parseAddress(text);
    if (address === null)
      refuse(entryPlace, "PROBE_ADDRESS", `${shown(entry)} is not an address`, "write an IPv4 or IPv6 address");
    return address;
  });
  return name === null ? null : { name, addresses: addresses ?? [] };
}

/** "shop/front -> shop/cart TCP 8080", with what is sent. */
export function probeText({ from, to, protocol, port, family, request }: Probe): string {
  const what = protocol === "ICMP" || protocol === "ICMPv6" ? `type ${port}` : `${port}`;
  const extra = [family === null ? "" : ` IPv${family}`, request === null ? "" : ` (${request.kind})`].join("");
  return `${from} -> ${to} ${protocol} ${what}${extra}`;
}

export function probeFlow({ protocol, port }: Probe): { readonly protocol: number; readonly port: number } {
  const number = protocolNumbers[protocol];
  return { protocol: number, port: protocol === "ICMP" || protocol === "ICMPv6" ? port << 8 : port };
}
