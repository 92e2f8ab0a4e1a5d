import test from "ava";
import type { CompiledSet, DesiredHost } from "../../../src/compute/desired.ts";
import { HostReconciler } from "../../../src/datapath/host-endpoint.ts";
import { EndpointFlags } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { direction, openDirection, set } from "./world.ts";

const first = set("first", direction([1]));
const second = set("second", direction([2]));
const host = (key: string, audit = false): DesiredHost => ({ set: key, audit });

function context(sets: readonly CompiledSet[], isStale = false, written = true) {
  return {
    sets: new Map(sets.map((each) => [each.key, each])),
    numberOf: (each: CompiledSet) => (written ? [first, second].indexOf(each) + 10 : null),
    isStale: () => isStale,
  };
}

let revision = 0;

async function reconciler(kernel: FakeKernel): Promise<HostReconciler> {
  const made = new HostReconciler(kernel.native, kernel.map("host_endpoint"), () => ++revision);
  await made.table.read();
  return made;
}

test("a node without a policy is open, and its entry is not touched", async (t) => {
  const kernel = new FakeKernel();
  const node = await reconciler(kernel);
  await node.apply(undefined, context([]));
  t.deepEqual(kernel.journal, []);
  t.is(node.known().flags, 0);
});

test("set, flags and revision of the node change with one write, and stay over a restart", async (t) => {
  const kernel = new FakeKernel();
  const node = await reconciler(kernel);
  await node.apply(host("first"), context([first, second]));
  t.is(kernel.journal.length, 1);
  const before = node.known();
  t.is(before.policySet, 10);
  t.is(before.identity, 1);
  t.true((before.flags & EndpointFlags.enforceIngress) !== 0);
  const next = await reconciler(kernel);
  await next.apply(host("first"), context([first, second]));
  t.is(kernel.journal.length, 1, "the same policy is not written again");
  await next.apply(host("second", true), context([first, second]));
  t.is(kernel.journal.length, 2);
  t.is(next.known().policySet, 11);
  t.true((next.known().flags & EndpointFlags.audit) !== 0);
  t.true(next.known().policyRevision > before.policyRevision);
});

test("peers that changed move the node's revision", async (t) => {
  const node = await reconciler(new FakeKernel());
  await node.apply(host("first"), context([first]));
  const before = node.known().policyRevision;
  await node.apply(host("first"), context([first], true));
  t.true(node.known().policyRevision > before);
});

test("a node keeps its last good policy, and is open rather than closed if there was none", async (t) => {
  const refused = set("first", openDirection, openDirection, "more than 512 groups");
  for (const change of [context([refused]), context([first], false, false), context([])]) {
    const node = await reconciler(new FakeKernel());
    const { problems } = await node.apply(host("first"), change);
    t.is(node.known().flags, 0);
    t.regex(problems[0]?.message ?? "", /its own traffic is not judged$/);
    await node.apply(host("first"), context([first]));
    const good = node.known();
    const kept = await node.apply(host("first"), change);
    t.deepEqual(node.known(), good);
    t.regex(kept.problems[0]?.message ?? "", /keeps the policy that it had$/);
  }
});

test("without its policies the node is open again, and a policy that comes back has another revision", async (t) => {
  const node = await reconciler(new FakeKernel());
  await node.apply(host("first"), context([first]));
  const before = node.known().policyRevision;
  await node.apply(undefined, context([]));
  t.is(node.known().flags, 0);
  t.is(node.known().policySet, 0);
  await node.apply(host("first"), context([first]));
  t.true(node.known().policyRevision > before);
});
