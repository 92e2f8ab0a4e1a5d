/** What a test makes go wrong: each fault meets the next requests that its predicate matches, the oldest fault first. */

export interface SeenRequest {
  /** The program, by its User-Agent. */
  readonly by: string;
  /** get, list, watch, create, update, patch, delete */
  readonly verb: string;
  /** "pods", "foos.t.io"; "" for what is no resource. */
  readonly storage: string;
  readonly name: string;
  readonly path: string;
}

export type Fault =
  | { readonly kind: "answer"; readonly code: number; readonly reason: string; readonly retryAfterSeconds?: number }
  /** Waits by the injected clock, then goes on. */
  | { readonly kind: "delay"; readonly ms: number }
  /** RST before an answer (http only). */
  | { readonly kind: "reset" }
  /** Never answers, keeps the connection. */
  | { readonly kind: "hang" };

export interface FaultRule {
  readonly fault: Fault;
  readonly when: (request: SeenRequest) => boolean;
  /** Requests that it meets. */
  readonly times: number;
}

export class Faults {
  #rules: { readonly rule: FaultRule; left: number }[] = [];

  add(fault: Fault, when: (request: SeenRequest) => boolean = () => true, times = 1): void {
    this.#rules.push({ rule: { fault, when, times }, left: times });
  }

  clear(): void {
    this.#rules = [];
  }

  next(request: SeenRequest): Fault | null {
    const found = this.#rules.find(({ rule }) => rule.when(request));
    if (found === undefined) return null;
    found.left -= 1;
    if (found.left <= 0) this.#rules = this.#rules.filter((other) => other !== found);
    return found.rule.fault;
  }
}
