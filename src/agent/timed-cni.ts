/** Measures what the container runtime waits for: the whole of a request, also the wait for an agent that has just started. */
import type { CniRequest, CniResponse } from "../api/dto.ts";
import type { CniHandler } from "../api/queries.ts";
import type { Clock } from "../lib/clock.ts";
import type { Durations } from "../observe/metrics/durations.ts";

export function timedCni(
  handler: CniHandler,
  durations: Pick<Durations, "cni">,
  clock: Pick<Clock, "monotonicMs">,
): CniHandler {
  return {
    async handle(request: CniRequest, signal: AbortSignal): Promise<CniResponse> {
      const start = clock.monotonicMs();
      let isDone = false;
      try {
        const response = await handler.handle(request, signal);
        isDone = response.exitCode === 0;
        return response;
      } finally {
        durations.cni(request.command, isDone, clock.monotonicMs() - start);
      }
    },
  };
}
