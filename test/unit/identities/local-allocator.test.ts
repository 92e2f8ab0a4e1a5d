import test from "ava";
import { clusterNumbers, LocalIdentityAllocator, parseIdentityRecord } from "../../../src/identities/index.ts";
import { VersionedMap } from "../../../src/lib/versioned-map.ts";

test("numbers start at 256 and a set of labels keeps its number over restarts", (t) => {
  const first = new LocalIdentityAllocator(null);
  t.is(first.numberFor("app=web"), 256);
  t.is(first.numberFor("app=db"), 257);
  t.is(first.numberFor("app=web"), 256);
  const record = first.unwritten();
  t.deepEqual(first.unwritten(), record, "until it is written down");
  first.written();
  t.is(first.unwritten(), null, "nothing changed since");

  const second = new LocalIdentityAllocator(parseIdentityRecord(JSON.stringify(record)));
  t.is(second.numberFor("app=new"), 258);
  t.is(second.numberFor("app=db"), 257);
});

test("a freed number goes back to its labels, and to others only when all are used up, the longest free first", (t) => {
  const allocator = new LocalIdentityAllocator({
    version: 1,
    numbers: Object.fromEntries(Array.from({ length: 65_280 }, (_, i) => [`k${i}`, 256 + i])),
    free: [],
  });
  t.throws(() => allocator.numberFor("one more"), { message: /all 65280 identity numbers are in use/ });
  const all = new Map(Array.from({ length: 65_280 }, (_, i) => [256 + i, { key: `k${i}` }] as const));
  const first = VersionedMap.from(all).with([[300, undefined]]);
  allocator.retain(first);
  allocator.retain(
    first.with([
      [260, undefined],
      [280, undefined],
    ]),
  );
  t.is(allocator.numberFor("k4"), 260, "came back before it was needed");
  t.is(allocator.numberFor("new"), 300);
  t.is(allocator.numberFor("newer"), 280);
});

test("a number that was asked for and is not used is free, and one that changed its labels is not", (t) => {
  const allocator = new LocalIdentityAllocator(null);
  const used = new Map([[allocator.numberFor("app=web"), { key: "app=web" }]]);
  allocator.retain(used);
  t.is(allocator.numberFor("app=never-used"), 257);
  allocator.retain(used);
  t.deepEqual(allocator.unwritten()?.free, ["app=never-used"]);
  allocator.retain(new Map());
  t.deepEqual(allocator.unwritten()?.free, ["app=never-used", "app=web"]);
  t.is(allocator.numberFor("app=web"), 256);
  allocator.retain(used);
  t.deepEqual(allocator.unwritten()?.free, ["app=never-used"]);
});

test("of sets that nobody has any more the last 4,096 are remembered; the numbers of the others rest until all were given", (t) => {
  const allocator = new LocalIdentityAllocator(null);
  for (let i = 0; i < 70_000; i++) {
    const number = allocator.numberFor(`job=${i}`);
    t.is(number, 256 + (i % 65_280));
    allocator.retain(new Map([[number, { key: `job=${i}` }]]));
  }
  const record = allocator.unwritten();
  t.is(record?.free.length, 4_096);
  t.is(Object.keys(record?.numbers ?? {}).length, 4_097);
  t.is(allocator.numberFor("job=69000"), 256 + (69_000 % 65_280), "remembered");
  t.is(allocator.numberFor("job=1"), 256 + (70_000 % 65_280), "forgotten");
});

test("a record that is no record is not believed", (t) => {
  for (const text of [
    "",
    "[]",
    "null",
    '{"version":2}',
    '{"version":1,"numbers":{"a":256,"b":256},"free":[]}',
    '{"version":1,"numbers":{"a":1},"free":[]}',
  ]) {
    t.is(parseIdentityRecord(text), null, text);
  }
  const ofCluster = `{"version":1,"numbers":{"a":${(7 << 16) | 256}},"free":[]}`;
  t.is(parseIdentityRecord(ofCluster), null, "numbers of a cluster are none of a node's");
  t.deepEqual(parseIdentityRecord(ofCluster, clusterNumbers(7))?.numbers, { a: 459_008 });
  t.is(parseIdentityRecord(ofCluster, clusterNumbers(8)), null, "of another cluster");
});
