import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import type { Handle } from "../../../src/native/handle.ts";
import type { NetlinkEvent, NetlinkGroup, RouteRow } from "../../../src/native/netlink-contract.ts";
import { eventually, failureOf, native } from "../../support/native.ts";
import { type Netns, netns } from "../../support/netns.ts";

const all: readonly NetlinkGroup[] = ["link", "address", "route", "rule", "neighbour"];

function open(t: ExecutionContext, ns: Netns, groups = all, receiveBytes: number | null = null) {
  const events: NetlinkEvent[] = [];
  const batches: number[] = [];
  const handle: Handle = native.openMonitor(
    ns.path,
    groups,
    (batch) => {
      batches.push(batch.length);
      events.push(...batch);
    },
    receiveBytes,
  );
  t.teardown(() => native.closeMonitor(handle).catch(() => undefined));
  return { events, batches, handle };
}

/** An event without its row, in words. */
const words = (event: NetlinkEvent) => (event.kind === "resync" ? "resync" : `${event.gone ? "-" : "+"}${event.kind}`);

function route(i: number, metric = 0): RouteRow {
  return {
    family: 4,
    destination: Buffer.from([10, i >> 8, i & 255, 0]),
    prefixLength: 24,
    table: 254,
    protocol: 17,
    scope: 253,
    type: 1,
    metric,
    source: null,
    nextHops: [{ gateway: null, index: 1, weight: 1 }],
    mtu: null,
  };
}

const apply = (ns: Netns, op: "add" | "replace" | "delete", rows: readonly RouteRow[]) =>
  native.applyNetlink(
    ns.path,
    rows.map((row) => ({ kind: "route", op, route: row, onlink: false })),
  );

/**
 * Makes changes until one of them comes as an event, and says how many it made: the first ones may be lost with the flood before.
 * Events come in order, a loss with them: then everything that was lost is told.
 */
async function nextChanges(ns: Netns, events: readonly NetlinkEvent[]): Promise<number> {
  const from = 6000;
  let made = 0;
  await eventually(async () => {
    await apply(ns, "add", [route(from + made++)]);
    await sleep(50);
    return events.some((event) => event.kind === "route" && numberOf(event.row) >= from);
  });
  return made;
}

const numberOf = ({ destination }: RouteRow) => ((destination[1] ?? 0) << 8) | (destination[2] ?? 0);

test("the first event is a resync; then each kind of change comes with its row, of that namespace only", async (t) => {
  const [ns, elsewhere] = [await netns(t), await netns(t)];
  const { events } = open(t, ns);
  await eventually(() => events.length > 0);
  t.deepEqual(events, [{ kind: "resync" }]);
  await elsewhere.ip("addr add 10.99.0.1/24 dev lo");

  await ns.ip("link add tandem-a type veth peer name tandem-b");
  await ns.ip("link set tandem-a up");
  await ns.ip("link set tandem-b up");
  await ns.ip("addr add 10.5.0.1/24 dev tandem-a");
  await ns.ip("route add 10.6.0.0/16 via 10.5.0.2 proto 17");
  await ns.ip("rule add prio 9 fwmark 0x200/0xf00 lookup 2004");
  await ns.ip("neigh add 10.5.0.2 lladdr 02:00:00:00:00:02 dev tandem-a nud permanent");
  await ns.ip("neigh del 10.5.0.2 dev tandem-a");
  await ns.ip("rule del prio 9");
  await ns.ip("route del 10.6.0.0/16");
  await ns.ip("addr del 10.5.0.1/24 dev tandem-a");
  await ns.ip("link del tandem-a");
  await eventually(() => events.some((event) => event.kind === "link" && event.gone && event.row.name === "tandem-a"));

  const of = <Kind extends NetlinkEvent["kind"]>(kind: Kind) =>
    events.filter((event): event is Extract<NetlinkEvent, { kind: Kind }> => event.kind === kind);
  const routes = of("route").filter(({ row }) => row.protocol === 17);
  t.deepEqual(routes.map(words), ["+route", "-route"]);
  for (const { row } of routes) t.like(row, { prefixLength: 16, table: 254, destination: Buffer.from([10, 6, 0, 0]) });
  const addresses = of("address").filter(({ row }) => row.family === 4);
  t.deepEqual(addresses.map(words), ["+address", "-address"]);
  for (const { row } of addresses) t.like(row, { prefixLength: 24, address: Buffer.from([10, 5, 0, 1]) });
  const rules = of("rule");
  t.deepEqual(rules.map(words), ["+rule", "-rule"]);
  for (const { row } of rules) t.like(row, { priority: 9, mark: 0x200, mask: 0xf00, table: 2004 });
  const neighbours = of("neighbour").filter(({ row }) => row.address.equals(Buffer.from([10, 5, 0, 2])));
  t.is(words(neighbours[0] as NetlinkEvent), "+neighbour");
  t.is(neighbours[0]?.row.state, 0x80);
  t.is(words(neighbours.at(-1) as NetlinkEvent), "-neighbour");
  t.true(of("link").some(({ row, gone }) => !gone && row.name === "tandem-a" && (row.flags & 1) === 1));
  t.is(of("resync").length, 1);
});

