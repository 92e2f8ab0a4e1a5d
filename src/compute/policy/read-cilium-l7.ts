/**
 * What a port rule demands beyond addresses and ports: such a rule becomes a redirect to the proxy. What the proxy does not enforce (yet) is closed
 * there, unless another rule allows it without L7, and the user is told. What no proxy could make sense of is refused.
 */
import { fieldNames } from "../../lib/schema.ts";
import { compareText } from "../../model/labels.ts";
import {
  authenticationModes,
  authenticationSchema,
  dnsNameSchema,
  envoyConfigSchema,
  envoyKinds,
  httpSchema,
  kafkaSchema,
  listenerSchema,
  requestsSchema,
  tlsSchema,
} from "./cilium-requests-schema.ts";
import { demandFields } from "./cilium-schema.ts";
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
  warn,
} from "./fields.ts";
import { unknownWord } from "./read-values.ts";
import { checkHttpRule, checkKafkaRule } from "./read-cilium-requests.ts";
import { type Direction, type Port, protocolNumbers } from "./rules.ts";

const { TCP, SCTP } = protocolNumbers;

type L7Kind = "http" | "kafka" | "dns" | "l7";

const knownFields: Readonly<Record<Exclude<L7Kind, "l7">, readonly string[]>> = {
  http: fieldNames(httpSchema),
  kafka: fieldNames(kafkaSchema),
  dns: fieldNames(dnsNameSchema),
};

export interface DemandScope {
  readonly direction: Direction;
  /** The policy is about nodes. */
  readonly ofNodes: boolean;
}

/** Canonical text of everything that the port rule demands; "" if nothing, null if it was refused. */
export function readDemands(
  fields: Fields,
  place: Place,
  { direction, ofNodes }: DemandScope,
  ports: readonly Port[],
): string | null {
  const rules = readRules(fields.rules, at(place, "rules"), { direction, ofNodes }, ports);
  checkTogether(fields, place, rules !== null && rules !== "");
  const others = demandFields.slice(1).flatMap((name) => {
    const value = fields[name];
    if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return [];
    return readOther(name, value, at(place, name), direction) ? [`${name} ${canonicalText(value)}`] : [];
  });
  if (rules === null) return null;
  const demands = [...(rules === "" ? [] : [rules]), ...others];
  if (demands.length > 0 && !isEnforced(demands, fields.rules)) {
    const message = "this is not enforced yet: what the rule names is dropped unless another rule allows it without";
    warn(place, "POLICY_L7_PENDING", message, "allow the ports without L7 rules where that is enough");
  }
  return demands.join("\n");
}

/** What tandem-proxy judges. */
const enforcedKinds: readonly string[] = ["http", "kafka", "dns", "serverNames"];

