import test from "ava";
import fc from "fast-check";
import type { CompiledSet } from "../../../src/compute/desired.ts";
import { type EndpointContext, EndpointReconciler } from "../../../src/datapath/endpoints.ts";
import { EndpointFlags, endpoint as endpointCodec } from "../../../src/native/layouts.gen.ts";
import { failure, FakeKernel } from "./fake-kernel.ts";
import { direction, endpoint, openDirection, set } from "./world.ts";

function context(sets: readonly CompiledSet[], change: Partial<EndpointContext> = {}): EndpointContext {
  return {
    sets: new Map(sets.map((each) => [each.key, each])),
    numberOf: (each) => sets.indexOf(each) + 10,
    isAttached: () => true,
    isStale: () => false,
    ...change,
  };
}

const web = set("web", direction([1]));
const api = set("api", direction([2]));

async function reconciler(kernel: FakeKernel): Promise<EndpointReconciler> {
  const made = new EndpointReconciler(kernel.native, kernel.map("endpoint"), kernel.map("endpoint_addr"));
  await made.read();
  return made;
}

test("an endpoint opens by its addresses first and goes by its device first", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([endpoint(1, "web")], context([web]));
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["update endpoint_addr", "update endpoint_addr", "update endpoint"],
  );
  kernel.journal.length = 0;
  await endpoints.apply([], context([web]));
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["delete endpoint", "delete endpoint_addr", "delete endpoint_addr"],
  );
});

test("set, flags and revision change in one write per key", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([endpoint(1, "web")], context([web, api]));
  const before = endpoints.stateOf(1);
  kernel.journal.length = 0;
  await endpoints.apply([endpoint(1, "api")], context([web, api]));
  t.is(kernel.journal.length, 3);
  const written = kernel.journal.map(({ value }) => endpointCodec.decode(value ?? Buffer.alloc(0)));
  t.true(
    written.every(
      ({ policySet, policyRevision }) => policySet === 11 && policyRevision > (before?.policyRevision ?? 0),
    ),
  );
});

test("what is the same keeps its revision, also after a restart; what is stale does not", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([endpoint(1, "web"), endpoint(2, "api")], context([web, api]));
  const before = [endpoints.stateOf(1), endpoints.stateOf(2)];
  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.apply([endpoint(1, "web"), endpoint(2, "api")], context([web, api]));
  t.deepEqual(kernel.journal, []);
  t.deepEqual([next.stateOf(1), next.stateOf(2)], before);

  await next.apply(
    [endpoint(1, "web"), endpoint(2, "api")],
    context([web, api], { isStale: (number) => number === 10 }),
  );
  t.true((next.stateOf(1)?.policyRevision ?? 0) > (before[0]?.policyRevision ?? 0));
  t.deepEqual(next.stateOf(2), before[1]);
});

interface Update {
  readonly pods: readonly {
    readonly number: number;
    readonly set: string | null;
    readonly identity: number;
    readonly audit: boolean;
  }[];
  readonly detached: number | null;
  readonly stale: number | null;
  readonly tampered: boolean;
  readonly refuses: string | null;
}

const update: fc.Arbitrary<Update> = fc.record({
  pods: fc.array(
    fc.record({
      number: fc.integer({ min: 1, max: 4 }),
      set: fc.constantFrom("web", "api", null),
      identity: fc.constantFrom(1001, 1002),
      audit: fc.boolean(),
    }),
    { maxLength: 4 },
  ),
  detached: fc.constantFrom(null, null, 101, 102),
  stale: fc.constantFrom(null, null, 10, 11),
  tampered: fc.boolean(),
  refuses: fc.constantFrom(null, null, null, "endpoint", "endpoint_addr"),
});

test("pods that are handed in as the same objects end as those that are looked at anew each time", async (t) => {
  const play = async (updates: readonly Update[], keep: boolean) => {
    const kernel = new FakeKernel();
    const endpoints = await reconciler(kernel);
    const kept = new Map([1, 2, 3, 4].map((number) => [number, endpoint(number, null).row]));
    const states: unknown[] = [];
    for (const { pods, detached, stale, tampered, refuses } of updates) {
      if (tampered) {
        const [[key, value] = []] = [...kernel.entries("endpoint")];
        if (key !== undefined && value !== undefined)
          kernel.set("endpoint", Buffer.from(key, "latin1"), Buffer.alloc(value.length, 7));
        await endpoints.read();
      }
      const byNumber = new Map(pods.map((each) => [each.number, each]));
      const desired = [...byNumber.values()].map(({ number, set: name, identity, audit }) => {
        const fresh = endpoint(number, name, identity);
        return { ...fresh, row: keep ? (kept.get(number) ?? fresh.row) : fresh.row, audit };
      });
      kernel.refuse = ({ map }) => (map === refuses ? failure("ENOMEM", 12, "write to map", map) : null);
      const { heldBack } = await endpoints.apply(
        desired,
        context([web, api], {
          isAttached: (ifindex) => ifindex !== detached,
          isStale: (number) => number === stale,
        }),
      );
      states.push([heldBack, [1, 2, 3, 4].map((number) => endpoints.stateOf(number)), kernel.picture()]);
      states.push(desired.map(({ row }) => endpoints.readyDevices(row.pod)));
    }
    return { states, journal: kernel.journal };
  };
  await fc.assert(
    fc.asyncProperty(fc.array(update, { minLength: 2, maxLength: 12 }), async (updates) => {
      t.deepEqual(await play(updates, true), await play(updates, false));
    }),
    { numRuns: 150 },
  );
});

