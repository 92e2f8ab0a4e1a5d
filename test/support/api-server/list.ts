/**
 * GET of a collection: consistent, in pages, at a revision, or from the watch cache. A continue token holds the revision of the first page
 * and the key of the last object; one whose revision was compacted gets 410 with a token that goes on at the newest.
 */
import { ApiFailure, badRequest, expired, forbiddenValue, invalidOptions, type Cause } from "./failure.ts";
import { isObject, type JsonObject, omit } from "./json.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { type Selector, selectorOf } from "./selectors.ts";
import type { Store } from "./store.ts";

/** @throws ApiFailure */
export function list(store: Store, resource: Resource, namespace: string | null, query: URLSearchParams): JsonObject {
  checkListOptions(query);
  const selector = selectorOf(resource, query);
  const limit = Number(query.get("limit") ?? 0) || 0;
  const token = query.get("continue") ?? "";
  const version = query.get("resourceVersion") ?? "";
  const match = query.get("resourceVersionMatch") ?? "";
  const wanted = revisionOf(version);
  if (token !== "") {
    if (version !== "" && version !== "0") {
      throw badRequest("specifying resource version is not allowed when using continue");
    }
    return pageAfter(store, resource, namespace, selector, limit, token);
  }
  if (version === "" || version === "0" || (match !== "Exact" && limit === 0) || match === "NotOlderThan") {
    if (wanted > store.revision) throw tooLarge(wanted, store.revision);
    // The watch cache does not page.
    const size = version === "" ? limit : 0;
    return page(resource, store.revision, sorted(store.objects(resource.storage), namespace, selector), size);
  }
  if (wanted > store.revision)
    throw new ApiFailure(500, "", "etcdserver: mvcc: required revision is a future revision");
  if (wanted < store.compacted) throw expired(`The resourceVersion for the provided list is too old.`);
  return page(resource, wanted, sorted(store.objectsAt(resource.storage, wanted), namespace, selector), limit);
}

/** @throws ApiFailure 500, as the real one */
export function revisionOf(version: string): number {
  if (version === "") return 0;
  if (/^\d+$/.test(version)) return Number(version);
  const message = `resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`;
  throw new ApiFailure(500, "", message);
}

function checkListOptions(query: URLSearchParams): void {
  const match = query.get("resourceVersionMatch");
  const version = query.get("resourceVersion") ?? "";
  if (match === null) return;
  const causes: Cause[] = [];
  const field = "resourceVersionMatch";
  if (version === "") causes.push(forbiddenValue(field, `${field} is forbidden unless resourceVersion is provided`));
  if (query.has("continue")) causes.push(forbiddenValue(field, `${field} is forbidden when continue is provided`));
  if (match === "Exact" && version === "0") {
    causes.push(forbiddenValue(field, `${field} "exact" is forbidden for resourceVersion "0"`));
  }
  if (match !== "Exact" && match !== "NotOlderThan") {
    const message = `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan", ""`;
    causes.push({ reason: "FieldValueNotSupported", message, field });
  }
  if (causes.length > 0) throw invalidOptions("ListOptions", causes);
}

type Entry = readonly [key: string, object: JsonObject];

/** In the order of etcd's keys. */
function sorted(
  objects: ReadonlyMap<string, JsonObject>,
  namespace: string | null,
  selector: Selector,
): readonly Entry[] {
  const prefix = namespace === null ? "" : `${namespace}/`;
  return [...objects]
    .filter(([key, object]) => key.startsWith(prefix) && selector(object))
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function page(resource: Resource, revision: number, entries: readonly Entry[], limit: number): JsonObject {
  const shown = limit > 0 ? entries.slice(0, limit) : entries;
  const last = shown.at(-1);
  const left = entries.length - shown.length;
  const more =
    left === 0 || last === undefined
      ? {}
      : { continue: encodeToken({ revision, after: last[0] }), remainingItemCount: left };
  const apiVersion = apiVersionOf(resource);
  return {
    kind: resource.listKind,
    apiVersion,
    metadata: { resourceVersion: String(revision), ...more },
    // In lists of built-in kinds the items do not say what they are.
    items: shown.map(([, object]) =>
      resource.custom === null ? omit(object, "apiVersion", "kind") : served(resource, object),
    ),
  };
}

/** As the version that was asked for; the versions of a custom kind differ in nothing else. */
export function served(resource: Resource, object: JsonObject): JsonObject {
  const apiVersion = apiVersionOf(resource);
  return object.apiVersion === apiVersion ? object : { ...object, apiVersion };
}

function pageAfter(
  store: Store,
  resource: Resource,
  namespace: string | null,
  selector: Selector,
  limit: number,
  text: string,
): JsonObject {
  const { revision, after } = decodeToken(text);
  if (revision >= 0 && (revision < store.compacted || revision > store.revision)) {
    const failure = expired(
      "The provided continue parameter is too old to display a consistent list result. You can start a new list without the " +
        "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with " +
        "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the " +
        "first chunk was returned and now may show up in the list.",
    );
    const fresh = encodeToken({ revision: -1, after });
    throw new ExpiredContinue(failure, fresh);
  }
  const at = revision < 0 ? store.revision : revision;
  const entries = sorted(store.objectsAt(resource.storage, at), namespace, selector).filter(([key]) => key > after);
  return page(resource, at, entries, limit);
}

/** 410 that carries a token to go on with, at the price of consistency. */
class ExpiredContinue extends ApiFailure {
  readonly #token: string;

  constructor({ code, reason, message }: ApiFailure, token: string) {
    super(code, reason, message);
    this.#token = token;
  }

  override get status(): JsonObject {
    return { ...super.status, metadata: { continue: this.#token } };
  }
}

interface Token {
  /** -1: the newest. */
  readonly revision: number;
  readonly after: string;
}

function encodeToken({ revision, after }: Token): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start: `${after}\u0000` })).toString(
    "base64url",
  );
}

function decodeToken(text: string): Token {
  try {
    const token: unknown = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
    if (isObject(token) && typeof token.rv === "number" && typeof token.start === "string") {
      return { revision: token.rv, after: token.start.slice(0, -1) };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw badRequest("invalid continue token: continue key is not valid");
}

function tooLarge(wanted: number, current: number): ApiFailure {
  return new ApiFailure(
    504,
    "Timeout",
    `Timeout: Too large resource version: ${wanted}, current: ${current}`,
    {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version", field: "" }],
      retryAfterSeconds: 1,
    },
    { "retry-after": "1" },
  );
}
