/** Cuts a stream into its lines: a watch sends one event a line. */

const newline = 0x0a;

export class LineSplitter {
  readonly #limit: number;
  /** Of the line that is not complete. */
  #parts: Buffer[] = [];
  #length = 0;

  /** @param limit bytes of a line: what never ends would fill the memory */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes that have come of the next line. */
  get rest(): number {
    return this.#length;
  }

  /**
   * The lines that this piece completes.
   * @throws RangeError when a line is too long
   */
  push(piece: Buffer): readonly string[] {
    const lines: string[] = [];
    let from = 0;
    for (let at = piece.indexOf(newline); at >= 0; at = piece.indexOf(newline, from)) {
      const last = piece.subarray(from, at);
      const line = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last]);
      this.#parts = [];
      this.#length = 0;
      if (line.length > 0) lines.push(line.toString("utf8"));
      from = at + 1;
    }
    if (from < piece.length) {
      this.#parts.push(piece.subarray(from));
      this.#length += piece.length - from;
    }
    if (this.#length > this.#limit) throw new RangeError(`a line has more than ${this.#limit} bytes`);
    return lines;
  }
}
