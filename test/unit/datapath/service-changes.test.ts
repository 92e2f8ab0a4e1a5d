/** Services that change one by one: what is written for a few of them leads where writing all of them from nothing would. */
import test from "ava";
import fc from "fast-check";
import type { DesiredFrontend } from "../../../src/compute/desired.ts";
import { readMaglev, readServices } from "../../../src/datapath/kernel-views.ts";
import { ServiceReconciler } from "../../../src/datapath/services.ts";
import { service } from "../../../src/native/layouts.gen.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";
import { address, frontend, prefix } from "./world.ts";

const pods = ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"];

/** One of few places, so that changes meet; some of them wanted twice, which compute never does. */
const frontends: fc.Arbitrary<DesiredFrontend> = fc
  .record({
    vip: fc.constantFrom("10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4", "fd00:96::1"),
    backends: fc.subarray(pods),
    outside: fc.option(fc.subarray(pods), { nil: undefined }),
    selection: fc.constantFrom("maglev" as const, undefined),
    affinitySeconds: fc.constantFrom(null, 60),
    isRestricted: fc.constantFrom(false, false, false, true),
  })
  .map(({ vip, backends, outside, selection, affinitySeconds, isRestricted }) => ({
    ...frontend(vip, ...backends),
    affinitySeconds,
    external: outside !== undefined,
    ...(selection !== undefined && { selection }),
    ...(outside !== undefined && { outside: outside.map((text) => ({ address: address(text), port: 8080 })) }),
    ...(outside !== undefined &&
      isRestricted && {
        sources: { policy: "allow" as const, prefixes: [prefix(vip.includes(":") ? "2001:db8::/32" : "192.0.2.0/24")] },
      }),
  }));

/** The next list from the last one: some rows go, others come, the rest are the same objects. */
const step = fc.record({
  keep: fc.array(fc.boolean(), { maxLength: 8 }),
  come: fc.array(frontends, { maxLength: 2 }),
  first: fc.boolean(),
});

async function reconciler(kernel: FakeKernel): Promise<ServiceReconciler> {
  const made = new ServiceReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

const maps = [
  "service4",
  "service6",
  "service_backend",
  "maglev",
  "source_rule4",
  "source_rule6",
  "source_range4",
  "source_range6",
] as const;

async function content(kernel: FakeKernel): Promise<unknown> {
  const values = (["service4", "service6"] as const).flatMap((name) =>
    [...kernel.entries(name)].map(([key, value]) => [name, key, { ...service.decode(value), id: 0 }]),
  );
  const byText = (list: readonly unknown[]) => list.map((each) => JSON.stringify(each)).sort();
  const tables = (await readMaglev(kernel.native, kernel.map)).map(({ frontend: place, table }) => [
    place.address.text,
    table,
  ]);
  const served = (await readServices(kernel.native, kernel.map)).map(({ frontend: place, backends, ...rest }) => [
    place.address.text,
    backends.map(({ address: { text }, port }) => `${text} ${port}`),
    "scope" in rest ? rest.scope : null,
  ]);
  return {
    sizes: Object.fromEntries(maps.map((name) => [name, kernel.entries(name).size])),
    values: byText(values),
    tables: byText(tables),
    served: byText(served),
  };
}

test("any run of changes leads where its last list leads from nothing", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const kernel = new FakeKernel();
      const services = await reconciler(kernel);
      let desired: readonly DesiredFrontend[] = [];
      for (const { keep, come, first } of steps) {
        const kept = desired.filter((_, at) => keep[at] !== false);
        desired = first ? [...come, ...kept] : [...kept, ...come];
        t.deepEqual(await services.apply(desired), []);
      }
      const fresh = new FakeKernel();
      await (await reconciler(fresh)).apply(desired);
      t.deepEqual(await content(kernel), await content(fresh));
      t.is(services.backendSlots, kernel.entries("service_backend").size);
      t.is(services.maglevEntries, kernel.entries("maglev").size);
    }),
    { numRuns: 300 },
  );
});

test("so does one in which writes failed, once they do not", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(step, fc.nat(20)), { minLength: 1, maxLength: 8 }), async (steps) => {
      const kernel = new FakeKernel();
      const services = await reconciler(kernel);
      let desired: readonly DesiredFrontend[] = [];
      for (const [{ keep, come, first }, which] of steps) {
        const kept = desired.filter((_, at) => keep[at] !== false);
        desired = first ? [...come, ...kept] : [...kept, ...come];
        let writes = 0;
        kernel.refuse = ({ op }) =>
          op === "update" && writes++ === which ? failure("ENOMEM", 12, "write", "an entry") : null;
        await services.apply(desired);
      }
      kernel.refuse = () => null;
      t.deepEqual(await services.apply(desired), []);
      const fresh = new FakeKernel();
      await (await reconciler(fresh)).apply(desired);
      t.deepEqual(await content(kernel), await content(fresh));
    }),
    { numRuns: 200 },
  );
});

test("one of many services costs what it has", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  const many = Array.from({ length: 300 }, (_, n) => frontend(`10.96.${n >> 8}.${n & 255}`, "10.9.0.1", "10.9.0.2"));
  await services.apply(many);
  kernel.journal.length = 0;
  await services.apply(many.map((each, at) => (at === 7 ? frontend("10.96.0.7", "10.9.0.3") : each)));
  t.deepEqual(
    kernel.journal.map(({ op, map }) => `${op} ${map}`),
    ["update service_backend", "update service4", "delete service_backend", "delete service_backend"],
  );
});
