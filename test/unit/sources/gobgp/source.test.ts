import test, { type ExecutionContext } from "ava";
import { type Clock, systemClock } from "../../../../src/lib/clock.ts";
import { parsePrefix } from "../../../../src/model/ip.ts";
import type { Logger } from "../../../../src/model/logging.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { GobgpSource } from "../../../../src/sources/gobgp/index.ts";
import { Rib } from "../../../../src/sources/gobgp/rib.ts";
import type { Path } from "../../../../src/sources/gobgp/types.ts";
import { GobgpServer, message } from "../../../support/gobgp-server.ts";
import { pathMessage, type RibShape, served, type Version } from "../../../support/gobgp-shapes.ts";

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

function following(t: ExecutionContext, addresses: readonly string[] | null, clock: Clock = systemClock) {
  const ending = new AbortController();
  t.teardown(() => ending.abort());
  const store = new TableStore();
  const topics = new Map<string, readonly Problem[]>();
  const conditions = { report: (topic: string, problems: readonly Problem[]) => void topics.set(topic, problems) };
  const source = new GobgpSource({ addresses, store, conditions, log, clock });
  const problems = () => [...topics.values()].flat();
  const codes = () => problems().map(({ code, severity }) => `${severity} ${code}`);
  const paths = () => [...store.table("bgpPaths").keys()].sort();
  return { source, store, problems, codes, paths, signal: ending.signal, start: () => source.start(ending.signal) };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const peers = [
  { address: "192.0.2.2", session: 6 },
  { address: "192.0.2.3", session: 3 },
];
const own = { prefix: "10.1.0.0/24", nextHop: "192.0.2.1" };
const two = { prefix: "10.2.0.0/24", nextHop: "192.0.2.2", peer: "192.0.2.2", rich: true };
const three = { prefix: "10.3.0.0/24", nextHop: "192.0.2.3", peer: "192.0.2.3" };

for (const version of ["api", "apipb", "gobgpapi"] satisfies readonly Version[]) {
  test(`${version}: tables hold what the speaker has, follow it, and are right again after it was away`, async (t) => {
    const rib: RibShape = { paths: [own, two], peers };
    const serving = served(version, rib);
    const server = await new GobgpServer(serving.handlers).start(t);
    const { source, store, paths, start, codes } = following(t, [server.address]);
    await start();
    await until("synced", () => source.state === "synced");
    t.deepEqual(paths(), ["10.1.0.0/24", "10.2.0.0/24"]);
    t.like(store.table("bgpPaths").get("10.2.0.0/24"), {
      asPath: "65000 64513 {7}",
      communities: ["64512:999", "0:1", "64512:1:2"],
    });
    t.deepEqual([...store.table("bgpPeers").values()].map(({ state }) => state).sort(), ["ACTIVE", "ESTABLISHED"]);
    t.regex(source.status().detail, /AS 64512; 1 of 2 peers established \(not: 192\.0\.2\.3 ACTIVE\), 2 best paths/);

    rib.paths = [own, three];
    serving.tell([three, { ...two, withdrawn: true }]);
    await until("the change is seen", () => paths().join() === "10.1.0.0/24,10.3.0.0/24");
    rib.peers = [{ address: "192.0.2.3", session: 6 }];
    serving.tellPeers();
    await until("peers are listed again", () => store.table("bgpPeers").get("192.0.2.3")?.state === "ESTABLISHED");
    t.is(store.table("bgpPeers").size, 1);

    // What changes while it is away is known when it is back; until then the last rows stay.
    const port = Number(server.address.split(":")[1]);
    await server.stop();
    await until("it is stale", () => source.state === "stale");
    t.deepEqual(paths(), ["10.1.0.0/24", "10.3.0.0/24"]);
    t.like(source.status(), { synced: true, stale: true });
    t.deepEqual(codes(), ["warning GOBGP_UNREACHABLE"]);
    const again: RibShape = { paths: [two], peers };
    await new GobgpServer(served(version, again).handlers).start(t, port);
    await until("it is synced again", () => source.state === "synced");
    t.deepEqual(paths(), ["10.2.0.0/24"]);
    t.deepEqual(codes(), []);
  });
}

test("who was there and is gone is tried again each 250 ms: peers that kept its paths hear soon what it has", async (t) => {
  const server = await new GobgpServer(served("apipb", { paths: [own], peers }).handlers).start(t);
  const pauses: number[] = [];
  // Nothing else sleeps while it is away.
  const sleep: Clock["sleep"] = (ms, signal) => {
    pauses.push(ms);
    return systemClock.sleep(1, signal);
  };
  const { source, start } = following(t, [server.address], { ...systemClock, sleep });
  await start();
  await until("synced", () => source.state === "synced");
  await server.stop();
  await until("it is stale", () => source.state === "stale");
  pauses.length = 0;
  await until("it was tried again and again", () => pauses.length > 12);
  t.true(Math.max(...pauses) <= 250, String(pauses));

  const never: number[] = [];
  const waiting = following(t, [server.address], {
    ...systemClock,
    sleep(ms, signal) {
      never.push(ms);
      return systemClock.sleep(1, signal);
    },
  });
  await waiting.start();
  await until("one that was never there is waited for", () => never.length > 12);
  t.true(Math.max(...never) > 3_000, String(never));
});

test("who is not there yet is waited for without a word; who answers nonsense is an error of the status", async (t) => {
  const empty = await new GobgpServer({}).start(t);
  const gone = empty.address;
  await empty.stop();
  const nonsense = await new GobgpServer({}).start(t);
  const waiting = following(t, [gone]);
  const wrong = following(t, [nonsense.address]);
  await waiting.start();
  await wrong.start();
  await until("the nonsense is told", () => wrong.codes().length > 0);
  t.deepEqual(wrong.codes(), ["error GOBGP_API"]);
  await until("the other was tried", () => /connect|ECONN/.test(waiting.source.status().detail));
  t.deepEqual(waiting.codes(), []);
  t.like(waiting.source.status(), { synced: false, stale: false });
  const off = following(t, null);
  await off.start();
  t.is(off.source.state, "off");
});

test("garbage on a session that stands is told, the last rows stay, and what is sound afterwards is read", async (t) => {
  const serving = served("apipb", { paths: [own, two], peers });
  const watch = serving.handlers["apipb.GobgpApi/WatchEvent"];
  const answers = { garbage: (): void => undefined };
  if (watch === undefined) throw new Error("no such call");
  serving.handlers["apipb.GobgpApi/WatchEvent"] = async (call) => {
    // A frame of 8 bytes that are no event.
    answers.garbage = () => call.raw(new Uint8Array([0, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
    return watch(call);
  };
  const server = await new GobgpServer(serving.handlers).start(t);
  const { source, paths, problems, codes, start } = following(t, [server.address]);
  await start();
  await until("synced", () => source.state === "synced");
  answers.garbage();
  await until("the garbage is told", () => codes().join() === "error GOBGP_ANSWER");
  t.deepEqual(paths(), ["10.1.0.0/24", "10.2.0.0/24"]);
  t.regex(problems()[0]?.object ?? "", /^gobgpd at 127\.0\.0\.1:/);
  t.regex(problems()[0]?.message ?? "", /WatchEvent: /);
  t.regex(problems()[0]?.remedy ?? "", /kube-router/);
  await until("it is synced again", () => source.state === "synced");
  t.deepEqual(codes(), []);
});

test("a daemon that takes calls and answers none is told within 2 s, on the session that stands, and mended by its answer", async (t) => {
  const serving = served("apipb", { paths: [own, two], peers });
  const answer = serving.handlers["apipb.GobgpApi/GetBgp"];
  if (answer === undefined) throw new Error("no such call");
  let answers: (() => void) | null = null;
  let hanging: Promise<void> = Promise.resolve();
  serving.handlers["apipb.GobgpApi/GetBgp"] = async (call) => {
    await hanging;
    return answer(call);
  };
  const server = await new GobgpServer(serving.handlers).start(t);
  const { source, paths, codes, start } = following(t, [server.address]);
  await start();
  await until("synced", () => source.state === "synced");
  const session = source.session;
  hanging = new Promise((resolve) => {
    answers = resolve;
  });
  const from = performance.now();
  await until("it is told", () => codes().join() === "warning GOBGP_TIMEOUT");
  const ms = performance.now() - from;
  // The limit of a call is 5 s; that this is before it is what counts on a busy machine.
  t.true(ms < 4_000, `${ms} ms`);
  t.log(`told after ${Math.round(ms)} ms`);
  t.is(source.state, "stale");
  t.deepEqual(paths(), ["10.1.0.0/24", "10.2.0.0/24"]);
  (answers as (() => void) | null)?.();
  await until("it is mended", () => codes().length === 0 && source.state === "synced");
  t.is(source.session, session, "it is the same session: nothing was listed again");
});

test("a path that cannot be read is told, the others hold, and nothing is taken for complete", async (t) => {
  const serving = served("apipb", { paths: [own, two], peers });
  const list = serving.handlers["apipb.GobgpApi/ListPath"];
  const bad = pathMessage("apipb", three);
  let isBad = true;
  if (list === undefined) throw new Error("no such call");
  serving.handlers["apipb.GobgpApi/ListPath"] = async (call) => {
    if (isBad) call.send(message([[1, message([[2, bad.subarray(0, bad.length - 3)]])]]));
    return list(call);
  };
  const server = await new GobgpServer(serving.handlers).start(t);
  const { source, paths, problems, codes, start } = following(t, [server.address]);
  await start();
  await until("synced", () => source.state === "synced");
  t.deepEqual(paths(), ["10.1.0.0/24", "10.2.0.0/24"]);
  t.deepEqual(codes(), ["warning GOBGP_PATH_UNREADABLE"]);
  t.regex(problems()[0]?.message ?? "", /10\.3\.0\.0\/24 \(/);
  t.false(source.complete, "a route to it would be taken for one that was left over");
  isBad = false;
  serving.tell([three]);
  serving.tellPeers();
  await until("the path came again, whole", () => codes().length === 0);
  t.true(source.complete);
  t.is(paths().length, 3);
});

test("what peers sent is asked for, and nobody is asked who is away", async (t) => {
  const sent = { "192.0.2.2": [{ ...two, filtered: true }] };
  const server = await new GobgpServer(served("api", { paths: [own], peers, received: sent }).handlers).start(t);
  const { source, start } = following(t, [server.address]);
  const prefix = parsePrefix("10.2.0.0/24");
  if (prefix === null) throw new Error("no prefix");
  t.deepEqual(await source.received([prefix], ["192.0.2.2"]), []);
  await start();
  await until("synced", () => source.state === "synced");
  t.like((await source.received([prefix], ["192.0.2.2"]))[0], { peer: "192.0.2.2", filtered: true });
});

test("an event that comes while the list is read is newer than the list, and paths beyond the limit are counted", async (t) => {
  const store = new TableStore();
  const rib = new Rib({ store, limit: 2 });
  const path = (text: string, more: Partial<Path> = {}): Path => {
    const prefix = parsePrefix(text);
    if (prefix === null) throw new Error(text);
    const attributes = { asPath: [], communities: [], largeCommunities: [], clusterList: [], others: [] };
    const flags = { best: true, withdrawn: false, stale: false, filtered: false };
    const rest = { nextHop: null, peer: null, localPref: null, med: null, originatorId: null };
    return { prefix, ...attributes, ...flags, ...rest, ...more };
  };
  store.upsert("bgpPaths", "10.9.0.0/24", { ...path("10.9.0.0/24"), asPath: "" } as never);
  rib.begin();
  rib.follow([path("10.1.0.0/24", { withdrawn: true })]);
  rib.list([path("10.1.0.0/24")]);
  rib.list([path("10.2.0.0/24", { best: false, med: 1 }), path("10.2.0.0/24", { med: 2 })]);
  await rib.commit();
  t.deepEqual([...store.table("bgpPaths").keys()], ["10.2.0.0/24"], "neither the withdrawn nor the forgotten one");
  t.is(store.table("bgpPaths").get("10.2.0.0/24")?.med, 2, "the best one, wherever it stands");
  rib.follow([path("10.3.0.0/24"), path("10.4.0.0/24")]);
  t.deepEqual(rib.counts, { kept: 2, beyond: 1 });
  rib.follow([path("10.4.0.0/24", { withdrawn: true })]);
  t.deepEqual(rib.counts, { kept: 2, beyond: 0 });
});
