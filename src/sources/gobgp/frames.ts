/** Cuts the bytes of a gRPC stream into its messages: each stands behind a flag and its length (gRPC over HTTP2, "Length-Prefixed-Message"). */
import { Code, ConnectError } from "@connectrpc/connect";

const headBytes = 5;

export class Frames {
  readonly #limit: number;
  /** Of a message that is not whole yet. */
  #parts: Buffer[] = [];
  #have = 0;
  #need = headBytes;

  /** @param limit bytes of one message at most */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Nothing is left of a message that broke off. */
  get isWhole(): boolean {
    return this.#have === 0;
  }

  /**
   * Messages that are whole now, as views.
   * @throws ConnectError
   */
  take(chunk: Buffer): readonly Buffer[] {
    this.#parts.push(chunk);
    this.#have += chunk.length;
    // A large message comes in thousands of pieces: they are put together once.
    if (this.#have < this.#need) return [];
    const bytes = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts);
    const found: Buffer[] = [];
    let at = 0;
    for (;;) {
      const size = this.#sizeAt(bytes, at);
      this.#need = headBytes + size;
      if (bytes.length - at < this.#need) break;
      found.push(bytes.subarray(at + headBytes, at + this.#need));
      at += this.#need;
    }
    this.#have = bytes.length - at;
    this.#parts = this.#have === 0 ? [] : [bytes.subarray(at)];
    return found;
  }

  /** Of the message that begins there; 0 where not even that is known. */
  #sizeAt(bytes: Buffer, at: number): number {
    if (bytes.length - at < headBytes) return 0;
    // No compression was offered.
    if (bytes[at] !== 0) throw new ConnectError(`a message with the flags ${bytes[at]}`, Code.Internal);
    const size = bytes.readUInt32BE(at + 1);
    if (size > this.#limit)
      throw new ConnectError(`a message of ${size} bytes, and ${this.#limit} are taken`, Code.ResourceExhausted);
    return size;
  }
}
