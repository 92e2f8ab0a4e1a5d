/**
 * Canonical texts of L7 rules (`read-cilium-l7.ts`) as rules that can be asked: patterns of RE2 that match whole texts, numbers of Kafka's
 * requests. The policies were validated; what no proxy of ours enforces is null here, and stays closed.
 */
import { namePattern, normalName } from "../../model/dns-names.ts";
import { kafkaApiKeys } from "../policy/read-cilium-requests.ts";
import { nameExpression, starred } from "./name-expression.ts";

export interface L7HeaderMatch {
  /** Lower case. */
  readonly name: string;
  /** null: it has to be there. */
  readonly value: string | null;
  readonly mismatch: "refuse" | "log" | "add" | "remove" | "replace";
}

export interface L7HttpRule {
  /** Of RE2; null: any. */
  readonly method: string | null;
  readonly path: string | null;
  readonly host: string | null;
  readonly headers: readonly L7HeaderMatch[];
}

export interface L7KafkaRule {
  /** Empty: any. */
  readonly apiKeys: readonly number[];
  readonly apiVersion: number | null;
  readonly clientId: string | null;
  readonly topic: string | null;
}

export interface L7NameRule {
  readonly pattern: string;
}

/** One of `rules` has to match; of none, no request does. */
export type L7Rules =
  | { readonly protocol: "http"; readonly rules: readonly L7HttpRule[] }
  | { readonly protocol: "kafka"; readonly rules: readonly L7KafkaRule[] }
  | { readonly protocol: "dns" | "tls"; readonly rules: readonly L7NameRule[] };

type Fields = Readonly<Record<string, unknown>>;

/** What a producer or a consumer needs, as Cilium has it. */
const roleKeys: Readonly<Record<string, readonly number[]>> = {
  produce: [0, 3, 18],
  consume: [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18],
};

/** @returns null: something of it is not enforced */
export function parseDemands(text: string): L7Rules | null {
  // More lines are more demands: TLS to be ended, a listener, authentication.
  const [, kind = "", json = ""] = /^(http|kafka|dns|serverNames) (\[.*\])$/.exec(text) ?? [];
  if (kind === "") return null;
  const entries = JSON.parse(json) as readonly unknown[];
  switch (kind) {
    case "http":
      return { protocol: "http", rules: entries.flatMap((entry) => httpRule(entry as Fields) ?? []) };
    case "kafka":
      return { protocol: "kafka", rules: entries.map((entry) => kafkaRule(entry as Fields)) };
    case "dns":
      return { protocol: "dns", rules: entries.map((entry) => ({ pattern: dnsPattern(entry as Fields) })) };
    default:
      return { protocol: "tls", rules: entries.map((entry) => ({ pattern: serverNamePattern(String(entry)) })) };
  }
}

/** null: it names a Secret, which nobody reads for us, so that no request has its value. */
function httpRule({ method, path, host, headers, headerMatches }: Fields): L7HttpRule | null {
  const matches = listOf(headerMatches) as readonly Fields[];
  if (matches.some(({ secret }) => secret !== undefined && secret !== null)) return null;
  return {
    method: textOf(method),
    path: textOf(path),
    host: textOf(host),
    headers: [
      ...listOf(headers).map((each) => writtenHeader(String(each))),
      ...matches.map(({ name, value, mismatch }): L7HeaderMatch => {
        return {
          name: String(name).toLowerCase(),
          value: textOf(value),
          mismatch: mismatches[String(mismatch ?? "")] ?? "refuse",
        };
      }),
    ],
  };
}

const mismatches: Readonly<Record<string, L7HeaderMatch["mismatch"]>> = {
  LOG: "log",
  ADD: "add",
  DELETE: "remove",
  REPLACE: "replace",
};

/** "Name: value", split at the first space; "Name" for any value. */
function writtenHeader(text: string): L7HeaderMatch {
  const space = text.indexOf(" ");
  const name = (space < 0 ? text : text.slice(0, space)).replace(/:$/, "").toLowerCase();
  return { name, value: space < 0 ? null : text.slice(space + 1), mismatch: "refuse" };
}

function kafkaRule({ role, apiKey, apiVersion, clientID, topic }: Fields): L7KafkaRule {
  const version = textOf(apiVersion);
  const key = textOf(apiKey);
  return {
    apiKeys: key === null ? (roleKeys[textOf(role) ?? ""] ?? []) : [kafkaApiKeys.indexOf(key.toLowerCase())],
    apiVersion: version === null ? null : Number(version),
    clientId: textOf(clientID),
    topic: textOf(topic),
  };
}

const labelLetters = "[-a-zA-Z0-9_]";

function dnsPattern({ matchName, matchPattern }: Fields): string {
  const name = textOf(matchName);
  return nameExpression(name !== null ? namePattern("name", name) : namePattern("pattern", textOf(matchPattern) ?? ""));
}

/** "**." at the front: one or more labels. */
function serverNamePattern(written: string): string {
  const text = normalName(written);
  if (text.startsWith("**.")) return `(?:${labelLetters}+[.])+${starred(text.slice(3))}`;
  return starred(text);
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
