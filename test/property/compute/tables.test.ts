/** Longest-prefix tables: one lookup says what looking at every set says. */
import test from "ava";
import fc from "fast-check";
import { closePorts, makePortSet, portPrefixes, portSetText } from "../../../src/compute/policy/port-sets.ts";
import { closePrefixes } from "../../../src/compute/policy/prefix-sets.ts";
import { addressFromBytes, makePrefix, prefixContains } from "../../../src/model/ip.ts";

const port = fc.oneof(fc.integer({ min: 0, max: 65_535 }), fc.constantFrom(0, 1, 255, 256, 32_768, 65_534, 65_535));
const range = fc
  .tuple(fc.constantFrom(0, 6, 6, 17), port, port)
  .map(([protocol, a, b]) => ({ protocol, first: Math.min(a, b), last: Math.max(a, b) }));

test("a port is in the groups that the longest prefix carries exactly if a range of theirs holds it", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.array(range, { maxLength: 3 }), { maxLength: 5 }),
      port,
      fc.constantFrom(6, 17, 1),
      (lists, at, protocol) => {
        const table = closePorts(lists.map(makePortSet));
        const matching = table.filter(
          (entry) =>
            entry.bits === 0 ||
            (entry.protocol === protocol && at >> (24 - entry.bits) === entry.port >> (24 - entry.bits)),
        );
        const longest = matching.reduce<(typeof table)[number] | null>(
          (best, entry) => (best === null || entry.bits > best.bits ? entry : best),
          null,
        );
        const expected = lists.flatMap((list, group) =>
          list.some(
            (each) => each.protocol === 0 || (each.protocol === protocol && each.first <= at && at <= each.last),
          )
            ? [group]
            : [],
        );
        t.deepEqual(longest?.groups ?? [], expected);
      },
    ),
    { numRuns: 2000 },
  );
});

test("a range is made of at most 30 prefixes, which hold each of its ports once", (t) => {
  fc.assert(
    fc.property(
      range.filter(({ protocol }) => protocol !== 0),
      (each) => {
        const prefixes = portPrefixes(each);
        t.true(prefixes.length <= 30);
        t.is(
          prefixes.reduce((sum, { bits }) => sum + 2 ** (24 - bits), 0),
          each.last - each.first + 1,
        );
        t.is(prefixes[0]?.port, each.first);
      },
    ),
  );
});

test("sets of the same ports have the same text, however they were written", (t) => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 5 }), fc.array(port, { maxLength: 3 }), (ranges, cuts) => {
      const pieces = ranges.flatMap((each) => {
        const at = cuts.find((cut) => cut >= each.first && cut < each.last);
        return at === undefined
          ? [each]
          : [
              { ...each, first: at + 1 },
              { ...each, last: at },
            ];
      });
      t.is(portSetText(makePortSet(pieces.reverse())), portSetText(makePortSet(ranges)));
    }),
  );
});

/** Few different bits, so that prefixes nest. */
const address = fc
  .array(fc.constantFrom(0, 1, 128), { minLength: 4, maxLength: 4 })
  .map((bytes) => addressFromBytes(Uint8Array.from(bytes)));
const prefix = fc
  .tuple(address, fc.constantFrom(0, 1, 8, 9, 16, 24, 31, 32))
  .map(([base, length]) => makePrefix(base, length));
const block = prefix.chain((outer) =>
  fc.record({
    prefix: fc.constant(outer),
    except: fc.array(
      fc.tuple(address, fc.integer({ min: outer.length, max: 32 })).map(([base, length]) => makePrefix(base, length)),
      { maxLength: 3 },
    ),
    outsideOnly: fc.boolean(),
  }),
);

test("an address is in the groups that the longest prefix carries exactly if a block of theirs holds it and does not except it", (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), block), { maxLength: 6 }), address, (blocks, at) => {
      const table = closePrefixes(blocks.map(([group, each]) => ({ group, block: each })));
      const longest = table
        .filter(({ prefix: each }) => prefixContains(each, at))
        .sort((a, b) => b.prefix.length - a.prefix.length)[0];
      const holding = blocks.filter(
        ([, each]) => prefixContains(each.prefix, at) && !each.except.some((hole) => prefixContains(hole, at)),
      );
      t.deepEqual(
        longest?.groups ?? [],
        [...new Set(holding.map(([group]) => group))].sort((a, b) => a - b),
      );
    }),
    { numRuns: 3000 },
  );
});