test("a revision that conntrack remembers is not given again", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  endpoints.reserveRevision(4711);
  await endpoints.apply([endpoint(1, "web")], context([web]));
  t.is(endpoints.stateOf(1)?.policyRevision, 4712);
});

test("a new pod without a policy is closed; an open one keeps what it has", async (t) => {
  const refused = set("web", openDirection, openDirection, "more than 512 groups");
  for (const [name, desired, change] of [
    ["not known", endpoint(1, null), context([web])],
    ["refused", endpoint(1, "web"), context([refused])],
    ["not written", endpoint(1, "web"), context([web], { numberOf: () => null })],
    ["not attached", endpoint(1, "web"), context([web], { isAttached: () => false })],
  ] as const) {
    const kernel = new FakeKernel();
    const endpoints = await reconciler(kernel);
    await endpoints.apply([desired], change);
    t.is(endpoints.stateOf(1)?.state, "closed", name);
    t.is(endpoints.readyDevices("shop/pod-1"), null, name);

    await endpoints.apply([endpoint(1, "web")], context([web]));
    const open = endpoints.stateOf(1);
    t.is(open?.state, "ready", name);
    t.deepEqual(endpoints.readyDevices("shop/pod-1"), [101], name);

    const { heldBack } = await endpoints.apply([desired], change);
    t.like(endpoints.stateOf(1), { ...open }, name);
    t.truthy(endpoints.stateOf(1)?.heldBack, name);
    t.deepEqual(
      heldBack.map(({ pod, kept }) => [pod, kept]),
      [["shop/pod-1", true]],
      name,
    );
    t.is(endpoints.readyDevices("shop/pod-1"), null, `${name}: what it has is not the policy of this update`);
  }
});

test("another pod behind the same device starts closed", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([endpoint(1, "web")], context([web]));
  const other = endpoint(2, null);
  await endpoints.apply([{ ...other, row: { ...other.row, ifindex: 101 } }], context([web]));
  t.is(endpoints.stateOf(2)?.state, "closed");
  t.is(endpoints.stateOf(1), null);
});

test("an address that another pod has now is overwritten and not removed with the pod before", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  const first = endpoint(1, "web");
  await endpoints.apply([first], context([web]));
  const second = endpoint(2, "web");
  await endpoints.apply([{ ...second, row: { ...second.row, ipv4: first.row.ipv4 } }], context([web]));
  const owners = [...kernel.entries("endpoint_addr")].map(([, value]) => endpointCodec.decode(value).ifindex);
  t.deepEqual(owners, [102, 102]);
});

test("a pod for which one of the maps has no room stays closed under all of its keys", async (t) => {
  for (const full of ["endpoint", "endpoint_addr"] as const) {
    const kernel = new FakeKernel(full === "endpoint" ? { endpoint: 1 } : { endpoint_addr: 3 });
    const endpoints = await reconciler(kernel);
    const { failures, heldBack } = await endpoints.apply([endpoint(1, "web"), endpoint(2, "web")], context([web]));
    t.true(failures.length > 0, full);
    t.deepEqual(
      heldBack.map(({ pod, kept }) => [pod, kept]),
      [["shop/pod-2", false]],
      full,
    );
    const flags = [...kernel.entries("endpoint").values(), ...kernel.entries("endpoint_addr").values()]
      .map((value) => endpointCodec.decode(value))
      .filter(({ id }) => id === 2)
      .map((value) => value.flags);
    t.true(
      flags.every((each) => each === EndpointFlags.closed),
      full,
    );
    t.deepEqual(endpoints.readyDevices("shop/pod-1"), [101], full);
  }
});

test("audit mode is a flag, and leaving it has every flow judged again", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([{ ...endpoint(1, "web"), audit: true }], context([web]));
  const before = endpoints.known()[0];
  t.true(((before?.flags ?? 0) & EndpointFlags.audit) !== 0);
  await endpoints.apply([endpoint(1, "web")], context([web]));
  const after = endpoints.known()[0];
  t.is((after?.flags ?? 0) & EndpointFlags.audit, 0);
  t.not(after?.policyRevision, before?.policyRevision);
});

test("another identity is another revision: peers on the node are judged by it", async (t) => {
  const kernel = new FakeKernel();
  const endpoints = await reconciler(kernel);
  await endpoints.apply([endpoint(1, "web", 1001)], context([web]));
  const before = endpoints.stateOf(1);
  await endpoints.apply([endpoint(1, "web", 1002)], context([web]));
  const after = endpoints.stateOf(1);
  t.is(after?.policySet, before?.policySet);
  t.true((after?.policyRevision ?? 0) > (before?.policyRevision ?? 0));
});
