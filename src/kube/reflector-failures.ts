/** What a reflector fails of, beside what its client throws. */
import { messageOf, TandemError } from "../lib/errors.ts";
import { KubeConnectionError, type KubeStatusError, statusError } from "./errors.ts";

/** What the sink threw: not the API server's fault. */
export class SinkFailure extends TandemError {
  override readonly name = "SinkFailure";

  constructor(cause: unknown) {
    const remedy = "this is a mistake in Tandem: report it with the agent's log";
    super({
      code: "KUBE_SINK",
      object: "the tables",
      message: `changes could not be taken: ${messageOf(cause)}`,
      remedy,
      cause,
    });
  }
}

export function asTandemError(error: unknown, object: string): TandemError {
  if (error instanceof TandemError) return error;
  const remedy = "this is a mistake in Tandem: report it with the agent's log";
  return new TandemError({ code: "KUBE_FAILED", object, message: messageOf(error), remedy, cause: error });
}

export function endedAtOnce(object: string): KubeConnectionError {
  const message = "the API server ends watches at once";
  return new KubeConnectionError({
    code: "KUBE_CUT",
    object,
    message,
    remedy: "see what is between this node and the API server",
  });
}

export function wentBack(object: string): KubeStatusError {
  const message = "its versions went back, as after a restore of etcd";
  return statusError(object, 410, { code: 410, reason: "Expired", message });
}
