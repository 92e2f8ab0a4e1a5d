/** What goes wrong with gobgpd's API, in our words: who was asked for what, and what to look at. */
import { Code, ConnectError } from "@connectrpc/connect";
import { messageOf, TandemError } from "../../lib/errors.ts";

export type GobgpErrorCode =
  | "GOBGP_UNREACHABLE"
  | "GOBGP_TIMEOUT"
  | "GOBGP_API"
  | "GOBGP_ANSWER"
  | "GOBGP_REFUSED"
  | "GOBGP_READ_ONLY"
  | "GOBGP_DELETE_ALL";

const remedies: Readonly<Record<GobgpErrorCode, string>> = {
  GOBGP_UNREACHABLE: "is kube-router running, with --gobgp-admin-port (0 is off) as the setting `gobgp` says?",
  GOBGP_TIMEOUT:
    "kube-router took the call and did not answer: read its log; restarting it with graceful restart disturbs no flow",
  GOBGP_API: "is it kube-router (1.1 or newer) that listens there?",
  GOBGP_ANSWER: "is it kube-router that listens there? It is asked again",
  GOBGP_REFUSED: "read the message of gobgpd, and kube-router's log",
  GOBGP_READ_ONLY: "update kube-router to 1.6 or newer",
  GOBGP_DELETE_ALL: "name the prefix of the path to delete",
};

export class GobgpError extends TandemError {
  override readonly name = "GobgpError";
  declare readonly code: GobgpErrorCode;

  constructor(code: GobgpErrorCode, address: string, message: string, cause?: unknown) {
    super({ code, object: `gobgpd at ${address}`, message, remedy: remedies[code], cause });
  }
}

/** Bytes that are not the message they should be. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/**
 * From what a call threw.
 * @param call name of the method
 * @param isLost the connection broke off: whatever is wrong with the answer comes from that
 */
export function gobgpError(address: string, call: string, cause: unknown, isLost = false): GobgpError {
  if (cause instanceof GobgpError) return cause;
  const text = `${call}: ${cause instanceof ConnectError ? cause.rawMessage : messageOf(cause)}`;
  return new GobgpError(isLost ? "GOBGP_UNREACHABLE" : codeOf(cause), address, text, cause);
}

function codeOf(cause: unknown): GobgpErrorCode {
  if (cause instanceof WireError) return "GOBGP_ANSWER";
  if (!(cause instanceof ConnectError)) return "GOBGP_ANSWER";
  switch (cause.code) {
    case Code.Unimplemented:
      return "GOBGP_API";
    case Code.DeadlineExceeded:
      return "GOBGP_TIMEOUT";
    // A daemon that dies ends open streams with Canceled, as our own end would.
    case Code.Unavailable:
    case Code.Aborted:
    case Code.Canceled:
      return "GOBGP_UNREACHABLE";
    case Code.Internal:
    case Code.DataLoss:
    case Code.ResourceExhausted:
      return "GOBGP_ANSWER";
    default:
      return "GOBGP_REFUSED";
  }
}
