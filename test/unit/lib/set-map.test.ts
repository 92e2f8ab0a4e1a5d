import test from "ava";
import { SetMap } from "../../../src/lib/set-map.ts";

test("values come and go by key, and what is empty takes no room", (t) => {
  const sets = new SetMap<string, number>();
  t.deepEqual([...sets.get("a")], []);
  sets.add("a", 1);
  sets.add("a", 2);
  sets.add("a", 2);
  sets.add("b", 1);
  t.deepEqual([...sets.get("a")], [1, 2]);
  t.is(sets.size, 2);
  sets.delete("a", 1);
  sets.delete("a", 3);
  sets.delete("c", 1);
  t.deepEqual([...sets.get("a")], [2]);
  sets.delete("a", 2);
  t.deepEqual([...sets.get("a")], []);
  t.is(sets.size, 1);
});
