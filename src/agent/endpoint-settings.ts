/** Options of pods over the API: answered when the kernel has them, so that whoever set one may count on it. */
import type { EndpointOptionsDto, StatusDto } from "../api/dto.ts";
import type { EndpointControl } from "../api/queries.ts";
import type { Clock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";

/** ms that an answer waits for the kernel, and between looks. */
const patienceMs = 5_000;
const lookMs = 5;

export interface EndpointSettingsOptions {
  /** Who keeps them. */
  readonly endpoints: EndpointControl;
  /** No result: it has not begun. */
  readonly loop: { readonly result: unknown; readonly revision: StatusDto["revision"] };
  readonly clock: Pick<Clock, "monotonicMs" | "sleep">;
}

export class EndpointSettings implements EndpointControl {
  readonly #options: EndpointSettingsOptions;

  constructor(options: EndpointSettingsOptions) {
    this.#options = options;
  }

  /** @throws TandemError ENDPOINT_NOT_APPLIED: it is kept, and comes into force when the agent can apply it */
  async configure(endpoint: string, options: EndpointOptionsDto): Promise<boolean> {
    const { endpoints, loop, clock } = this.#options;
    if (!(await endpoints.configure(endpoint, options))) return false;
    const { facts } = loop.revision;
    const end = clock.monotonicMs() + patienceMs;
    while (loop.result === null || loop.revision.applied < facts) {
      if (clock.monotonicMs() > end) {
        throw new TandemError({
          code: "ENDPOINT_NOT_APPLIED",
          object: `endpoint ${endpoint}`,
          message: `the option is kept, but not in the kernel after ${patienceMs / 1000} s`,
          remedy: "tandem status says what the agent waits for",
        });
      }
      await clock.sleep(lookMs);
    }
    return true;
  }
}
