/**
 * Histories of requests, the same for two API servers, and their answers in a form that can be compared: what a server chooses for itself
 * (uids, versions, times, suffixes of names) is taken out, and so is the wording of refusals.
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "undici";
import { parse } from "yaml";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [field: string]: Json };

export interface Step {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** "$continue" is the token of the last list. */
  readonly path: string;
  /** "$version" and "$first" are the newest and the first resourceVersion that the server told of the object of this path. */
  readonly body?: Json;
  readonly type?: string;
  readonly accept?: string;
}

export interface Answer {
  readonly code: number;
  readonly body: Json;
}

/** One server, and what it said of its objects so far. */
export class Side {
  readonly #agent: Agent;
  readonly #url: string;
  readonly #versions = new Map<string, { readonly first: string; readonly newest: string }>();
  #continue = "";

  /** @param kubeconfig a file with embedded certificates */
  constructor(kubeconfig: string) {
    const { clusters, users } = parse(readFileSync(kubeconfig, "utf8")) as {
      readonly clusters: readonly { readonly cluster: Readonly<Record<string, string>> }[];
      readonly users: readonly { readonly user: Readonly<Record<string, string>> }[];
    };
    const decoded = (text: string | undefined) => Buffer.from(text ?? "", "base64").toString();
    const [cluster, user] = [clusters[0]?.cluster ?? {}, users[0]?.user ?? {}];
    this.#url = cluster.server ?? "";
    this.#agent = new Agent({
      connect: {
        ca: decoded(cluster["certificate-authority-data"]),
        cert: decoded(user["client-certificate-data"]),
        key: decoded(user["client-key-data"]),
      },
    });
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  async ask({ method, path, body, type = "application/json", accept = "application/json" }: Step): Promise<Answer> {
    const versions = this.#versions.get(objectPath(path)) ?? { first: "1", newest: "1" };
    const filled = JSON.stringify(body ?? null)
      .replaceAll('"$version"', JSON.stringify(versions.newest))
      .replaceAll('"$first"', JSON.stringify(versions.first));
    const answer = await request(this.#url + path.replace("$continue", encodeURIComponent(this.#continue)), {
      method,
      dispatcher: this.#agent,
      headers: { accept, "user-agent": "history", ...(body === undefined ? {} : { "content-type": type }) },
      ...(body === undefined ? {} : { body: filled }),
    });
    const text = await answer.body.text();
    const told = (text === "" ? null : JSON.parse(text)) as Json;
    this.#remember(path, told);
    return { code: answer.statusCode, body: told };
  }

  /** Everything that a watch tells until the server ends it. @param path with its query */
  async watch(path: string): Promise<readonly Json[]> {
    const answer = await request(this.#url + path, {
      dispatcher: this.#agent,
      headers: { accept: "application/json" },
    });
    const lines = (await answer.body.text()).split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as Json);
  }

  #remember(path: string, body: Json): void {
    const metadata = fieldsOf(fieldsOf(body).metadata);
    const { resourceVersion, name, continue: token } = metadata;
    if (Array.isArray(fieldsOf(body).items)) this.#continue = typeof token === "string" ? token : "";
    if (typeof resourceVersion !== "string" || typeof name !== "string") return;
    const plain = objectPath(path);
    const key = plain.endsWith(`/${name}`) ? plain : `${plain}/${name}`;
    const first = this.#versions.get(key)?.first ?? resourceVersion;
    this.#versions.set(key, { first, newest: resourceVersion });
  }
}

/** Without query and subresource. */
function objectPath(path: string): string {
  return (path.split("?")[0] ?? "").replace(/\/(status|binding)$/, "");
}

export function fieldsOf(value: Json | undefined): Readonly<Record<string, Json>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, Json>>)
    : {};
}

const ownChoice = new Set(["uid", "resourceVersion", "creationTimestamp", "lastTransitionTime", "continue"]);
/** managedFields have owners of containers on one side only; selfLink is of the past. */
const leftOut = new Set(["managedFields", "selfLink"]);

/** What both servers have to agree on. */
export function comparable(value: Json): Json {
  if (Array.isArray(value)) return value.map(comparable);
  const fields = fieldsOf(value);
  if (value === null || typeof value !== "object") return value;
  if (fields.kind === "Status" && fields.status === "Failure") return refusal(fields);
  const { generateName } = fields;
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, part]): readonly (readonly [string, Json])[] => {
      if (leftOut.has(name) || (name === "continue" && part === "")) return [];
      if (ownChoice.has(name) && typeof part === "string") return [[name, `a ${name}`]];
      if (name === "deletionTimestamp") return [[name, "a time"]];
      if (name === "name" && typeof generateName === "string" && generateName !== "")
        return [[name, `${generateName}…`]];
      return [[name, comparable(part)]];
    }),
  );
}

/** The words are for people. */
function refusal({ code = 0, reason = "", details = null }: Readonly<Record<string, Json>>): Json {
  const { name = "", group = "", kind = "", causes = [] } = fieldsOf(details);
  const fields = (Array.isArray(causes) ? causes : []).map((cause: Json) => {
    const { field = "", reason: why = "" } = fieldsOf(cause);
    return `${String(field)}: ${String(why)}`;
  });
  // Where it was once.
  const place = group === "extensions" ? "networking.k8s.io" : group;
  return { refused: code, reason, name, group: place, kind, causes: fields.sort() };
}

/**
 * The events of a watch that tell of an object's content: bookmarks come when a server likes, and an apply that says nothing new writes
 * its time in some versions of Kubernetes and nothing in others.
 */
export function eventsOf(told: readonly Json[]): readonly Json[] {
  const last = new Map<string, string>();
  return told.map(comparable).filter((event) => {
    const { type, object } = fieldsOf(event);
    const name = String(fieldsOf(fieldsOf(object).metadata).name);
    const text = canonical(object ?? null);
    const isNews = type !== "BOOKMARK" && !(type === "MODIFIED" && last.get(name) === text);
    if (isNews) last.set(name, text);
    return isNews;
  });
}

/** The same for equal values, whatever the order of their fields. */
function canonical(value: Json): string {
  const sorted = (_: string, part: Json) =>
    Array.isArray(part) || typeof part !== "object" || part === null
      ? part
      : Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify(value, sorted);
}
