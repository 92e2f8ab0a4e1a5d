import test from "ava";
import { ServiceReconciler } from "../../../src/datapath/services.ts";
import { readServices } from "../../../src/datapath/kernel-views.ts";
import { service } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { frontend } from "./world.ts";

async function reconciler(kernel: FakeKernel): Promise<ServiceReconciler> {
  const made = new ServiceReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

async function view(kernel: FakeKernel): Promise<Readonly<Record<string, readonly string[]>>> {
  const all = await readServices(kernel.native, kernel.map);
  return Object.fromEntries(
    all.map((each) => [each.frontend.address.text, each.backends.map(({ address }) => address.text)]),
  );
}

const ids = (kernel: FakeKernel) => [...kernel.entries("service4").values()].map((value) => service.decode(value).id);

test("both families, with and without backends", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([
    frontend("10.96.0.1", "10.9.0.1", "10.9.0.2"),
    frontend("fd00:96::1", "fd00:9::1"),
    frontend("10.96.0.2"),
  ]);
  t.deepEqual(await view(kernel), {
    "10.96.0.1": ["10.9.0.1", "10.9.0.2"],
    "10.96.0.2": [],
    "fd00:96::1": ["fd00:9::1"],
  });
});

test("other backends: a new table, one write that switches, and the old table goes last", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([frontend("10.96.0.1", "10.9.0.1", "10.9.0.2")]);
  kernel.journal.length = 0;
  await services.apply([frontend("10.96.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4")]);
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    [
      "update service_backend",
      "update service_backend",
      "update service_backend",
      "update service4",
      "delete service_backend",
      "delete service_backend",
    ],
  );
  t.deepEqual(ids(kernel), [2]);
});

test("a restart keeps the tables that are still wanted and removes one that was half written", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const wanted = () => [frontend("10.96.0.1", "10.9.0.1"), frontend("10.96.0.2", "10.9.0.1", "10.9.0.2")];
  await services.apply(wanted());
  const before = kernel.picture();
  const [key, value] = [...kernel.entries("service_backend")][0] ?? ["", Buffer.alloc(20)];
  const stray = Buffer.from(key, "latin1");
  stray.writeUInt32LE(9, 0);
  kernel.set("service_backend", stray, value);

  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.apply(wanted());
  t.deepEqual(kernel.picture(), before);
  t.deepEqual(
    kernel.journal.map(({ op }) => op),
    ["delete"],
  );
  await next.apply([frontend("10.96.0.1", "10.9.0.7")]);
  t.deepEqual(ids(kernel), [10], "numbers go on");
});

test("a table that conntrack remembers is not given to another service", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  services.reserve(77);
  await services.apply([frontend("10.96.0.1", "10.9.0.1")]);
  t.deepEqual(ids(kernel), [78]);
});

test("where there is no room a service keeps its table, a new one is not there, the others go on", async (t) => {
  const kernel = new FakeKernel({ service_backend: 4 });
  const services = await reconciler(kernel);
  await services.apply([frontend("10.96.0.1", "10.9.0.1"), frontend("10.96.0.2", "10.9.0.2")]);
  const failures = await services.apply([
    frontend("10.96.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.3"),
    frontend("10.96.0.2", "10.9.0.2"),
    frontend("10.96.0.3", "10.9.0.4"),
  ]);
  t.deepEqual(
    failures.map(({ entry }) => entry),
    ["backends of service 10.96.0.1:80/6"],
  );
  t.deepEqual(await view(kernel), {
    "10.96.0.1": ["10.9.0.1"],
    "10.96.0.2": ["10.9.0.2"],
    "10.96.0.3": ["10.9.0.4"],
  });
  t.is(kernel.entries("service_backend").size, 3, "nothing of the table that found no room is left");

  // Without the other two there is room.
  t.deepEqual(await services.apply([frontend("10.96.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.3")]), []);
  t.deepEqual(await view(kernel), { "10.96.0.1": ["10.9.0.1", "10.9.0.2", "10.9.0.3"] });
});

test("of two services with one address and port the first has it", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([frontend("10.96.0.1", "10.9.0.1"), frontend("10.96.0.1", "10.9.0.2")]);
  t.deepEqual(await view(kernel), { "10.96.0.1": ["10.9.0.1"] });
  t.is(kernel.entries("service_backend").size, 1);
});

test("a table that a stranger changed is replaced", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const wanted = [frontend("10.96.0.1", "10.9.0.1", "10.9.0.2")];
  await services.apply(wanted);
  const [key] = kernel.entries("service_backend").keys();
  kernel.set("service_backend", Buffer.from(key ?? "", "latin1"), Buffer.alloc(20));
  t.is(await services.read(), 1);
  await services.apply(wanted);
  t.deepEqual(await view(kernel), { "10.96.0.1": ["10.9.0.1", "10.9.0.2"] });
  t.is(kernel.entries("service_backend").size, 2);
});
