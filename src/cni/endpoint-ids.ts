/** Numbers of endpoints, 1-65535 (they name entries of the kernel's maps). Next-fit: a freed number rests as long as possible. */
import { CniError, cniCodes } from "./errors.ts";

const highest = 65535;

export class EndpointIds {
  readonly #taken = new Set<number>();
  #last = 0;

  allocate(pod: string): number {
    for (let step = 1; step <= highest; step++) {
      const id = ((this.#last + step - 1) % highest) + 1;
      if (this.#taken.has(id)) continue;
      this.claim(id);
      return id;
    }
    throw new CniError({
      code: "CNI_ENDPOINTS_EXHAUSTED",
      cniCode: cniCodes.exhausted,
      object: `Pod ${pod}`,
      message: `all ${highest} endpoint numbers of this node are taken`,
      remedy: "remove pods from this node",
    });
  }

  /** False if another endpoint has it. */
  claim(id: number): boolean {
    if (this.#taken.has(id)) return false;
    this.#taken.add(id);
    this.#last = id;
    return true;
  }

  release(id: number): void {
    this.#taken.delete(id);
  }
}
