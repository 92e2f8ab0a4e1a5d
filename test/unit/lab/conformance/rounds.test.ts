import test from "ava";
import { planRounds } from "../../../../src/lab/conformance/rounds.ts";
import { probe } from "./support.ts";

const first = "203.0.113.1";
const second = "203.0.113.2";

/** Numbers of the probes of each round. */
function rounds(...probes: readonly (readonly [to: string, names: Readonly<Record<string, readonly string[]>>])[]) {
  const made = probes.map(([to, names], i) => {
    const resolved = Object.entries(names).map(([name, addresses]) => ({ name, addresses }));
    return { probe: probe("shop/front", to, { number: i + 1, resolved }) };
  });
  return planRounds(made);
}

const numbers = (made: ReturnType<typeof rounds>) =>
  made.map((each) => each.probes.map(({ probe: { number } }) => number));

test("probes without names are one round, in which nothing is resolved", (t) => {
  const made = rounds([first, {}], [second, {}], ["shop/cart", {}]);
  t.deepEqual(numbers(made), [[1, 2, 3]]);
  t.is(made[0]?.records.size, 0);
});

test("an address is given by exactly the names that the probe has resolved", (t) => {
  t.deepEqual(
    numbers(
      rounds(
        [first, { "a.test": [first] }],
        [first, {}],
        [first, { "b.test": [first] }],
        [first, { "A.Test.": [first] }],
        [first, { "a.test": [first], "b.test": [first] }],
      ),
    ),
    [[1, 4], [2], [3], [5]],
  );
});

test("what a name gives beside the destination keeps nobody apart, but for those who go there", (t) => {
  const made = rounds(
    [first, { "a.test": [first, second] }],
    [second, { "a.test": [second] }],
    ["203.0.113.3", { "a.test": [first] }],
    [second, { "b.test": [second] }],
  );
  t.deepEqual(numbers(made), [[1, 2, 3], [4]]);
  t.deepEqual([...(made[0]?.records ?? [])], [["a.test", [first, second]]]);
});
