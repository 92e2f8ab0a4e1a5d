import test from "ava";
import { parsePrefix } from "../../../../src/model/ip.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import type { NetlinkEvent, RouteRow } from "../../../../src/native/netlink-contract.ts";
import { RoutesSource } from "../../../../src/sources/routes/index.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { address, came, link, route, went } from "./support.ts";

/** A kernel in memory: what is listed, and a monitor that the test speaks through. */
class FakeKernel {
  rows: RouteRow[] = [];
  failures = 0;
  lists = 0;
  closed = 0;
  say: (events: readonly NetlinkEvent[]) => void = () => undefined;

  openMonitor(_netns: string | null, _groups: unknown, onEvents: (events: readonly NetlinkEvent[]) => void): number {
    this.say = onEvents;
    queueMicrotask(() => onEvents([{ kind: "resync" }]));
    return 1;
  }

  async closeMonitor(): Promise<void> {
    this.closed++;
  }

  async links() {
    return [link(2, "eth0")];
  }

  async addresses() {
    return [address(2, "192.0.2.1/24")];
  }

  async routes() {
    this.lists++;
    if (this.failures-- > 0) throw new Error("out of memory");
    return [...this.rows];
  }
}

async function setUp(t: import("ava").ExecutionContext, rows: readonly RouteRow[] = [], failures = 0) {
  const kernel = new FakeKernel();
  kernel.rows = [...rows];
  kernel.failures = failures;
  const clock = new ManualClock();
  const store = new TableStore();
  const reports = new Map<string, readonly Problem[]>();
  const stopping = new AbortController();
  t.teardown(() => stopping.abort());
  const source = new RoutesSource({
    native: kernel,
    config: { nodeName: "n1", uplinks: ["auto"] },
    store,
    conditions: { report: (topic, problems) => void reports.set(topic, problems) },
    log: silentLogger,
    clock,
  });
  const changes: string[] = [];
  store.onChange(({ table, key, after }) => changes.push(`${table} ${key} ${after === undefined ? "gone" : "set"}`));
  /** Starts it, and lets it see everything. */
  const start = async () => {
    const started = source.start(stopping.signal);
    await clock.advance(0);
    await started;
  };
  return { kernel, store, reports, source, stopping, changes, clock, start };
}

const pods2 = route("10.0.2.0/24", [["192.0.2.2", 2]]);
const pods3 = route("fd00:3::/64", [["fd00::3", 2]], { metric: 1024 });

test("start resolves when uplinks and routes are in the tables, and the signal closes the monitor", async (t) => {
  const { kernel, store, source, stopping, clock, start } = await setUp(t, [pods2, pods3]);
  t.like(source.status(), { synced: false, stale: false });
  await start();
  t.deepEqual([...store.table("uplinks").keys()], ["2"]);
  t.deepEqual([...store.table("localAddresses").keys()], ["192.0.2.1"]);
  t.like(store.table("routes").get("10.0.2.0/24"), { protocol: 17, metric: 0, mtu: null });
  t.is(store.table("routes").get("10.0.2.0/24")?.nextHops[0]?.device, "eth0");
  t.is(store.table("routes").get("fd00:3::/64")?.nextHops[0]?.gateway?.text, "fd00::3");
  t.deepEqual(source.status(), {
    name: "routes",
    synced: true,
    stale: false,
    detail: "2 routes, 2 of BGP; uplinks: eth0",
  });
  stopping.abort();
  await clock.advance(5);
  t.is(kernel.closed, 1);
});

test("a route announced again by delete and add does not flicker and keeps its age, whenever the tables are written meanwhile", async (t) => {
  const { kernel, store, changes, clock, start } = await setUp(t, [pods2]);
  await start();
  const before = store.table("routes").get("10.0.2.0/24");
  changes.length = 0;
  for (let away = 0; away < 100; away += 3) {
    kernel.say([went(pods2)]);
    await clock.advance(away);
    kernel.say([came(pods2)]);
    // Rounds follow each other at every distance from the writes, which are 20 ms apart.
    await clock.advance(away % 7);
  }
  await clock.advance(300);
  t.deepEqual(changes, []);
  t.is(store.table("routes").get("10.0.2.0/24"), before);
});

test("a route that stays away goes once, after the time that it may take to come again", async (t) => {
  const { kernel, changes, clock, start } = await setUp(t, [pods2]);
  await start();
  changes.length = 0;
  kernel.say([went(pods2)]);
  await clock.advance(99);
  t.deepEqual(changes, []);
  await clock.advance(40);
  t.deepEqual(changes, ["routes 10.0.2.0/24 gone"]);
});

