import test from "ava";
import { HeldNumbers } from "../../../src/identities/held-numbers.ts";

test("a number that comes while the record is being written is in the next one", (t) => {
  const held = new HeldNumbers(null);
  t.is(held.unwritten(), null);
  held.hold("web", 300);
  t.deepEqual(held.unwritten()?.numbers, { web: 300 });
  held.hold("db", 301);
  held.written();
  t.deepEqual(held.unwritten()?.numbers, { web: 300, db: 301 });
  held.written();
  t.is(held.unwritten(), null);
});

test("no two sets have the same number, and who lost one is named", (t) => {
  const held = new HeldNumbers({ version: 1, numbers: { web: 300, db: 301 }, free: [] });
  t.is(held.unwritten(), null, "that is what was written");
  t.is(held.hold("web", 300), null);
  t.is(held.hold("web", 301), "db");
  t.deepEqual([held.numberOf("db"), held.keyOf(300), held.keyOf(301)], [null, null, "web"]);
});

test("what is not in use any more, or was asked for in vain, is dropped", (t) => {
  const held = new HeldNumbers({ version: 1, numbers: { web: 300, db: 301 }, free: [] });
  const used = new Map([[300, { key: "web" }]]);
  held.retain(used);
  t.deepEqual([...held.keys()], ["web"]);
  held.hold("vain", 302);
  held.retain(used);
  t.deepEqual([...held.keys()], ["web"]);
  held.retain(new Map());
  t.deepEqual([...held.keys()], []);
});
