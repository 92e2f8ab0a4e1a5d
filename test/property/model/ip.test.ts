import test from "ava";
import { containsCidr, normalizeCidr } from "cidr-tools";
import fc from "fast-check";
import {
  type Address,
  addressFromBytes,
  compareAddresses,
  fromMappedBytes,
  makePrefix,
  parseAddress,
  parsePrefix,
  prefixContains,
  prefixContainsPrefix,
  toMappedBytes,
} from "../../../src/model/ip.ts";

const byte = fc.oneof(fc.constantFrom(0, 255), fc.integer({ min: 0, max: 255 }));
const address: fc.Arbitrary<Address> = fc
  .oneof(fc.array(byte, { minLength: 4, maxLength: 4 }), fc.array(byte, { minLength: 16, maxLength: 16 }))
  .map((bytes) => addressFromBytes(Uint8Array.from(bytes)));
const prefix = address.chain((value) =>
  fc.integer({ min: 0, max: value.bytes.length * 8 }).map((length) => makePrefix(value, length)),
);

test("text of any address reads back as the same bytes, and any spelling gives the same text", (t) => {
  fc.assert(
    fc.property(address, (value) => {
      t.deepEqual(parseAddress(value.text), value);
      if (value.family === 4) return;
      const groups = Array.from({ length: 8 }, (_, index) =>
        (((value.bytes[index * 2] ?? 0) << 8) | (value.bytes[index * 2 + 1] ?? 0)).toString(16),
      );
      t.deepEqual(parseAddress(groups.map((group) => group.padStart(4, "0").toUpperCase()).join(":")), value);
    }),
  );
});

test("prefixes read and contain as cidr-tools says", (t) => {
  fc.assert(
    fc.property(prefix, prefix, address, (left, right, point) => {
      t.deepEqual(parsePrefix(left.text), left);
      const theirs = normalizeCidr(left.text);
      t.deepEqual(parsePrefix(theirs), left);
      t.is(prefixContains(left, point), containsCidr(left.text, point.text));
      t.is(prefixContainsPrefix(left, right), containsCidr(left.text, right.text));
      t.true(prefixContainsPrefix(makePrefix(left.address, left.length >> 1), left));
    }),
  );
});

test("mapped bytes lead back to the address, except that a mapped address is its IPv4 one", (t) => {
  fc.assert(
    fc.property(address, (value) => {
      const back = fromMappedBytes(toMappedBytes(value));
      t.deepEqual(back.family === value.family ? back.text : `::ffff:${back.text}`, value.text);
    }),
  );
});

test("addresses have one order, IPv4 first", (t) => {
  fc.assert(
    fc.property(fc.array(address, { maxLength: 8 }), (values) => {
      const sorted = [...values].sort(compareAddresses);
      const again = [...values].reverse().sort(compareAddresses);
      t.deepEqual(
        sorted.map((value) => value.text),
        again.map((value) => value.text),
      );
      t.true(sorted.every((value, index) => index === 0 || (sorted[index - 1] as Address).family <= value.family));
    }),
  );
});