test("an add that waited as long as a busy event loop is heard before its delete is believed", async (t) => {
  const { kernel, changes, clock, start } = await setUp(t, [pods2]);
  await start();
  changes.length = 0;
  kernel.say([went(pods2)]);
  await clock.advance(99);
  // The loop gets to its timers late, and only then to what the monitor has for it.
  await clock.late(1_000, () => kernel.say([came(pods2)]));
  await clock.advance(300);
  t.deepEqual(changes, []);
});

test("a bridge that is an uplink by its only route of BGP stays one while the route is announced again", async (t) => {
  const pods4 = route("10.0.4.0/24", [["198.51.100.4", 7]]);
  const { kernel, store, changes, clock, start } = await setUp(t, [pods4]);
  kernel.links = async () => [link(2, "eth0"), link(7, "br0", { kind: "bridge" })];
  await start();
  t.deepEqual([...store.table("uplinks").keys()], ["2", "7"]);
  changes.length = 0;
  kernel.say([went(pods4)]);
  await clock.advance(50);
  kernel.say([came(pods4)]);
  await clock.advance(300);
  t.deepEqual(changes, []);

  kernel.say([went(pods4)]);
  await clock.advance(200);
  t.deepEqual(changes.sort(), ["routes 10.0.4.0/24 gone", "uplinks 7 gone"]);
});

test("after lost events everything is listed again, and events that came meanwhile are not undone by the list", async (t) => {
  const { kernel, store, source, clock, start } = await setUp(t, [pods2]);
  await start();
  kernel.rows = [pods3];
  const routes = kernel.routes.bind(kernel);
  kernel.routes = async () => {
    const stale = await routes();
    kernel.say([came(route("10.0.9.0/24", [["192.0.2.9", 2]]))]);
    return stale;
  };
  kernel.say([{ kind: "resync" }]);
  await clock.advance(250);
  t.deepEqual([...store.table("routes").keys()].sort(), ["10.0.9.0/24", "fd00:3::/64"]);
  t.regex(source.status().detail, /listed again 1 times after lost events/);
});

test("lists that fail are a condition, tried again, and mended", async (t) => {
  const { source, stopping, reports, clock } = await setUp(t, [pods2], 2);
  const started = source.start(stopping.signal);
  await clock.advance(0);
  t.like(reports.get("routes-list")?.[0], { code: "ROUTES_UNREADABLE", severity: "error" });
  t.like(source.status(), { synced: false, stale: true });
  await clock.advance(1_000);
  await started;
  t.deepEqual(reports.get("routes-list"), []);
  t.like(source.status(), { synced: true, stale: false });
});

test("a route of BGP into this node's own pod CIDR is an error until it or the CIDR goes", async (t) => {
  const cidr = parsePrefix("10.0.2.0/23");
  if (cidr === null) return t.fail();
  const { store, reports, kernel, clock, start } = await setUp(t, [
    pods2,
    route("10.0.0.0/16", [["192.0.2.8", 2]]),
    route("10.0.3.0/24", [["192.0.2.8", 2]], { protocol: 4 }),
  ]);
  await start();
  t.deepEqual(reports.get("routes-own-cidr"), []);
  store.upsert("nodes", "n1", { name: "n1", labels: {}, addresses: [], podCidrs: [cidr] });
  await clock.advance(60);
  t.deepEqual(
    reports.get("routes-own-cidr")?.map(({ code, object }) => [code, object]),
    [["ROUTE_TO_OWN_PODS", "route 10.0.2.0/24"]],
  );
  kernel.say([went(pods2)]);
  await clock.advance(200);
  t.deepEqual(reports.get("routes-own-cidr"), []);
});

test("20,000 routes are taken once, and an event then costs what it touches", async (t) => {
  const many = Array.from({ length: 20_000 }, (_, i) => route(`10.${i >> 8}.${i & 255}.0/24`, [["192.0.2.2", 2]]));
  const { store, changes, kernel, clock, start } = await setUp(t, many);
  await start();
  t.is(store.table("routes").size, 20_000);
  changes.length = 0;
  kernel.say([went(many[5] ?? pods2), came(pods3)]);
  await clock.advance(200);
  t.deepEqual(changes.sort(), ["routes 10.0.5.0/24 gone", "routes fd00:3::/64 set"]);
});
