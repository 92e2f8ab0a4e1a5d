/**
 * Takes CNI requests from the moment the socket is there, and lets them through once the node can serve them: a kubelet that asks while
 * the agent restarts waits some seconds instead of failing. Deletions need the endpoints of before only; additions need to know
 * the cluster (pod CIDRs, policies) too.
 */
import type { CniRequest, CniResponse } from "../api/dto.ts";
import type { CniHandler } from "../api/queries.ts";

/** ms that a request waits for the agent. The plugin waits 30 s, up to 25 s of which an ADD needs for itself. */
const defaultPatienceMs = 4_000;

export class CniGate implements CniHandler {
  readonly #handler: CniHandler;
  readonly #patienceMs: number;
  readonly #restored = new Latch();
  readonly #synced = new Latch();

  constructor(handler: CniHandler, patienceMs: number = defaultPatienceMs) {
    this.#handler = handler;
    this.#patienceMs = patienceMs;
  }

  /** Endpoints of before are known: everything but ADD may pass. */
  restored(): void {
    this.#restored.open();
  }

  /** The cluster is known: everything may pass. */
  synced(): void {
    this.#synced.open();
  }

  async handle(request: CniRequest, signal: AbortSignal): Promise<CniResponse> {
    const latch = request.command === "ADD" ? this.#synced : this.#restored;
    if (await latch.wait(this.#patienceMs, signal)) {
      return this.#handler.handle(request, signal);
    }
    return tryAgainLater(request);
  }
}

/** Shut, then open for good. */
class Latch {
  #isOpen = false;
  readonly #waiting = new Set<() => void>();

  open(): void {
    this.#isOpen = true;
    for (const wake of this.#waiting) wake();
  }

  /** True when it is open, false when time or the signal came first. */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#isOpen || signal.aborted) return this.#isOpen;
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake);
    });
    return this.#isOpen;
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
