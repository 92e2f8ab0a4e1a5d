import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { Btf } from "../../../src/native/btf.ts";
import { packageRoot } from "../../../src/native/index.ts";
import type { Codec } from "../../../src/native/layout.ts";
import * as layouts from "../../../src/native/layouts.gen.ts";

const objects = ["pod", "network", "sock"].map(
  (name) => new Btf(readFileSync(join(packageRoot(), `build/bpf/${name}.bpf.o`))),
);

function isCodec(value: unknown): value is Codec<unknown> {
  return typeof value === "object" && value !== null && "encodeInto" in value && "decode" in value;
}

const codecs: readonly { readonly name: string; readonly codec: Codec<unknown> }[] = Object.entries(
  layouts as Record<string, unknown>,
).flatMap(([name, value]) => (isCodec(value) ? [{ name, codec: value }] : []));

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const isPadding = (name: string) => /^pad\d*$/.test(name);

function structOf(codec: Codec<unknown>) {
  for (const btf of objects) {
    const struct = btf.structNamed(codec.name);
    if (struct !== null) return struct;
  }
  throw new Error(`no object has struct ${codec.name}`);
}

/** Bytes of the struct that belong to a field: what a codec must keep. */
function fieldBytes(codec: Codec<unknown>): Buffer {
  const mask = Buffer.alloc(codec.size);
  for (const { name, offsetBits, sizeBits } of structOf(codec).members) {
    if (!isPadding(name)) mask.fill(255, offsetBits / 8, (offsetBits + sizeBits) / 8);
  }
  return mask;
}

test("every struct of a map and the event have a codec of the size that the compiler gave them", (t) => {
  t.true(codecs.length > 25);
  for (const { codec } of codecs) t.is(codec.size, structOf(codec).size, codec.name);
  t.true(codecs.some(({ name }) => name === "event"));
});

test("decode then encode keeps every byte of a field and writes padding as zero", (t) => {
  for (const { codec } of codecs) {
    const mask = fieldBytes(codec);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: codec.size, maxLength: codec.size }),
        fc.integer({ min: 0, max: 9 }),
        (bytes, offset) => {
          const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
          const expected = Buffer.from(bytes.map((byte, index) => byte & (mask[index] ?? 0)));
          const into = Buffer.alloc(codec.size + offset, 0xaa);
          codec.encodeInto(into, offset, codec.decode(shifted, offset));
          return codec.encode(codec.decode(shifted, offset)).equals(expected) && into.subarray(offset).equals(expected);
        },
      ),
      { numRuns: 30 },
    );
  }
  t.pass();
});

test("each field lies where BTF says", (t) => {
  for (const { codec } of codecs) {
    const zero = Buffer.alloc(codec.size);
    for (const { name, offsetBits, sizeBits } of structOf(codec).members) {
      if (isPadding(name)) continue;
      const bytes = Buffer.from(zero).fill(0xff, offsetBits / 8, (offsetBits + sizeBits) / 8);
      const before = codec.decode(zero) as Record<string, unknown>;
      const after = codec.decode(bytes) as Record<string, unknown>;
      const changed = Object.keys(after).filter(
        (key) => JSON.stringify(after[key], text) !== JSON.stringify(before[key], text),
      );
      t.deepEqual(changed.map(snake), [name.replace(/([a-z])(?=\d)/g, "$1")], `${codec.name}.${name}`);
    }
  }
});

const text = (_key: string, value: unknown) => (typeof value === "bigint" ? value.toString() : value);

test("ports and IPv4 addresses are numbers in host meaning, in network order in the kernel", (t) => {
  const key = layouts.service4Key.encode({ address: 0x0a600001, port: 80, protocol: 6, scope: 0 });
  t.deepEqual([...key], [10, 96, 0, 1, 0, 80, 6, 0]);
  t.deepEqual(layouts.service4Key.decode(key), { address: 0x0a600001, port: 80, protocol: 6, scope: 0 });
});

test("a value that does not fit its field is refused", (t) => {
  t.throws(() => layouts.service4Key.encode({ address: 1, port: 70_000, protocol: 6, scope: 0 }), {
    instanceOf: RangeError,
  });
  t.throws(() => layouts.ipcache6Key.encode({ address: new Uint8Array(4) }), {
    instanceOf: RangeError,
    message: /ipcache6_key\.address has 16 bytes, not 4/,
  });
});

test("the layout of each map is the one of the objects", (t) => {
  for (const btf of objects) {
    for (const map of btf.maps().filter(({ pinned }) => pinned)) {
      const known = layouts.mapLayouts[map.name as layouts.MapName];
      t.is(known.layout.type, map.type, map.name);
      t.is(known.layout.maxEntries, map.maxEntries, map.name);
      t.is(known.layout.keySize, map.key === null ? 0 : btf.sizeOf(map.key), map.name);
      t.is(known.layout.valueType, map.value === null ? "" : btf.nameOf(map.value), map.name);
    }
  }
});
