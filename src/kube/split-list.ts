/**
 * Cuts the answer to a list into its objects while it comes in. A list of 20,000 pods is 100 MB: decoded at once it stops the event loop
 * for a second and needs several times its size; cut into objects it needs one object and one piece of the stream.
 *
 * The answer is one JSON object with the member `items`, which may stand before or after `metadata`. Bytes outside of the
 * items are kept and decoded in the end.
 *
 * Of items, `metadata.managedFields` is left out where that is easy: nobody here reads it, and decoding it is a third of all decoding.
 */

const quote = 0x22;
const backslash = 0x5c;
const open = { brace: 0x7b, bracket: 0x5b } as const;
const close = { brace: 0x7d, bracket: 0x5d } as const;
const colon = 0x3a;
const comma = 0x2c;

/** Of an item's members, and of its metadata's: the list itself is 1, its items 2. */
const itemDepth = 3;
const metadataDepth = 4;
const metadata = Buffer.from("metadata");
const managedFields = Buffer.from("managedFields");
/** Where a text begins that began in an earlier piece. */
const earlier = -1;

export class ListSplitter {
  readonly #onItem: (json: string) => void;
  /** What is not of an item. */
  readonly #frame: Buffer[] = [];
  /** Of an item that began in an earlier piece, or has lost a part. */
  #item: Buffer[] | null = null;
  #depth = 0;
  #inText = false;
  #escaped = false;
  /** Of the text at depth 1 that was last seen: a member's name, if a colon follows. */
  #name: number[] | null = null;
  #lastName = "";
  #member = "";
  #inItems = false;
  /** The text that was last seen among an item's members is "metadata". */
  #namedMetadata = false;
  #inMetadata = false;
  /** In a value that is left out. */
  #dropping = false;

  constructor(onItem: (json: string) => void) {
    this.#onItem = onItem;
  }

  /** @throws what `onItem` throws */
  push(piece: Buffer): void {
    const { length } = piece;
    /** Where what belongs to the frame, or to the item, begins in this piece. */
    let from = 0;
    let depth = this.#depth;
    let textFrom = earlier;
    /** Where the member that may be left out begins, and its colon; -1: there is none. */
    let dropFrom = -1;
    let dropColon = -1;
    for (let at = 0; at < length; at++) {
      let byte = piece[at] as number;
      if (this.#inText) {
        if (this.#name !== null || this.#escaped) {
          if (this.#escaped) this.#escaped = false;
          else if (byte === backslash) this.#escaped = true;
          else if (byte === quote) this.#endName();
          else this.#name?.push(byte);
          continue;
        }
        while (byte !== quote && byte !== backslash && ++at < length) byte = piece[at] as number;
        if (at === length) break;
        if (byte === backslash) {
          this.#escaped = true;
          continue;
        }
        this.#inText = false;
        if (depth === itemDepth) this.#namedMetadata = isText(piece, textFrom, at, metadata);
        else if (depth === metadataDepth && this.#inMetadata && isText(piece, textFrom, at, managedFields)) {
          dropFrom = textFrom - 1;
          dropColon = at + 1;
        }
        continue;
      }
      switch (byte) {
        case quote:
          this.#inText = true;
          textFrom = at + 1;
          if (depth === 1) this.#name = [];
          break;
        case colon:
          if (depth === 1) this.#member = this.#lastName;
          break;
        case comma:
          // Between items: of the frame, where it would be a comma too many.
          if (depth === 2 && this.#inItems) {
            this.#keep(piece, from, at);
            from = at + 1;
          }
          break;
        case open.brace:
        case open.bracket:
          if (depth === 2 && this.#inItems && byte === open.brace) {
            this.#keep(piece, from, at);
            from = at;
            this.#item = [];
          } else if (depth === 1 && byte === open.bracket && this.#member === "items") this.#inItems = true;
          else if (depth === itemDepth) this.#inMetadata = this.#item !== null && this.#namedMetadata;
          else if (
            depth === metadataDepth &&
            byte === open.bracket &&
            at === dropColon + 1 &&
            piece[dropColon] === colon &&
            dropFrom > from &&
            piece[dropFrom - 1] === comma
          ) {
            this.#keep(piece, from, dropFrom - 1);
            this.#dropping = true;
          }
          depth++;
          break;
        case close.brace:
        case close.bracket:
          depth--;
          if (depth === metadataDepth && this.#dropping) {
            this.#dropping = false;
            from = at + 1;
          } else if (depth === 2 && this.#item !== null) {
            this.#endItem(piece.subarray(from, at + 1));
            from = at + 1;
          } else if (depth === 1) this.#inItems = false;
          break;
      }
    }
    this.#depth = depth;
    if (!this.#dropping) this.#keep(piece, from, length);
  }

  /**
   * The list without its items, decoded.
   * @throws SyntaxError where the answer broke off or is no JSON
   */
  finish(): unknown {
    if (this.#item !== null) throw new SyntaxError("it ends within an object");
    return JSON.parse(Buffer.concat(this.#frame).toString("utf8"));
  }

  #endName(): void {
    this.#inText = false;
    this.#lastName = String.fromCharCode(...(this.#name ?? []).slice(0, 64));
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

function isText(piece: Buffer, from: number, to: number, text: Buffer): boolean {
  return from !== earlier && to - from === text.length && piece.compare(text, 0, text.length, from, to) === 0;
}
