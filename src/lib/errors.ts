/** What every failure of ours carries: a stable code, the object concerned, and what to do about it. */

export interface ErrorDetails {
  /** Stable, as POLICY_PORT_RANGE. */
  readonly code: string;
  /** "CiliumNetworkPolicy shop/api", a path, a device. */
  readonly object: string;
  readonly message: string;
  readonly remedy: string;
  readonly cause?: unknown;
}

export class TandemError extends Error {
  override readonly name: string = "TandemError";
  readonly code: string;
  readonly object: string;
  readonly remedy: string;

  constructor(details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.object = details.object;
    this.remedy = details.remedy;
  }
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