test("only the groups that were asked for are heard", async (t) => {
  const ns = await netns(t);
  const { events } = open(t, ns, ["rule"]);
  await ns.ip("addr add 10.5.0.1/24 dev lo");
  await ns.ip("rule add prio 9 lookup 2004");
  await eventually(() => events.length >= 2);
  t.deepEqual(events.map(words), ["resync", "+rule"]);
});

test("20,000 changes come in batches, in order, without a loss", async (t) => {
  const ns = await netns(t);
  const { events, batches } = open(t, ns, ["route"]);
  const rows = Array.from({ length: 20_000 }, (_, i) => route(i));
  const started = performance.now();
  for (let at = 0; at < rows.length; at += 2000) {
    t.deepEqual(await apply(ns, "add", rows.slice(at, at + 2000)), []);
    // A reader that gets no processor meanwhile would lose some, and rightly say so.
    await eventually(() => events.length > at + 2000);
  }
  t.log(`${events.length} events in ${batches.length} batches, ${(performance.now() - started).toFixed(0)} ms`);
  t.deepEqual(events.map(words), ["resync", ...rows.map(() => "+route")]);
  t.true(events.every((event, i) => event.kind !== "route" || event.row.destination.equals(route(i - 1).destination)));
});

test("after an overrun one resync stands for what was lost, and what a list and the events after it say is the truth", async (t) => {
  const ns = await netns(t);
  const { events } = open(t, ns, ["route"], 1); // the least that the kernel gives
  await eventually(() => events.length === 1);
  // what a receiver makes of it: rows by key; after a resync it lists everything again
  const table = new Map<string, number>();
  const key = (row: RouteRow) => row.destination.toString("hex");
  const flood = Array.from({ length: 5000 }, (_, i) => route(i));
  let changes = 0;
  while (events.filter(({ kind }) => kind === "resync").length < 2 && changes < 100_000) {
    await apply(ns, "replace", flood);
    changes += flood.length;
  }
  const odd = flood.filter((_, i) => i % 2 === 1);
  await apply(ns, "delete", odd);
  changes += odd.length;
  const resyncs = events.filter(({ kind }) => kind === "resync").length;
  t.log(`${resyncs - 1} overruns in ${changes} changes, ${events.length - resyncs} events`);
  t.true(resyncs >= 2 && events.length - resyncs < changes, "some were lost");
  const later = await nextChanges(ns, events);
  for (const row of await native.routes(ns.path, { family: 4, table: 254, protocol: 17 }))
    table.set(key(row), row.protocol);
  // events behind the last resync, applied on top of a list that is newer than all of them, must change nothing
  const listed = new Set(table.keys());
  const last = events.map(({ kind }) => kind).lastIndexOf("resync");
  for (const event of events.slice(last + 1)) {
    if (event.kind !== "route") continue;
    if (event.gone) table.delete(key(event.row));
    else table.set(key(event.row), event.row.protocol);
  }
  t.deepEqual(new Set(table.keys()), listed);
  t.is(listed.size, 2500 + later);
});

test("a receiver that is slow gets a resync instead of memory without end", async (t) => {
  const ns = await netns(t);
  const { events } = open(t, ns, ["route"], 65_536);
  await eventually(() => events.length === 1);
  let finished = false;
  const rows = Array.from({ length: 200 }, (_, i) => route(i));
  const writing = (async () => {
    const end = performance.now() + 1500;
    while (performance.now() < end) await apply(ns, "replace", rows);
    finished = true;
  })();
  // the event loop is busy most of the time
  while (!finished) {
    const end = performance.now() + 50;
    while (performance.now() < end) {}
    await new Promise(setImmediate);
  }
  await writing;
  await nextChanges(ns, events);
  t.pass(`${events.length} events`);
});

test("a namespace that is gone, an unknown group and a receiver that is no function are refused", async (t) => {
  const gone = await failureOf(t, () => native.openMonitor("/run/netns/tandem-none", ["link"], () => undefined));
  t.is(gone.message, "open network namespace /run/netns/tandem-none: ENOENT (No such file or directory)");
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const loose = native as any;
  t.regex(
    (await failureOf(t, () => loose.openMonitor(null, ["links"], () => 0))).message,
    /unknown netlink group links/,
  );
  t.regex((await failureOf(t, () => loose.openMonitor(null, ["link"], 5))).message, /onEvents must be a function/);
  t.regex((await failureOf(t, () => loose.openMonitor("", ["link"], () => 0))).message, /netns must not be empty/);
  const handle = native.openMonitor(null, ["link"], () => undefined);
  await native.closeMonitor(handle);
  t.regex((await failureOf(t, () => native.closeMonitor(handle))).message, /no open monitor has this handle/);
});
