import test from "ava";
import type { CompiledSet } from "../../../src/compute/desired.ts";
import { PolicySetReconciler } from "../../../src/datapath/policy-sets.ts";
import type { SetDemands } from "../../../src/datapath/set-demands.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { direction, openDirection, set } from "./world.ts";

/** One group that allows, one that redirects to what `text` demands. */
function redirecting(key: string, text: string): CompiledSet {
  return set(key, openDirection, { ...direction([1, 2]), allows: 1, redirects: 1, demands: [text] });
}

async function reconciler(kernel: FakeKernel, told?: (set: number) => SetDemands | null): Promise<PolicySetReconciler> {
  const made = new PolicySetReconciler(kernel.native, kernel.map, told);
  await made.read();
  return made;
}

test("sets of equal entries that demand other requests are two, and each number says what it demands", async (t) => {
  const sets = await reconciler(new FakeKernel());
  const [get, post, same] = [redirecting("1", "get"), redirecting("2", "post"), redirecting("3", "get")];
  await sets.write([get, post, same]);
  const [a, b, c] = [get, post, same].map((each) => sets.numberOf(each) ?? -1);
  t.not(a, b);
  t.is(a, c);
  t.deepEqual(sets.demands.get(a ?? 0), { egress: [{ group: 1, text: "get" }], ingress: [] });
  t.deepEqual(sets.demands.get(b ?? 0), { egress: [{ group: 1, text: "post" }], ingress: [] });
  t.is(await sets.read(), 0);
  await sets.remove(new Set([b ?? 0]));
  t.deepEqual([...sets.demands.keys()], [b]);
});

test("a restarted agent knows a set again by what was told of it", async (t) => {
  const kernel = new FakeKernel();
  const compiled = redirecting("1", "get");
  const before = await reconciler(kernel);
  await before.write([compiled]);
  const number = before.numberOf(compiled) ?? -1;
  const kept = before.demands.get(number) ?? null;

  const after = await reconciler(kernel, (asked) => (asked === number ? kept : null));
  await after.write([compiled]);
  t.is(after.numberOf(compiled), number);
  t.is(after.demands.get(number) ?? null, kept, "the same object: nothing is told again");
  t.is(after.counters.writes, 0);
});

test("a set of which nothing is known is written again under another number", async (t) => {
  const kernel = new FakeKernel();
  const compiled = redirecting("1", "get");
  const before = await reconciler(kernel);
  await before.write([compiled]);
  const after = await reconciler(kernel);
  await after.write([compiled]);
  t.not(after.numberOf(compiled), before.numberOf(compiled));
  t.deepEqual([...after.demands.keys()], [after.numberOf(compiled)]);
});
