/**
 * What L7 rules say about a request, without the proxy: for probes, on any machine. The proxy's own answer is the engine's
 * (`addon/src/l7/http/judge.cc`, `dns/judge.cc`, `kafka/judge.cc`); a test compares the two.
 */
import type { L7HttpRule, L7Rules } from "./parse-demands.ts";
import { normalPath, otherReadings } from "./path.ts";

export interface HttpRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** With the port if the client sends one. */
  readonly host: string;
  /** All values of a header, in order; names as they are sent. */
  readonly headers: readonly { readonly name: string; readonly value: string }[];
}

/** null: not by this judge, for an expression that JavaScript does not have. */
export type Judgement = boolean | null;

/** @param rules of all groups that hold: one of them has to allow it @returns whether the request is passed on */
export function allowsHttp(rules: readonly L7Rules[], request: HttpRequest): Judgement {
  const path = normalPath(request.path);
  if (path.kind === "refused" || path.isAskedAgain) return false;
  const all = rules.flatMap((each) => (each.protocol === "http" ? each.rules : []));
  return every([path.target, ...otherReadings(path.target)], (target) =>
    some(all, (rule) => matchesHttp(rule, request, target)),
  );
}

/** @param name of the question, in any letters, with its last dot or without */
export function allowsName(rules: readonly L7Rules[], name: string): Judgement {
  const text = `${name.toLowerCase().replace(/\.$/, "")}.`;
  const all = rules.flatMap((each) => (each.protocol === "dns" ? each.rules : []));
  return some(all, ({ pattern }) => matches(pattern, text));
}

export interface KafkaRequest {
  /** Number of the protocol. */
  readonly apiKey: number;
  /** null: any. */
  readonly apiVersion: number | null;
  readonly clientId: string;
  readonly topics: readonly string[];
}

/** Each topic has to be allowed by some rule; a request about none by any that fits otherwise. */
export function allowsKafka(rules: readonly L7Rules[], request: KafkaRequest): boolean {
  const fitting = rules
    .flatMap((each) => (each.protocol === "kafka" ? each.rules : []))
    .filter(
      ({ apiKeys, apiVersion, clientId }) =>
        (apiKeys.length === 0 || apiKeys.includes(request.apiKey)) &&
        (apiVersion === null || request.apiVersion === null || apiVersion === request.apiVersion) &&
        (clientId === null || clientId === request.clientId),
    );
  if (fitting.some(({ topic }) => topic === null) || (fitting.length > 0 && request.topics.length === 0)) return true;
  return request.topics.length > 0 && request.topics.every((topic) => fitting.some((rule) => rule.topic === topic));
}

function matchesHttp({ method, path, host, headers }: L7HttpRule, request: HttpRequest, target: string): Judgement {
  const parts: readonly (readonly [string | null, string])[] = [
    [method, request.method],
    [path, target],
    [host, request.host],
  ];
  const fits = every(parts, ([pattern, text]) => (pattern === null ? true : matches(pattern, text)));
  if (fits !== true) return fits;
  return headers.every(({ name, value, mismatch }) => {
    if (mismatch !== "refuse") return true;
    const sent = request.headers.filter((header) => header.name.toLowerCase() === name);
    return sent.length > 0 && (value === null || sent.every((header) => header.value === value));
  });
}

/** The whole text, as RE2 reads the expression; null: JavaScript has no such one. */
export function matches(pattern: string, text: string): Judgement {
  const expression = asJavaScript(pattern);
  return expression === null ? null : expression.test(text);
}

/** What both read alike, and flags at the beginning; the expression is known to be one of RE2. */
function asJavaScript(pattern: string): RegExp | null {
  const [, flags = "", rest = ""] = /^(?:\(\?([is]+)\))?([\s\S]*)$/.exec(pattern) ?? [];
  // Literal stretches, ends of text, Unicode and POSIX classes, ungreedy and other flags mean something else, or nothing, to JavaScript.
  if (/\\[QEAzCpPa]|\[\[:|\(\?[^:P]|\\x\{/.test(rest)) return null;
  try {
    return new RegExp(`^(?:${rest.replaceAll("(?P<", "(?<")})$`, flags);
  } catch {
    return null;
  }
}

function some<T>(all: readonly T[], judge: (each: T) => Judgement): Judgement {
  const judged = all.map(judge);
  return judged.includes(true) ? true : judged.includes(null) ? null : false;
}

function every<T>(all: readonly T[], judge: (each: T) => Judgement): Judgement {
  const judged = all.map(judge);
  return judged.includes(false) ? false : judged.includes(null) ? null : true;
}
