/** Routes that kube-router left to nodes that are gone are removed by setting, late, and only in full knowledge. */
import test from "ava";
import { StaleRoutes } from "../../../src/agent/stale-routes.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { NetlinkChange, NetlinkChangeFailure } from "../../../src/native/netlink-contract.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { node, prefix, route } from "../sources/health/support.ts";

function watch(graceSeconds: number | null = 60) {
  const store = new TableStore();
  const clock = new ManualClock();
  store.upsert("nodes", "n1", node("n1", ["192.0.2.1"], ["10.0.1.0/24"]));
  store.upsert("nodes", "n2", node("n2", ["192.0.2.2"], ["10.0.2.0/24"]));
  const removed: string[] = [];
  const state = {
    sure: true,
    failure: null as NetlinkChangeFailure | null,
    problems: [] as readonly Problem[],
  };
  return Object.assign(state, {
    store,
    clock,
    removed,
    add: (text: string, more = {}) => store.upsert("routes", text, { ...route(text, [["192.0.2.2", 2]]), ...more }),
    routes: new StaleRoutes({
      native: {
        applyNetlink: async (_netns: string | null, changes: readonly NetlinkChange[]) => {
          for (const change of changes) {
            if (change.kind !== "route" || change.op !== "delete" || change.route.protocol !== 17)
              throw new Error(change.kind);
            const text = `${[...change.route.destination].join(".")}/${change.route.prefixLength}`;
            removed.push(text);
            if (state.failure === null) store.delete("routes", text);
          }
          return state.failure === null ? [] : [state.failure];
        },
      },
      graceSeconds,
      store,
      isSure: () => state.sure,
      conditions: { report: (_topic, problems) => Object.assign(state, { problems }) },
      log: silentLogger,
      clock,
    }),
  });
}

test("removed once it was stale for all of its time", async (t) => {
  const bench = watch();
  t.teardown(() => bench.routes.stop());
  bench.add("10.0.9.0/24");
  bench.routes.start();
  await bench.clock.advance(58_000);
  t.deepEqual(bench.removed, []);
  await bench.clock.advance(6_000);
  t.deepEqual(bench.removed, ["10.0.9.0/24"]);
});

test("what may be somebody's stays: another protocol, length, a node's, one that BGP knows, one that covers a node", async (t) => {
  const bench = watch(10);
  t.teardown(() => bench.routes.stop());
  bench.add("10.0.9.0/24", { protocol: 186 });
  bench.add("10.8.0.0/16");
  bench.add("10.0.2.0/24");
  bench.add("192.0.2.0/24");
  bench.add("10.0.7.0/24");
  const path = {
    nextHop: null,
    peer: null,
    asPath: "",
    localPref: null,
    med: null,
    communities: [],
    originatorId: null,
  };
  bench.store.upsert("bgpPaths", "10.0.7.0/24", { prefix: prefix("10.0.7.0/24"), ...path, stale: false, others: [] });
  bench.routes.start();
  await bench.clock.advance(120_000);
  t.deepEqual(bench.removed, []);
});

test("while the cluster or BGP is not known for sure nothing goes, and the time begins anew", async (t) => {
  const bench = watch();
  t.teardown(() => bench.routes.stop());
  bench.add("10.0.9.0/24");
  bench.routes.start();
  await bench.clock.advance(50_000);
  bench.sure = false;
  await bench.clock.advance(600_000);
  t.deepEqual(bench.removed, []);
  bench.sure = true;
  await bench.clock.advance(58_000);
  t.deepEqual(bench.removed, []);
  await bench.clock.advance(6_000);
  t.deepEqual(bench.removed, ["10.0.9.0/24"]);
});

test("without the setting nothing is removed; one that cannot be is told, until it is gone", async (t) => {
  const off = watch(null);
  off.add("10.0.9.0/24");
  off.routes.start();
  await off.clock.advance(600_000);
  await off.routes.look();
  t.deepEqual(off.removed, []);
  const bench = watch(10);
  t.teardown(() => bench.routes.stop());
  bench.add("10.0.9.0/24");
  bench.failure = { at: 0, code: "EPERM", errno: 1, log: "no" };
  bench.routes.start();
  await bench.clock.advance(14_000);
  t.deepEqual(
    bench.problems.map(({ code, object }) => [code, object]),
    [["STALE_ROUTE_KEPT", "Route 10.0.9.0/24"]],
  );
  bench.failure = null;
  await bench.clock.advance(4_000);
  t.deepEqual(bench.problems, []);
});
