/**
 * Takes CNI requests from the moment the socket is there, and lets them through once the node can serve them: a kubelet that asks while
 * the agent restarts waits some seconds instead of failing. Deletions need the endpoints of before only; additions need to know
 * the cluster (pod CIDRs, policies) too. A deletion that waited long enough is kept for later and is a success, as one that meets no
 * agent: a pod that is gone must not keep the node from being drained.
 */
import type { CniRequest, CniResponse } from "../api/dto.ts";
import type { CniHandler } from "../api/queries.ts";
import { CniError, errorOutput } from "../cni/index.ts";
import { messageOf } from "../lib/errors.ts";

/** ms that a request waits for the agent. The plugin waits 30 s, up to 25 s of which an ADD needs for itself. */
const defaultPatienceMs = 4_000;

/** What is behind the gate. */
export interface GatedCni extends CniHandler {
  /** Keeps a deletion until the endpoints are known. Rejects if it cannot be kept. */
  keepDelete(request: CniRequest): Promise<void>;
}

export class CniGate implements CniHandler {
  readonly #handler: GatedCni;
  readonly #patienceMs: number;
  readonly #restored = new Latch();
  readonly #synced = new Latch();

  constructor(handler: GatedCni, patienceMs: number = defaultPatienceMs) {
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
    // STATUS asks whether an ADD would be served.
    const needsCluster = request.command === "ADD" || request.command === "STATUS";
    const latch = needsCluster ? this.#synced : this.#restored;
    if (await latch.wait(this.#patienceMs, signal)) {
      return this.#handler.handle(request, signal);
    }
    if (request.command !== "DEL" || signal.aborted) return tryAgainLater(request, notReady);
    try {
      await this.#handler.keepDelete(request);
      return { exitCode: 0, output: "" };
    } catch (error) {
      // One that is wrong stays wrong, however often it is tried.
      if (error instanceof CniError) return { exitCode: 1, output: errorOutput(versionOf(request.config), error) };
      return tryAgainLater(request, `${notReady}, and the deletion could not be kept: ${messageOf(error)}`);
    }
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

const notReady = "AGENT_STARTING: the agent of this node is not ready";

/** Errors of the CNI specification. 11: try again later; 50: the plugin cannot serve ADD, which is what STATUS asks. */
function tryAgainLater(request: CniRequest, msg: string): CniResponse {
  return {
    exitCode: 1,
    output: JSON.stringify({
      cniVersion: versionOf(request.config),
      code: request.command === "STATUS" ? 50 : 11,
      msg,
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
