/**
 * What the generated codecs are made of: fixed-size records of the kernel's maps as plain values. Host order is little endian, as
 * on every machine that the objects are built for; network-order fields are numbers in host meaning (port 80 is 80).
 */

export interface Codec<T> {
  /** Name of the C type. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** A fresh buffer; padding is zero. Throws a RangeError for a value that does not fit its field. */
  encode(value: T): Buffer;
  encodeInto(buffer: Buffer, offset: number, value: T): void;
  decode(buffer: Buffer, offset?: number): T;
}

/** Where a member lies, as `NativeBinding.mapBtf` tells it. */
export interface MemberLayout {
  readonly of: "key" | "value";
  readonly name: string;
  readonly offsetBits: number;
  readonly sizeBits: number;
}

/** A pinned map that is not of this layout must not be read as if it were. */
export interface MapLayout {
  /** enum bpf_map_type. */
  readonly type: number;
  /** BPF_F_*. */
  readonly flags: number;
  /** What the object declares; the settings may say otherwise. */
  readonly maxEntries: number;
  /** Bytes; 0 for a ring buffer. */
  readonly keySize: number;
  readonly valueSize: number;
  /** Name behind typedefs: "unsigned int", "endpoint_key"; "" for a ring buffer. */
  readonly keyType: string;
  readonly valueType: string;
  readonly members: readonly MemberLayout[];
}

export function makeCodec<T>(
  name: string,
  size: number,
  encodeInto: (buffer: Buffer, offset: number, value: T) => void,
  decode: (buffer: Buffer, offset: number) => T,
): Codec<T> {
  return {
    name,
    size,
    encode(value) {
      const buffer = Buffer.alloc(size);
      encodeInto(buffer, 0, value);
      return buffer;
    },
    encodeInto,
    decode: (buffer, offset = 0) => decode(buffer, offset),
  };
}

export const u32: Codec<number> = makeCodec(
  "unsigned int",
  4,
  (buffer, offset, value) => void buffer.writeUInt32LE(value, offset),
  (buffer, offset) => buffer.readUInt32LE(offset),
);

export const u64: Codec<bigint> = makeCodec(
  "unsigned long long",
  8,
  (buffer, offset, value) => void buffer.writeBigUInt64LE(value, offset),
  (buffer, offset) => buffer.readBigUInt64LE(offset),
);

/** Throws a RangeError unless there are exactly as many bytes as the field has. */
export function putBytes(buffer: Buffer, offset: number, bytes: Uint8Array, size: number, field: string): void {
  if (bytes.length !== size) throw new RangeError(`${field} has ${size} bytes, not ${bytes.length}`);
  buffer.set(bytes, offset);
}

/** A copy, so that it outlives the buffer it came from. */
export function takeBytes(buffer: Buffer, offset: number, size: number): Uint8Array {
  return Uint8Array.prototype.slice.call(buffer, offset, offset + size);
}

export function putWords(buffer: Buffer, offset: number, words: readonly bigint[], count: number, field: string): void {
  if (words.length !== count) throw new RangeError(`${field} has ${count} words, not ${words.length}`);
  for (const [index, word] of words.entries()) buffer.writeBigUInt64LE(word, offset + index * 8);
}

export function takeWords(buffer: Buffer, offset: number, count: number): readonly bigint[] {
  return Array.from({ length: count }, (_, index) => buffer.readBigUInt64LE(offset + index * 8));
}
