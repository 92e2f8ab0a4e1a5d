/**
 * Takes CNI requests from the moment the socket is there, and lets them through once the node can serve them: a kubelet that asks while
 * the agent restarts waits some seconds instead of failing.
 */
import type { CniRequest, CniResponse } from "../api/dto.ts";
import type { CniHandler } from "../api/queries.ts";

/** ms that a request waits for the agent; kubelet gives a sandbox minutes, runtimes about 30 s. */
const patienceMs = 20_000;

export class CniGate implements CniHandler {
  #handler: CniHandler | null = null;
  #open: (handler: CniHandler) => void = () => undefined;
  readonly #opened: Promise<CniHandler>;
  readonly #patienceMs: number;

  constructor(options: { readonly patienceMs?: number } = {}) {
    this.#patienceMs = options.patienceMs ?? patienceMs;
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(handler: CniHandler): void {
    this.#handler = handler;
    this.#open(handler);
  }

  async handle(request: CniRequest, signal: AbortSignal): Promise<CniResponse> {
    const handler = this.#handler ?? (await this.#wait(signal));
    return handler === null ? tryAgainLater(request) : handler.handle(request, signal);
  }

  #wait(signal: AbortSignal): Promise<CniHandler | null> {
    return new Promise((resolve) => {
      const give = () => resolve(null);
      const timer = setTimeout(give, this.#patienceMs);
      signal.addEventListener("abort", give, { once: true });
      this.#opened
        .then(resolve)
        .finally(() => {
          clearTimeout(timer);
          signal.removeEventListener("abort", give);
        })
        .catch(give);
    });
  }
}

/** Error 11 of the CNI specification: try again later. */
function tryAgainLater(request: CniRequest): CniResponse {
  return {
    exitCode: 1,
    output: JSON.stringify({
      cniVersion: versionOf(request.config),
      code: 11,
      msg: "AGENT_STARTING: the agent of this node is not ready",
      details: "try again; `tandem status` says what it waits for",
    }),
  };
}

function versionOf(config: string): string {
  try {
    const { cniVersion } = JSON.parse(config) as { readonly cniVersion?: unknown };
    return typeof cniVersion === "string" ? cniVersion : "1.0.0";
  } catch {
    return "1.0.0";
  }
}
