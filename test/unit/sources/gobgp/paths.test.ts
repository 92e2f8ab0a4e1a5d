/** What is written of a path is read as it was meant, in both forms. */
import test from "ava";
import { makePrefix, parseAddress } from "../../../../src/model/ip.ts";
import { PathReader, writePath } from "../../../../src/sources/gobgp/paths.ts";
import { readDefinedSet, writePrefixSet } from "../../../../src/sources/gobgp/policies.ts";

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

test("an announcement is read as it was written, typed and as Any, of both families", (t) => {
  for (const anyPackage of [null, "apipb"]) {
    for (const [vip, nextHop] of [
      ["203.0.113.10", "192.0.2.1"],
      ["2001:db8::10", "fd99::1"],
    ] as const) {
      const prefix = makePrefix(address(vip), vip.includes(":") ? 128 : 32);
      const written = writePath(
        {
          prefix,
          nextHop: address(nextHop),
          communities: [64_512 * 0x1_0000 + 100, 0xffff_ff01],
          largeCommunities: [
            [64_512, 1_413_566_020, 1],
            [4_200_000_000, 0, 2],
          ],
          asPath: [4_200_000_000, 64_512],
          localPref: 4_294_967_295,
        },
        anyPackage,
      );
      const path = new PathReader(anyPackage === null).path(written);
      t.is(path?.prefix.text, prefix.text);
      t.is(path?.nextHop?.text, nextHop);
      t.deepEqual(path?.communities, ["64512:100", "65535:65281"]);
      t.deepEqual(path?.largeCommunities, ["64512:1413566020:1", "4200000000:0:2"]);
      t.deepEqual(path?.asPath, [{ kind: "sequence", numbers: [4_200_000_000, 64_512] }]);
      t.is(path?.localPref, 4_294_967_295);
    }
  }
});

test("a set of exact prefixes is read as it was written", (t) => {
  for (const kind of [0, 1]) {
    const prefixes = [makePrefix(address("203.0.113.10"), 32), makePrefix(address("2001:db8::10"), 128)];
    t.deepEqual(readDefinedSet(writePrefixSet(kind, "pods", prefixes)), {
      name: "pods",
      prefixes: [
        { prefix: "203.0.113.10/32", least: 32, most: 32 },
        { prefix: "2001:db8::10/128", least: 128, most: 128 },
      ],
      list: [],
    });
  }
});
