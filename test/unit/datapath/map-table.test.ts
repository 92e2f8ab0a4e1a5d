import test from "ava";
import { Counters, keyText, MapTable } from "../../../src/datapath/map-table.ts";
import { entryProblems } from "../../../src/datapath/problems.ts";
import { deviceKey, ipcache4Key, ipcacheValue } from "../../../src/native/layouts.gen.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";

const key = (number: number) => ipcache4Key.encode({ address: number });
const value = (identity: number) => ipcacheValue.encode({ identity, flags: 0 });
const wanted = (...numbers: readonly number[]) =>
  new Map(numbers.map((number) => [keyText(key(number)), value(number)]));

function table(kernel: FakeKernel): { readonly table: MapTable; readonly counters: Counters } {
  const counters = new Counters();
  const describe = (bytes: Buffer) => `address ${ipcache4Key.decode(bytes).address}`;
  return { table: new MapTable(kernel.native, kernel.map("ipcache4"), counters, describe), counters };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

test("only what differs is written, in few calls when it is much", async (t) => {
  const kernel = new FakeKernel();
  const { table: made, counters } = table(kernel);
  let calls = 0;
  const { mapUpdateBatch } = kernel.native;
  kernel.native.mapUpdateBatch = (...args) => {
    calls++;
    return mapUpdateBatch(...args);
  };
  made.replaceDesired(wanted(...range(0, 20_000)));
  t.deepEqual(await made.write(), []);
  t.is(kernel.entries("ipcache4").size, 20_000);
  t.is(calls, 3);
  t.is(counters.writes, 20_000);

  made.replaceDesired(wanted(...range(1, 20_001)));
  await made.sync();
  t.is(counters.writes, 20_002);
  t.true(made.isClean);
});

test("one value of many entries is held once, also where the kernel had them before", async (t) => {
  const kernel = new FakeKernel();
  const one = value(7);
  const entries = new Map([...wanted(...range(0, 100))].map(([text]) => [text, one]));
  const { table: before } = table(kernel);
  before.replaceDesired(entries);
  await before.write();
  const { table: made } = table(kernel);
  t.is(await made.read(), 100);
  t.is(new Set(made.actual.values()).size, 100);
  made.replaceDesired(entries);
  t.true(made.isClean);
  t.deepEqual([...new Set(made.actual.values())], [one]);
});

test("when it is full, new entries wait and others are written over", async (t) => {
  const kernel = new FakeKernel({ ipcache4: 50 });
  const { table: made, counters } = table(kernel);
  made.replaceDesired(wanted(...range(0, 50)));
  await made.write();
  const changed = new Map([...wanted(...range(0, 100))].map(([text]) => [text, value(7)]));
  made.replaceDesired(changed);
  const failures = await made.write();
  t.is(failures.length, 50);
  t.is(counters.failures, 50);
  t.true([...kernel.entries("ipcache4").values()].every((each) => each.equals(value(7))));
  const [problem, ...more] = entryProblems(failures);
  t.deepEqual(more, []);
  t.is(problem?.object, "map ipcache4");
  t.regex(problem?.message ?? "", /50 entries at most.*address 50, address 51.* and 45 more/);
  t.false(made.isClean);
});

test("what leaves makes room for what comes", async (t) => {
  const kernel = new FakeKernel({ ipcache4: 50 });
  const { table: made } = table(kernel);
  made.replaceDesired(wanted(...range(0, 50)));
  await made.write();
  made.replaceDesired(wanted(...range(50, 100)));
  t.deepEqual(await made.sync(), []);
  t.deepEqual([...kernel.entries("ipcache4").keys()].sort(), [...wanted(...range(50, 100)).keys()].sort());
});

test("an entry that fails for another reason holds up no other and is tried again", async (t) => {
  const kernel = new FakeKernel();
  const { table: made } = table(kernel);
  kernel.refuse = (entry) =>
    entry.key.equals(key(30)) || entry.key.equals(key(70)) ? failure("ENOMEM", 12, "write to map", "ipcache4") : null;
  made.replaceDesired(wanted(...range(0, 100)));
  const failures = await made.write();
  t.deepEqual(failures.map(({ entry }) => entry).sort(), ["address 30", "address 70"]);
  t.is(kernel.entries("ipcache4").size, 98);
  const [problem] = entryProblems(failures);
  t.is(problem?.code, "MAP_WRITE_FAILED");
  kernel.refuse = () => null;
  t.deepEqual(await made.write(), []);
  t.is(kernel.entries("ipcache4").size, 100);
});

test("reading says how many entries are not as they were believed to be", async (t) => {
  const kernel = new FakeKernel();
  const { table: made } = table(kernel);
  made.replaceDesired(wanted(1, 2, 3));
  await made.write();
  t.is(await made.read(), 0);
  kernel.set("ipcache4", key(1), value(99));
  kernel.set("ipcache4", key(4), value(4));
  kernel.native.mapDelete(kernel.map("ipcache4").handle, key(2));
  t.is(await made.read(), 3);
  await made.sync();
  t.deepEqual([...kernel.entries("ipcache4").keys()].sort(), [...wanted(1, 2, 3).keys()].sort());
});

test("changes are told with what was there before", async (t) => {
  const kernel = new FakeKernel();
  const { table: made } = table(kernel);
  made.replaceDesired(wanted(1, 2));
  await made.write();
  const changes: Parameters<MapTable["sync"]>[0] = [];
  made.replaceDesired(new Map([[keyText(key(1)), value(9)]]));
  await made.sync(changes);
  t.deepEqual(
    changes?.map((change) => [
      change.before && ipcacheValue.decode(change.before).identity,
      change.after && ipcacheValue.decode(change.after).identity,
    ]),
    [
      [1, 9],
      [2, null],
    ],
  );
  t.is(deviceKey.size, 4);
});

test("a look finds what somebody else added, changed or removed, and nothing where all is as it was left", async (t) => {
  const foreign = [
    (kernel: FakeKernel) => kernel.set("ipcache4", key(9), value(9)),
    (kernel: FakeKernel) => kernel.set("ipcache4", key(2), value(9)),
    (kernel: FakeKernel) => kernel.native.mapDelete(kernel.map("ipcache4").handle, key(2)),
  ];
  for (const change of foreign) {
    const kernel = new FakeKernel();
    const { table: made } = table(kernel);
    made.replaceDesired(wanted(1, 2, 3));
    await made.sync();
    t.is(await made.look(), null);
    change(kernel);
    t.is((await made.look())?.(), true);
    await made.read();
    await made.sync();
    t.is(await made.look(), null);
    t.is(kernel.entries("ipcache4").size, 3);
  }
});

test("what is written while a look goes on is no difference", async (t) => {
  const kernel = new FakeKernel();
  const { table: made } = table(kernel);
  made.replaceDesired(wanted(...range(0, 3_000)));
  await made.sync();
  const looking = made.look();
  made.deleteDesired(keyText(key(1)));
  made.setDesired(keyText(key(2_999)), value(7));
  made.setDesired(keyText(key(5_000)), value(8));
  await made.sync();
  const doubt = await looking;
  t.truthy(doubt, "it looks different");
  t.is(doubt?.(), false);
});
