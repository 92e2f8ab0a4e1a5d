/**
 * Reads protobuf fields one by one, with the wire type checked: a table of 100,000 paths is read in a fraction of the time that messages
 * by reflection take, and fields that nobody reads cost nothing. Unknown fields are skipped.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { WireError } from "./errors.ts";

export class FieldReader {
  readonly #reader: BinaryReader;
  #wire: WireType = WireType.Varint;
  /** Number of the field that is read now. */
  field = 0;

  constructor(bytes: Uint8Array) {
    this.#reader = new BinaryReader(bytes);
  }

  /** Goes on to the next field. @returns false at the end of the message */
  next(): boolean {
    if (this.#reader.pos >= this.#reader.len) return false;
    const [field, wire] = guarded(() => this.#reader.tag());
    this.field = field;
    this.#wire = wire;
    return true;
  }

  skip(): void {
    guarded(() => this.#reader.skip(this.#wire, this.field));
  }

  bytes(): Uint8Array {
    this.#expect(WireType.LengthDelimited);
    return guarded(() => this.#reader.bytes());
  }

  text(): string {
    this.#expect(WireType.LengthDelimited);
    return guarded(() => this.#reader.string());
  }

  number(): number {
    this.#expect(WireType.Varint);
    return guarded(() => this.#reader.uint32());
  }

  /** A 64-bit number as far as a number holds it exactly. */
  long(): number {
    this.#expect(WireType.Varint);
    return Number(guarded(() => this.#reader.int64()));
  }

  flag(): boolean {
    this.#expect(WireType.Varint);
    return guarded(() => this.#reader.bool());
  }

  /** Seconds as google.protobuf.Timestamp, or as a number as version 2 began with. @returns ms since the epoch; 0: not set */
  time(): number {
    if (this.#wire === WireType.Varint) return this.long() * 1000;
    const stamp = new FieldReader(this.bytes());
    let seconds = 0;
    while (stamp.next()) {
      if (stamp.field === 1) seconds = stamp.long();
      else stamp.skip();
    }
    return seconds * 1000;
  }

  /** Repeated numbers, packed or not. */
  numbersInto(list: number[]): void {
    if (this.#wire === WireType.Varint) {
      list.push(this.number());
      return;
    }
    const packed = new BinaryReader(this.bytes());
    guarded(() => {
      while (packed.pos < packed.len) list.push(packed.uint32());
    });
  }

  #expect(wire: WireType): void {
    if (this.#wire !== wire) throw new WireError(`field ${this.field} has wire type ${this.#wire}, not ${wire}`);
  }
}

function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new WireError(`the message breaks off or is none: ${String(cause)}`, { cause });
  }
}
