/** Failures of the addon as one class: the place where the boundary's plain errors get a type. */
import { constants } from "node:os";
import type { NativeFailure } from "./contract.ts";

/** An operation on the kernel that failed: `code` is the errno's name, `operation` and `object` say what was done to what. */
export class NativeError extends Error implements NativeFailure {
  override readonly name = "NativeError";
  readonly code: string;
  readonly errno: number;
  readonly operation: string;
  readonly object: string;
  readonly log: string | null;

  constructor(failure: NativeFailure) {
    super(failure.message, { cause: failure });
    this.code = failure.code;
    this.errno = failure.errno;
    this.operation = failure.operation;
    this.object = failure.object;
    this.log = failure.log;
  }
}

export function isNativeFailure(error: unknown): error is NativeFailure {
  return error instanceof Error && "operation" in error && "errno" in error && "object" in error;
}

/** The error to throw on: ours for the addon's failures, anything else as it is. */
export function toNativeError(error: unknown): unknown {
  return isNativeFailure(error) && !(error instanceof NativeError) ? new NativeError(error) : error;
}

/** An argument that is refused before the addon is asked, in the addon's own words. */
export function badArgument(what: string): never {
  const operation = "read arguments";
  const message = `${operation} ${what}: EINVAL (Invalid argument)`;
  const plain = new Error(message);
  throw new NativeError(
    Object.assign(plain, { code: "EINVAL", errno: constants.errno.EINVAL, operation, object: what, log: null }),
  );
}
