/**
 * What can go wrong between us and an API server. Each failure says what it was about and what to do; those who retry decide by
 * the class and the status, never by texts.
 */
import { messageOf, TandemError, type ErrorDetails } from "../lib/errors.ts";
import type { Status } from "./objects.ts";

/** A kubeconfig, token or certificate that cannot be used: KUBE_CONFIG, KUBE_CREDENTIALS. */
export class KubeConfigError extends TandemError {
  override readonly name = "KubeConfigError";
}

/**
 * No answer: KUBE_UNREACHABLE, KUBE_CERTIFICATE, KUBE_TIMEOUT, KUBE_CUT (an answer that broke off); of a watch also KUBE_SILENT and KUBE_DOUBT,
 * see `pulse.ts`.
 */
export class KubeConnectionError extends TandemError {
  override readonly name = "KubeConnectionError";
}

/** An answer that is no Kubernetes API: KUBE_ANSWER. */
export class KubeAnswerError extends TandemError {
  override readonly name = "KubeAnswerError";
}

/** The API server refused: KUBE_UNAUTHORIZED, KUBE_FORBIDDEN, KUBE_NOT_FOUND, KUBE_CONFLICT, KUBE_GONE, KUBE_BUSY, … */
export class KubeStatusError extends TandemError {
  override readonly name = "KubeStatusError";
  /** HTTP status, or the code of a watch's ERROR event. */
  readonly status: number;
  /** meta/v1 Status.reason, as AlreadyExists; "" if it gave none. */
  readonly reason: string;
  /** What it asked us to wait, ms. */
  readonly retryAfterMs: number | null;

  constructor(details: ErrorDetails, status: number, reason: string, retryAfterMs: number | null) {
    super(details);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

const byStatus: ReadonlyMap<number, readonly [string, string]> = new Map([
  [400, ["KUBE_REFUSED", "the request is not one that this API server understands; compare the versions"]],
  [401, ["KUBE_UNAUTHORIZED", "renew the token or certificate; files are read again by themselves"]],
  [403, ["KUBE_FORBIDDEN", "grant it by a role; the manifests hold the one that is needed"]],
  [404, ["KUBE_NOT_FOUND", "it was deleted, or the kind is not installed in this cluster"]],
  [409, ["KUBE_CONFLICT", "somebody else wrote first; read it again and repeat the change"]],
  [410, ["KUBE_GONE", "that version is no longer kept; list again"]],
  [422, ["KUBE_INVALID", "correct the object as the message says"]],
  [429, ["KUBE_BUSY", "it is tried again later; if it lasts, look at the API server's flow control"]],
  [503, ["KUBE_BUSY", "it is tried again later; if it lasts, look at the API server and etcd"]],
]);

/** @param object what was asked for, "Pod shop/web-0" */
export function statusError(
  object: string,
  httpStatus: number,
  { message, reason = "", code, details }: Status,
  retryAfterMs: number | null = null,
): KubeStatusError {
  const status = code ?? httpStatus;
  const [name, remedy] = byStatus.get(status) ?? ["KUBE_SERVER", "look into the API server's log; it is tried again"];
  const seconds = details?.retryAfterSeconds;
  const wait = retryAfterMs ?? (seconds === undefined ? null : seconds * 1_000);
  const text = `the API server answered ${status}${reason === "" ? "" : ` ${reason}`}${message === undefined || message === "" ? "" : `: ${message}`}`;
  const known = reason === "AlreadyExists" ? "KUBE_EXISTS" : name;
  return new KubeStatusError({ code: known, object, message: text, remedy }, status, reason, wait);
}

export function isStatus(error: unknown, status: number): error is KubeStatusError {
  return error instanceof KubeStatusError && error.status === status;
}

/** OpenSSL's and Node's codes that mean: it is reachable, but not the server (or not the client) that was expected. */
const certificateCode = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|INVALID_CA|EPROTO)/;

/** What a broken connection means. @param server its address */
export function connectionError(server: string, cause: unknown): KubeConnectionError {
  const code = errnoOf(cause);
  const message = messageOf(cause) || code;
  if (certificateCode.test(code)) {
    const remedy =
      "compare the certificate authority with the one that signed the API server's certificate, and its names";
    const text = `the certificate of the API server or of this client is not accepted: ${message}`;
    return new KubeConnectionError({ code: "KUBE_CERTIFICATE", object: server, message: text, remedy, cause });
  }
  const cut = code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "ERR_STREAM_PREMATURE_CLOSE";
  return new KubeConnectionError({
    code: cut ? "KUBE_CUT" : "KUBE_UNREACHABLE",
    object: server,
    message: `the API server ${cut ? "broke off the connection" : "cannot be reached"}: ${message}`,
    remedy: "see that it runs and that this node has a route to it; what was known before stays in force",
    cause,
  });
}

function errnoOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { code, cause } = error as Error & { readonly code?: unknown };
  // Several addresses were tried: the last one's failure is as good as any.
  if (error instanceof AggregateError && error.errors.length > 0) return errnoOf(error.errors.at(-1));
  return typeof code === "string" ? code : cause === undefined ? "" : errnoOf(cause);
}
