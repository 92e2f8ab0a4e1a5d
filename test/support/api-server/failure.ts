/** What the API server answers instead of an object: meta/v1 Status, with the reasons and texts of the real one. */
import type { JsonObject } from "./json.ts";
import type { Resource } from "./resources.ts";

/** One thing that is wrong with an object. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

export class ApiFailure extends Error {
  override readonly name = "ApiFailure";
  /** HTTP status. */
  readonly code: number;
  readonly reason: string;
  readonly details: JsonObject | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: number,
    reason: string,
    message: string,
    details: JsonObject | null = null,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.headers = headers;
  }

  get status(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      ...(this.reason === "" ? {} : { reason: this.reason }),
      ...(this.details === null ? {} : { details: this.details }),
      code: this.code,
    };
  }
}

/** "foos.t.io", or "pods" in the core group. */
export function qualified({ plural, group }: Pick<Resource, "plural" | "group">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

function detailsOf(resource: Resource, name: string, kind = resource.plural): JsonObject {
  return { name, ...(resource.group === "" ? {} : { group: resource.group }), kind };
}

export function badRequest(message: string): ApiFailure {
  return new ApiFailure(400, "BadRequest", message);
}

export function notFound(resource: Resource, name: string): ApiFailure {
  return new ApiFailure(404, "NotFound", `${qualified(resource)} "${name}" not found`, detailsOf(resource, name));
}

/** A path that leads to nothing within a known group. */
export function noSuchResource(): ApiFailure {
  return new ApiFailure(404, "NotFound", "the server could not find the requested resource", {});
}

export function methodNotAllowed(): ApiFailure {
  return new ApiFailure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {});
}

export function alreadyExists(resource: Resource, name: string): ApiFailure {
  const message = `${qualified(resource)} "${name}" already exists`;
  return new ApiFailure(409, "AlreadyExists", message, detailsOf(resource, name));
}

export function conflict(resource: Resource, name: string, why: string): ApiFailure {
  const message = `Operation cannot be fulfilled on ${qualified(resource)} "${name}": ${why}`;
  return new ApiFailure(409, "Conflict", message, detailsOf(resource, name));
}

export function modified(resource: Resource, name: string): ApiFailure {
  const why = "the object has been modified; please apply your changes to the latest version and try again";
  return conflict(resource, name, why);
}

export function forbidden(resource: Resource, name: string, why: string, causes: readonly Cause[] = []): ApiFailure {
  const details = { ...detailsOf(resource, name), ...(causes.length === 0 ? {} : { causes: causesOf(causes) }) };
  return new ApiFailure(403, "Forbidden", `${qualified(resource)} "${name}" is forbidden: ${why}`, details);
}

class InvalidObject extends ApiFailure {
  readonly causes: readonly Cause[];

  constructor(resource: Resource, name: string, causes: readonly Cause[]) {
    const title = resource.group === "" ? resource.kind : `${resource.kind}.${resource.group}`;
    const details = { ...detailsOf(resource, name, resource.kind), causes: causesOf(causes) };
    super(422, "Invalid", `${title} "${name}" is invalid: ${sentence(causes)}`, details);
    this.causes = causes;
  }
}

export function invalid(resource: Resource, name: string, causes: readonly Cause[]): ApiFailure {
  return new InvalidObject(resource, name, causes);
}

/** What is wrong already, with what `work` finds wrong besides. @throws ApiFailure 422, and what `work` throws */
export function alsoInvalid<T>(resource: Resource, name: string, causes: readonly Cause[], work: () => T): T {
  if (causes.length === 0) return work();
  try {
    work();
  } catch (error) {
    if (!(error instanceof InvalidObject)) throw error;
    throw invalid(resource, name, [...causes, ...error.causes]);
  }
  throw invalid(resource, name, causes);
}

/** Query parameters that do not go together. @param kind ListOptions, PatchOptions */
export function invalidOptions(kind: string, causes: readonly Cause[]): ApiFailure {
  const details = { group: "meta.k8s.io", kind, causes: causesOf(causes) };
  return new ApiFailure(422, "Invalid", `${kind}.meta.k8s.io "" is invalid: ${sentence(causes)}`, details);
}

/** A version that is no longer kept. */
export function expired(message: string): ApiFailure {
  return new ApiFailure(410, "Expired", message);
}

export function unauthorized(): ApiFailure {
  return new ApiFailure(401, "Unauthorized", "Unauthorized");
}

export function unsupportedMediaType(accepted: readonly string[]): ApiFailure {
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`;
  return new ApiFailure(415, "UnsupportedMediaType", message);
}

export function forbiddenValue(field: string, message: string): Cause {
  return { reason: "FieldValueForbidden", message: `Forbidden: ${message}`, field };
}

export function requiredValue(field: string, message = ""): Cause {
  return { reason: "FieldValueRequired", message: `Required value${message === "" ? "" : `: ${message}`}`, field };
}

export function invalidValue(field: string, value: string, message: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${value}: ${message}`, field };
}

function causesOf(causes: readonly Cause[]): readonly JsonObject[] {
  return causes.map(({ reason, message, field }) => ({ reason, message, field }));
}

function sentence(causes: readonly Cause[]): string {
  const texts = causes.map(({ field, message }) => `${field}: ${message}`);
  return texts.length === 1 ? `${texts[0]}` : `[${texts.join(", ")}]`;
}
