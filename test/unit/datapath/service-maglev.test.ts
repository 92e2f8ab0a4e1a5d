import test from "ava";
import type { DesiredFrontend } from "../../../src/compute/desired.ts";
import { readMaglev } from "../../../src/datapath/kernel-views.ts";
import { ServiceReconciler } from "../../../src/datapath/services.ts";
import { service } from "../../../src/native/layouts.gen.ts";
import { referenceTable } from "../../support/maglev-reference.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { address, frontend } from "./world.ts";

const pods = (count: number, from = 1): readonly string[] =>
  Array.from({ length: count }, (_, at) => `10.9.${(at + from) >> 8}.${(at + from) & 255}`);

const hashed = (vip: string, ...backends: readonly string[]): DesiredFrontend => ({
  ...frontend(vip, ...backends),
  selection: "maglev",
});

async function reconciler(kernel: FakeKernel): Promise<ServiceReconciler> {
  const made = new ServiceReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

async function tables(kernel: FakeKernel): Promise<Readonly<Record<string, readonly (number | null)[]>>> {
  const all = await readMaglev(kernel.native, kernel.map);
  return Object.fromEntries(all.map((each) => [each.frontend.address.text, each.table]));
}

const wantedTable = ({ backends }: DesiredFrontend): readonly number[] => [...referenceTable(backends)];
const operations = (kernel: FakeKernel) => [...new Set(kernel.journal.map(({ map, op }) => `${op} ${map}`))];
const ids = (kernel: FakeKernel) => [...kernel.entries("service4").values()].map((value) => service.decode(value).id);

test("the kernel has the table of the backends, in one byte a slot or two", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const few = hashed("10.96.0.1", ...pods(3));
  const many = hashed("10.96.0.2", ...pods(300));
  await services.apply([few, many, frontend("10.96.0.3", "10.9.0.1", "10.9.0.2")]);
  t.deepEqual(await tables(kernel), { "10.96.0.1": wantedTable(few), "10.96.0.2": wantedTable(many) });
  t.is(services.maglevEntries, kernel.entries("maglev").size);
  t.is(services.maglevEntries, Math.ceil(1021 / 128) + Math.ceil((32_749 * 2) / 128));
});

test("one backend or none needs no table; clients outside always have one", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const outside = [{ address: address("10.9.0.1"), port: 8080 }];
  await services.apply([
    hashed("10.96.0.1", "10.9.0.1"),
    hashed("10.96.0.2"),
    { ...frontend("10.96.0.3", "10.9.0.1"), outside },
    { ...frontend("10.96.0.4"), outside: [...outside, { address: address("10.9.0.2"), port: 8080 }] },
  ]);
  const found = (await readMaglev(kernel.native, kernel.map)).map(
    ({ frontend: { address: vip }, outside: forOutside, table }) => `${vip.text} ${forOutside} ${table.length}`,
  );
  t.deepEqual(found.sort(), ["10.96.0.1 false 0", "10.96.0.2 false 0", "10.96.0.3 true 0", "10.96.0.4 true 251"]);
});

test("a new table is whole before the service is switched, and the old one goes last", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([hashed("10.96.0.1", ...pods(2))]);
  kernel.journal.length = 0;
  await services.apply([hashed("10.96.0.1", ...pods(3))]);
  t.deepEqual(operations(kernel), [
    "update service_backend",
    "update maglev",
    "update service4",
    "delete service_backend",
    "delete maglev",
  ]);
  t.is(kernel.entries("maglev").size, Math.ceil(1021 / 128), "nothing of the old one is left");
});

test("a restart writes nothing that is there already", async (t) => {
  const kernel = new FakeKernel();
  const wanted = () => [hashed("10.96.0.1", ...pods(5)), hashed("10.96.0.2", ...pods(12))];
  await (await reconciler(kernel)).apply(wanted());
  kernel.journal.length = 0;
  await (await reconciler(kernel)).apply(wanted());
  t.deepEqual(kernel.journal, []);
});

test("a service that is to be hashed from now on keeps its table of backends, and one that is not any more, too", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const plain = frontend("10.96.0.1", ...pods(4));
  await services.apply([plain]);
  const [before] = ids(kernel);
  await services.apply([{ ...plain, selection: "maglev" }]);
  t.deepEqual(ids(kernel), [before]);
  t.deepEqual(await tables(kernel), { "10.96.0.1": wantedTable(plain) });
  kernel.journal.length = 0;
  await services.apply([{ ...plain }]);
  t.deepEqual(ids(kernel), [before]);
  t.deepEqual(operations(kernel), ["update service4", "delete maglev"]);
  t.is(kernel.entries("maglev").size, 0);
});

test("another weight changes slots and nothing else", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const plain = hashed("10.96.0.1", ...pods(4));
  await services.apply([plain]);
  kernel.journal.length = 0;
  const weighted = { ...plain, backends: plain.backends.map((each, at) => ({ ...each, weight: at + 1 })) };
  await services.apply([weighted]);
  t.deepEqual(operations(kernel), ["update maglev"]);
  t.deepEqual(await tables(kernel), { "10.96.0.1": wantedTable(weighted) });
});

test("where there is no room a service goes without a table, with its new backends, and has one when there is room", async (t) => {
  const kernel = new FakeKernel({ maglev: 12 });
  const services = await reconciler(kernel);
  const small = hashed("10.96.0.1", ...pods(3));
  const large = hashed("10.96.0.2", ...pods(11));
  const failures = await services.apply([large, small]);
  t.deepEqual(
    failures.map(({ map, entry }) => `${map}: ${entry}`),
    ["maglev: Maglev table of service 10.96.0.2:80/6"],
  );
  t.deepEqual(await tables(kernel), { "10.96.0.1": wantedTable(small), "10.96.0.2": [] });
  t.is(kernel.entries("maglev").size, 8, "nothing of the table that found no room is left");

  const fits = hashed("10.96.0.2", ...pods(2));
  t.deepEqual(await services.apply([fits, small]), []);
  t.deepEqual(await tables(kernel), { "10.96.0.1": wantedTable(small), "10.96.0.2": wantedTable(fits) });
});

test("what a stranger changed, or left out, is written over", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const wanted = [hashed("10.96.0.1", ...pods(3)), hashed("10.96.0.2", ...pods(4))];
  await services.apply(wanted);
  const before = kernel.picture();
  const [first, , third] = [...kernel.entries("maglev").keys()].map((text) => Buffer.from(text, "latin1"));
  kernel.set("maglev", first ?? Buffer.alloc(8), Buffer.alloc(128, 9));
  const beyond = Buffer.from(third ?? Buffer.alloc(8));
  beyond.writeUInt32LE(40, 4);
  kernel.set("maglev", beyond, Buffer.alloc(128));
  t.is(await services.read(), 1);
  await services.apply(wanted);
  t.is(await services.read(), 0);
  t.deepEqual(kernel.picture(), before);
});
