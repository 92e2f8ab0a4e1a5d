/** Failures as CNI tells them to the runtime: a numeric code, a message that names the object, details that say what to do. */
import { messageOf, TandemError } from "../lib/errors.ts";

/** Codes of the CNI specification (section 5 "Error"); 100 and above are ours and documented here. */
export const cniCodes = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodeFailure: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  notAvailable: 50,
  /** A requested address belongs to another pod. */
  addressInUse: 100,
  /** A requested address is outside of the node's pod CIDRs, or reserved. */
  addressRefused: 101,
  /** No free address or endpoint number is left on this node. */
  exhausted: 102,
  /** The kernel refused a part of the pod's network. */
  kernel: 103,
  /** ADD of an attachment that exists and differs. */
  exists: 104,
  /** CHECK found something else than ADD made. */
  changed: 105,
  internal: 999,
} as const;

export class CniError extends TandemError {
  override readonly name = "CniError";
  readonly cniCode: number;

  constructor(options: {
    readonly code: string;
    readonly cniCode: number;
    readonly object: string;
    readonly message: string;
    readonly remedy: string;
    readonly cause?: unknown;
  }) {
    super(options);
    this.cniCode = options.cniCode;
  }
}

/** A call that cannot be understood: its environment or its network configuration is wrong. */
export function badRequest(
  cniCode: number,
  object: string,
  message: string,
  remedy = "correct the network configuration or the runtime's call",
): CniError {
  return new CniError({ code: "CNI_REQUEST", cniCode, object, message, remedy });
}

/** "CNI_ADDRESS_IN_USE: Pod shop/api: the requested address …" */
export function describe(error: unknown): string {
  return error instanceof CniError ? `${error.code}: ${error.object}: ${error.message}` : messageOf(error);
}

/** The error object that the plugin prints. */
export function errorOutput(cniVersion: string, error: unknown): string {
  const { code, msg, details } =
    error instanceof CniError
      ? { code: error.cniCode, msg: describe(error), details: error.remedy }
      : {
          code: cniCodes.internal,
          msg: describe(error),
          details: "the agent's log has more",
        };
  return `${JSON.stringify({ cniVersion, code, msg, details })}\n`;
}

export function tryAgain(object: string, message: string): CniError {
  return new CniError({
    code: "CNI_TRY_AGAIN",
    cniCode: cniCodes.tryAgainLater,
    object,
    message,
    remedy: "the runtime tries again; tandem status and tandem endpoint list tell more",
  });
}

/** STATUS: an ADD would not be served now. */
export function notReady(reason: string): CniError {
  return new CniError({
    code: "CNI_NOT_READY",
    cniCode: cniCodes.notAvailable,
    object: "tandem-agent",
    message: `is not ready: ${reason}`,
    remedy: "tandem status tells more",
  });
}

/** What callers of the API hear while the endpoints are not known yet. */
export function starting(): TandemError {
  return new TandemError({
    code: "AGENT_STARTING",
    object: "tandem-agent",
    message: "the agent is still taking up its endpoints",
    remedy: "try again in a moment",
  });
}
