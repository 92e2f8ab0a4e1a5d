/**
 * Reading and writing the bytes in which rows and changes of netlink cross to the addon (`addon/src/netlink/packed.h`):
 * little-endian numbers, bytes behind their length (1 byte), UTF-8 text behind its length (2 bytes).
 */

export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    if (!Buffer.isBuffer(bytes)) throw new Error("the addon is older than this program: npm run build:addon");
    this.#bytes = bytes;
  }

  /** Everything was read. */
  get ended(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Where the next value begins. */
  get at(): number {
    return this.#at;
  }

  /** A view of what was read from there on. */
  since(start: number): Buffer {
    return this.#bytes.subarray(start, this.#at);
  }

  /** Reads these bytes, if they come next. */
  take(expected: Uint8Array): boolean {
    for (let index = 0; index < expected.length; index++) {
      if (this.#bytes[this.#at + index] !== expected[index]) return false;
    }
    this.#at += expected.length;
    return true;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#at++);
  }

  u16(): number {
    this.#at += 2;
    return this.#bytes.readUInt16LE(this.#at - 2);
  }

  u32(): number {
    this.#at += 4;
    return this.#bytes.readUInt32LE(this.#at - 4);
  }

  /** A view, not a copy: rows of one answer share its memory. */
  bytes(): Buffer {
    const size = this.u8();
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  bytesOrNull(): Buffer | null {
    const bytes = this.bytes();
    return bytes.length === 0 ? null : bytes;
  }

  text(): string {
    const size = this.u16();
    if (size === 0) return "";
    this.#at += size;
    return this.#bytes.toString("utf8", this.#at - size, this.#at);
  }
}

/** Grows as needed. Values must be in range: callers check and explain. */
export class WireWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(sizeHint: number) {
    this.#bytes = Buffer.allocUnsafe(Math.max(64, sizeHint));
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#at = this.#bytes.writeUInt16LE(value, this.#at);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
  }

  bytes(value: Uint8Array): void {
    this.#reserve(1 + value.length);
    this.#bytes[this.#at++] = value.length;
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  text(value: string): void {
    const size = Buffer.byteLength(value);
    this.u16(size);
    this.#reserve(size);
    this.#at += this.#bytes.write(value, this.#at, "utf8");
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + size));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}
