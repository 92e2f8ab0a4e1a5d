import test from "ava";
import fc from "fast-check";
import { editDistance, nearest } from "../../../src/lib/nearest.ts";

test("a slip of the pen finds the word that was meant, whatever its case; another word finds none", (t) => {
  const known = ["targetPort", "port", "name", "protocol"];
  t.is(nearest("targetport", known), "targetPort");
  t.is(nearest("protocl", known), "protocol");
  t.is(nearest("somethingElse", known), null);
  t.is(nearest("x", []), null);
});

test("the edit distance is a distance", (t) => {
  const word = fc.string({ maxLength: 12 });
  fc.assert(
    fc.property(word, word, word, (a, b, c) => {
      t.is(editDistance(a, b) === 0, a === b);
      t.is(editDistance(a, b), editDistance(b, a));
      t.true(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c));
      t.true(editDistance(a, b) <= Math.max(a.length, b.length));
    }),
  );
});

test("words of any length are compared in bounded time", (t) => {
  t.true(editDistance("a".repeat(1_000_000), "b".repeat(1_000_000)) <= 64);
});
