/**
 * What a port rule demands beyond addresses and ports. None of it is enforced yet: such a rule becomes a redirect to a proxy that is
 * not there, so its traffic is closed unless another rule allows it without L7, and the user is told. Everything is checked as far as
 * its meaning for other layers goes; the expressions inside are the proxy's to check.
 */
import { compareText } from "../../model/labels.ts";
import { at, type Fields, type Place, readEach, readFields, readList, readText, refuse, warn } from "./fields.ts";
import { type Direction, type Port, protocolNumbers } from "./rules.ts";

const { TCP, SCTP } = protocolNumbers;

const httpFields = ["method", "path", "host", "headers", "headerMatches"];
const kafkaFields = ["role", "apiKey", "apiVersion", "clientID", "topic"];
const dnsFields = ["matchName", "matchPattern"];
const tlsFields = ["secret", "trustedCA", "certificate", "privateKey"];

/** The fields of a port rule that this file reads. */
export const demandFields = ["rules", "terminatingTLS", "originatingTLS", "serverNames", "listener"];

/** Canonical text of everything that the port rule demands; "" if nothing, null if it was refused. */
export function readDemands(fields: Fields, place: Place, direction: Direction, ports: readonly Port[]): string | null {
  const rules = readRules(fields.rules, at(place, "rules"), direction, ports);
  const others = demandFields.slice(1).flatMap((name) => {
    const value = fields[name];
    if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return [];
    return readOther(name, value, at(place, name), direction) ? [`${name} ${canonicalText(value)}`] : [];
  });
  if (rules === null) return null;
  const demands = [...(rules === "" ? [] : [rules]), ...others];
  if (demands.length > 0) {
    const message = "this is not enforced yet: what the rule names is dropped unless another rule allows it without";
    warn(place, "POLICY_L7_PENDING", message, "allow the ports without L7 rules where that is enough");
  }
  return demands.join("\n");
}

function readOther(name: string, value: unknown, place: Place, direction: Direction): boolean {
  if (name === "serverNames") {
    const names = readEach(value, place, readText);
    if (names?.some((each) => each === "")) refuse(place, "POLICY_SERVER_NAME", "an empty name", "write a host name");
    return names !== null;
  }
  if (name === "listener") {
    if (direction === "ingress")
      refuse(place, "POLICY_LISTENER", "a listener at ingress", "write it in an egress rule");
    return readFields(value, place, ["envoyConfig", "name", "priority"]) !== null;
  }
  return readFields(value, place, tlsFields) !== null;
}

function readRules(value: unknown, place: Place, direction: Direction, ports: readonly Port[]): string | null {
  const fields = readFields(value, place, ["http", "kafka", "dns", "l7proto", "l7"]);
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
  readEntries(kind, fields[kind], at(place, kind));
  checkPorts(kind, at(place, kind), direction, ports);
  return `${kind}${kind === "l7" ? ` ${parser}` : ""} ${canonicalText(fields[kind])}`;
}

function readEntries(kind: "http" | "kafka" | "dns" | "l7", value: unknown, place: Place): void {
  readEach(value, place, (entry, entryPlace) => {
    if (kind === "l7") return null;
    const known = kind === "http" ? httpFields : kind === "kafka" ? kafkaFields : dnsFields;
    const fields = readFields(entry, entryPlace, known);
    if (fields === null) {
      if (entry === null) refuse(entryPlace, "POLICY_TYPE", "the rule is empty", "write {} for any request");
      return null;
    }
    if (kind === "dns") return readNamePattern(fields, entryPlace);
    if (kind === "http") readHeaders(fields, entryPlace);
    const texts = known.filter((name) => name !== "headers" && name !== "headerMatches");
    for (const name of texts) readText(fields[name], at(entryPlace, name));
    if (kind === "kafka" && hasText(fields.role) && hasText(fields.apiKey)) {
      refuse(
        entryPlace,
        "POLICY_COMBINED",
        "role and apiKey in one rule",
        "a role stands for its keys: write one of both",
      );
    }
    return null;
  });
}

function hasText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

function readHeaders(fields: Fields, place: Place): void {
  readEach(fields.headers, at(place, "headers"), readText);
  readEach(fields.headerMatches, at(place, "headerMatches"), (entry, entryPlace) => {
    const match = readFields(entry, entryPlace, ["name", "value", "secret", "mismatch"]);
    if (match !== null && !hasText(match.name)) {
      refuse(at(entryPlace, "name"), "POLICY_MISSING", "a header has a name", "write name");
    }
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
    "up to 255 letters, digits, - _ .",
  );
  return null;
}

function checkPorts(
  kind: "http" | "kafka" | "dns" | "l7",
  place: Place,
  direction: Direction,
  ports: readonly Port[],
): void {
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
  const protocols = ports.flatMap((port) => (port.kind === "everything" ? [] : [port.protocol]));
  if (kind === "dns" && protocols.length > 0 && protocols.every((protocol) => protocol === SCTP)) {
    refuse(place, "POLICY_L7_PROTOCOL", "DNS rules for SCTP", "write protocol: UDP, TCP or ANY");
  }
}

/** `authentication` of a rule: its canonical text, "" if none is wanted. */
export function readAuthentication(value: unknown, place: Place): string {
  const fields = readFields(value, place, ["mode"]);
  const mode = fields === null ? null : readText(fields.mode, at(place, "mode"));
  if (mode === null || mode === "" || mode === "disabled") return "";
  if (mode !== "required" && mode !== "test-always-fail") {
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