/** @param rules as they were written */
function isEnforced(demands: readonly string[], rules: unknown): boolean {
  const [only = "", ...others] = demands;
  if (others.length > 0 || !enforcedKinds.includes(only.slice(0, only.indexOf(" ")))) return false;
  // Values of headers that a Secret holds: nobody reads it for the proxy.
  const { http = [] } = (rules ?? {}) as { readonly http?: readonly unknown[] | null };
  return !(http ?? []).some((rule) => /"secret":\{/.test(JSON.stringify(rule)));
}

/** What would be for two proxies at once. @param hasRules L7 rules are there */
function checkTogether({ serverNames, terminatingTLS, listener }: Fields, place: Place, hasRules: boolean): void {
  if (!hasRules) return;
  const isEncrypted = terminatingTLS === undefined || terminatingTLS === null;
  if (Array.isArray(serverNames) && serverNames.length > 0 && isEncrypted) {
    const remedy = "write terminatingTLS too, or an entry of toPorts for each";
    refuse(at(place, "serverNames"), "POLICY_COMBINED", "server names beside rules about what TLS hides", remedy);
  }
  if (listener !== undefined && listener !== null) {
    const remedy = "the listener judges requests itself: write one of both";
    refuse(at(place, "listener"), "POLICY_COMBINED", "a listener beside L7 rules", remedy);
  }
}

function readListener(value: unknown, place: Place): boolean {
  const fields = readFields(value, place, fieldNames(listenerSchema));
  if (fields === null) return false;
  if ((readText(fields.name, at(place, "name")) ?? "") === "") {
    refuse(at(place, "name"), "POLICY_MISSING", "the listener has no name", "write name");
  }
  const { priority } = fields;
  const isPriority = typeof priority === "number" && Number.isInteger(priority) && priority >= 1 && priority <= 100;
  if (priority !== undefined && priority !== null && !isPriority) {
    const message = `${shown(priority)} is not a priority (1-100)`;
    refuse(at(place, "priority"), "POLICY_LISTENER", message, "write a number from 1 to 100, or leave it out");
  }
  const config = readFields(fields.envoyConfig, at(place, "envoyConfig"), fieldNames(envoyConfigSchema));
  if (config === null) return true;
  const configPlace = at(place, "envoyConfig");
  const kind = readText(config.kind, at(configPlace, "kind")) ?? "";
  if (kind !== "" && !envoyKinds.some((each) => each === kind)) {
    unknownWord(at(configPlace, "kind"), "POLICY_LISTENER", kind, "a kind that has listeners", envoyKinds);
  }
  if ((readText(config.name, at(configPlace, "name")) ?? "") === "") {
    refuse(at(configPlace, "name"), "POLICY_MISSING", "the configuration has no name", "write name");
  }
  return true;
}

function readOther(name: string, value: unknown, place: Place, direction: Direction): boolean {
  if (name === "serverNames") {
    const names = readEach(value, place, (entry, entryPlace) => {
      const text = readText(entry, entryPlace);
      if (text === "") refuse(entryPlace, "POLICY_SERVER_NAME", "an empty name", "write a host name");
      return text;
    });
    return names !== null;
  }
  if (name === "listener") {
    if (direction === "ingress")
      refuse(place, "POLICY_LISTENER", "a listener at ingress", "write it in an egress rule");
    return readListener(value, place);
  }
  return readFields(value, place, fieldNames(tlsSchema)) !== null;
}

function readRules(
  value: unknown,
  place: Place,
  { direction, ofNodes }: DemandScope,
  ports: readonly Port[],
): string | null {
  const fields = readFields(value, place, fieldNames(requestsSchema));
  if (fields === null) return value === undefined || value === null ? "" : null;
  // An empty list is no rule at all: the ports are allowed as they are.
  const kinds = (["http", "kafka", "dns", "l7"] as const).filter((kind) => {
    return (readList(fields[kind], at(place, kind)) ?? []).length > 0;
  });
  const parser = readText(fields.l7proto, at(place, "l7proto")) ?? "";
  if (kinds.includes("l7") && parser === "") {
    refuse(at(place, "l7"), "POLICY_MISSING", "l7 needs l7proto", "name the protocol in l7proto");
  }
  if (parser !== "" && !kinds.includes("l7")) kinds.push("l7");
  const [kind] = kinds;
  if (kind === undefined) return "";
  if (kinds.length > 1) {
    refuse(place, "POLICY_COMBINED", `${kinds.join(" and ")} in one entry`, "write an entry of toPorts for each");
    return null;
  }
  if (ofNodes && kind !== "dns") {
    const remedy = "policies of nodes take ports without L7 rules, and DNS rules";
    refuse(at(place, kind), "POLICY_L7_NODES", `${kind} rules in a policy of nodes`, remedy);
  }
  readEntries(kind, fields[kind], at(place, kind));
  checkPorts(kind, at(place, kind), direction, ports);
  return `${kind}${kind === "l7" ? ` ${parser}` : ""} ${canonicalText(fields[kind])}`;
}

function readEntries(kind: L7Kind, value: unknown, place: Place): void {
  readEach(value, place, (entry, entryPlace) => {
    if (kind === "l7") return null;
    const fields = readFields(entry, entryPlace, knownFields[kind]);
    if (fields === null) {
      if (entry === null) refuse(entryPlace, "POLICY_TYPE", "the rule is empty", "write {} for any request");
      return null;
    }
    if (kind === "dns") return readNamePattern(fields, entryPlace);
    if (kind === "http") checkHttpRule(fields, entryPlace);
    else checkKafkaRule(fields, entryPlace);
    return null;
  });
}

/** A rule about DNS names, in `toFQDNs` and in `rules.dns`. Null: refused. */
export function readNamePattern(fields: Fields, place: Place): "name" | "pattern" | null {
  const name = readText(fields.matchName, at(place, "matchName")) ?? "";
  const pattern = readText(fields.matchPattern, at(place, "matchPattern")) ?? "";
  if ((name === "") === (pattern === "")) {
    const message = name === "" ? "neither matchName nor matchPattern" : "matchName and matchPattern in one entry";
    refuse(place, "POLICY_NAME", message, "write one of both");
    return null;
  }
  const kind = name === "" ? "pattern" : "name";
  const text = name + pattern;
  const allowed = kind === "name" ? /^[-a-zA-Z0-9_.]+$/ : /^[-a-zA-Z0-9_.*]+$/;
  if (text.length <= 255 && allowed.test(text)) return kind;
  const message = `${JSON.stringify(text.slice(0, 60))} is not a DNS ${kind}`;
  refuse(
    at(place, kind === "name" ? "matchName" : "matchPattern"),
    "POLICY_NAME",
    message,
    kind === "name" && text.includes("*") ? "write it as matchPattern" : "up to 255 letters, digits, - _ .",
  );
  return null;
}

function checkPorts(kind: L7Kind, place: Place, direction: Direction, ports: readonly Port[]): void {
  if (kind === "dns" && direction === "ingress") {
    refuse(
      place,
      "POLICY_L7_DIRECTION",
      "DNS rules at ingress",
      "DNS rules are for queries of the selected pods: use egress",
    );
  }
  if (ports.length === 0) refuse(place, "POLICY_MISSING", "L7 rules without ports", "name the ports that they are for");
  for (const port of ports) {
    if (port.kind === "everything") continue;
    if (port.kind === "range" && port.first === 0) {
      refuse(place, "POLICY_L7_PORT", 'L7 rules for every port ("0")', "name the ports that speak this protocol");
      return;
    }
    if (kind === "dns" && port.kind === "range" && port.first !== port.last) {
      refuse(place, "POLICY_L7_PORT", "DNS rules for a range of ports", "name each port");
      return;
    }
    // ANY is allowed for DNS, which then means what DNS speaks.
    if (kind !== "dns" && port.protocol !== TCP) {
      refuse(place, "POLICY_L7_PROTOCOL", `${kind} rules for another protocol than TCP`, "write protocol: TCP");
      return;
    }
  }
  // ANY is TCP too; SCTP alone is what was written as such.
  const named = (port: Port) => (port.kind === "range" ? `${port.first}` : port.kind === "named" ? port.name : "");
  const ofTcp = new Set(ports.filter((port) => port.kind !== "everything" && port.protocol === TCP).map(named));
  const alone = ports.some((port) => port.kind !== "everything" && port.protocol === SCTP && !ofTcp.has(named(port)));
  if (kind === "dns" && alone) {
    refuse(place, "POLICY_L7_PROTOCOL", "DNS rules for SCTP", "write protocol: UDP, TCP or ANY");
  }
}

/** `authentication` of a rule: its canonical text, "" if none is wanted. */
export function readAuthentication(value: unknown, place: Place): string {
  const fields = readFields(value, place, fieldNames(authenticationSchema));
  const mode = fields === null ? null : readText(fields.mode, at(place, "mode"));
  if (mode === null || mode === "" || mode === "disabled") return "";
  if (!authenticationModes.some((each) => each === mode)) {
    refuse(
      at(place, "mode"),
      "POLICY_AUTHENTICATION",
      `there is no mode ${JSON.stringify(mode)}`,
      "write required or disabled",
    );
  }
  const message =
    "authentication is not there yet: what the rule names is dropped unless another rule allows it without";
  warn(place, "POLICY_L7_PENDING", message, "remove it where that is enough");
  return `authentication ${mode}`;
}

/** JSON with sorted keys. */
export function canonicalText(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) => {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) return entry;
    return Object.fromEntries(Object.entries(entry).sort(([a], [b]) => compareText(a, b)));
  });
}
