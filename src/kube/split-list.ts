/**
 * Cuts the answer to a list into its objects while it comes in. A list of 20,000 pods is 40 MB: decoded at once it stops the event loop
 * for half a second and needs several times its size; cut into objects it needs one object and one piece of the stream.
 *
 * The answer is one JSON object with the member `items`, which may stand before or after `metadata`. Bytes outside of the
 * items are kept and decoded in the end.
 */

const quote = 0x22;
const backslash = 0x5c;
const open = { brace: 0x7b, bracket: 0x5b } as const;
const close = { brace: 0x7d, bracket: 0x5d } as const;
const colon = 0x3a;
const comma = 0x2c;

export class ListSplitter {
  readonly #onItem: (json: string) => void;
  /** What is not of an item. */
  readonly #frame: Buffer[] = [];
  /** Of an item that began in an earlier piece. */
  #item: Buffer[] | null = null;
  #depth = 0;
  #inText = false;
  #escaped = false;
  /** Of the text at depth 1 that was last seen: a member's name, if a colon follows. */
  #name: number[] | null = null;
  #lastName = "";
  #member = "";
  #inItems = false;

  constructor(onItem: (json: string) => void) {
    this.#onItem = onItem;
  }

  /** @throws what `onItem` throws */
  push(piece: Buffer): void {
    /** Where what belongs to the frame, or to the item, begins in this piece. */
    let from = 0;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at] as number;
      if (this.#inText) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quote) this.#endText();
        else this.#name?.push(byte);
        continue;
      }
      switch (byte) {
        case quote:
          this.#inText = true;
          this.#name = this.#depth === 1 ? [] : null;
          break;
        case colon:
          if (this.#depth === 1) this.#member = this.#lastName;
          break;
        case comma:
          // Between items: of the frame, where it would be a comma too many.
          if (this.#inItems && this.#depth === 2) {
            this.#keep(piece, from, at);
            from = at + 1;
          }
          break;
        case open.brace:
        case open.bracket:
          if (this.#inItems && this.#depth === 2 && byte === open.brace) {
            this.#keep(piece, from, at);
            from = at;
            this.#item = [];
          } else if (this.#depth === 1 && byte === open.bracket && this.#member === "items") this.#inItems = true;
          this.#depth++;
          break;
        case close.brace:
        case close.bracket:
          this.#depth--;
          if (this.#depth === 2 && this.#item !== null) {
            this.#endItem(piece.subarray(from, at + 1));
            from = at + 1;
          } else if (this.#depth === 1) this.#inItems = false;
          break;
      }
    }
    this.#keep(piece, from, piece.length);
  }

  /**
   * The list without its items, decoded.
   * @throws SyntaxError where the answer broke off or is no JSON
   */
  finish(): unknown {
    if (this.#item !== null) throw new SyntaxError("it ends within an object");
    return JSON.parse(Buffer.concat(this.#frame).toString("utf8"));
  }

  #endText(): void {
    this.#inText = false;
    if (this.#name === null) return;
    this.#lastName = String.fromCharCode(...this.#name.slice(0, 64));
    this.#name = null;
  }

  #endItem(last: Buffer): void {
    const parts = this.#item ?? [];
    this.#item = null;
    this.#onItem((parts.length === 0 ? last : Buffer.concat([...parts, last])).toString("utf8"));
  }

  #keep(piece: Buffer, from: number, to: number): void {
    if (from < to) (this.#item ?? this.#frame).push(piece.subarray(from, to));
  }
}
