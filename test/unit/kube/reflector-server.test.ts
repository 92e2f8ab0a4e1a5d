import test from "ava";
import fc from "fast-check";
import { kinds } from "../../../src/kube/kinds.ts";
import { serve, type Served } from "./served.ts";

const configMaps = "configmaps";

test("what others do is seen, by one list and one watch at a time", async (t) => {
  const { server, reflector, rows, put, remove, until } = await serve(t);
  await put("a", "1");
  await until(() => reflector.status().synced);
  await until(() => server.watches.size === 1);
  await put("a", "2");
  await put("b", "1");
  await remove("a");
  await until(() => rows.get("default/b") === "1" && !rows.has("default/a"));
  t.deepEqual([...rows], [["default/b", "1"]]);
  t.is(server.counts().get(`list ${configMaps}`), 1);
  t.is(server.counts().get(`watch ${configMaps}`), 1);
});

test("a kind without bookmarks costs a request or two a minute, and is never listed again", async (t) => {
  const { server, clock, reflector, until, heard } = await serve(t);
  await until(() => server.watches.size === 1);
  const began = clock.monotonicMs();
  await until(() => clock.monotonicMs() - began > 600_000, 500);
  const watches = server.counts().get(`watch ${configMaps}`) ?? 0;
  t.true(watches >= 10 && watches <= 20, `${watches}`);
  t.is(server.counts().get(`list ${configMaps}`), 1);
  t.deepEqual(heard, ["fresh"]);
  t.is(reflector.status().counts.silent, 1);
});

test("a kind with bookmarks costs a request in ten minutes", async (t) => {
  const { server, client, clock, reflector, until, heard } = await serve(t);
  await until(() => server.watches.size === 1);
  for (let round = 0; round < 12; round++) {
    await client.create(kinds.nodes, { metadata: { name: `n${round}` } });
    const next = clock.monotonicMs() + 50_000;
    await until(() => clock.monotonicMs() > next, 500);
  }
  const watches = server.counts().get(`watch ${configMaps}`) ?? 0;
  t.true(watches <= 2, `${watches}`);
  t.deepEqual(heard, ["fresh"]);
  t.is(reflector.status().counts.failures, 0);
});

test("changes of other kinds move a quiet kind's version by bookmarks: its window never expires", async (t) => {
  const { server, client, until, clock, reflector, put, rows } = await serve(t);
  await until(() => server.watches.size === 1);
  const node = (at: number) => ({ metadata: { name: `n${at}` } });
  for (let round = 0; round < 5; round++) {
    await client.create(kinds.nodes, node(round));
    const next = clock.monotonicMs() + 60_000;
    await until(() => clock.monotonicMs() > next, 500);
  }
  t.true(reflector.status().counts.bookmarks >= 4);
  // All but what is newest is forgotten.
  server.store.forgetChanges();
  await until(() => server.watches.size === 1);
  await put("a", "1");
  await until(() => rows.has("default/a"));
  t.is(server.counts().get(`list ${configMaps}`), 1);
});

test("a watch that is half open is left soon after a bookmark is missed, and what was missed comes without a list", async (t) => {
  const { server, clock, until, put, rows, heard } = await serve(t);
  await until(() => server.watches.size === 1);
  const [watch] = server.watches;
  watch?.silence();
  const began = clock.monotonicMs();
  await put("a", "1");
  await until(() => rows.has("default/a"), 250);
  t.true(clock.monotonicMs() - began <= 75_000, `${clock.monotonicMs() - began}`);
  t.is(server.counts().get(`list ${configMaps}`), 1);
  t.deepEqual(heard, ["fresh"]);
});

/** As an agent renews its Lease: each 10 s, with 8 s for an answer and a second between tries. */
async function renew({ client, clock }: Served, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    const asked = client.read("/version", { timeoutMs: 8_000, retry: false, signal: stop });
    const pause = await asked.then(
      () => 10_000,
      () => 1_000,
    );
    await clock.sleep(pause, stop).catch(() => undefined);
  }
}

test("an API server that hangs as a whole is told within a minute, and followed when it answers again", async (t) => {
  const served = await serve(t);
  const { server, clock, reflector, until, put, rows } = served;
  await until(() => server.watches.size === 1);
  const stop = new AbortController();
  const renewing = renew(served, stop.signal);
  await clock.advance(20_000);
  const [watch] = server.watches;
  watch?.silence();
  server.faults.add({ kind: "hang" }, () => true, Number.POSITIVE_INFINITY);
  const began = clock.monotonicMs();
  await until(() => reflector.status().stale !== null, 250);
  t.is(reflector.status().stale?.code, "KUBE_SILENT");
  const afterMs = clock.monotonicMs() - began;
  t.true(afterMs < 45_000, `${afterMs}`);
  server.faults.clear();
  await until(() => reflector.status().stale === null, 250);
  await put("a", "1");
  await until(() => rows.has("default/a"), 250);
  t.is(server.counts().get(`list ${configMaps}`), 1);
  stop.abort();
  await renewing;
});

test("one of several servers hangs, and the next answers: its watches are asked for again, and nobody is told", async (t) => {
  const served = await serve(t);
  const { server, clock, until, put, rows, heard } = served;
  await until(() => server.watches.size === 1);
  const stop = new AbortController();
  const renewing = renew(served, stop.signal);
  await clock.advance(20_000);
  const [watch] = server.watches;
  watch?.silence();
  await put("a", "1");
  server.faults.add({ kind: "hang" }, ({ path }) => path.startsWith("/version"), 1);
  const began = clock.monotonicMs();
  await until(() => rows.has("default/a"), 250);
  const afterMs = clock.monotonicMs() - began;
  t.true(afterMs < 45_000, `${afterMs}`);
  t.deepEqual(heard, ["fresh"]);
  stop.abort();
  await renewing;
});

test("a watch whose version is too old: listed anew, and what went meanwhile is gone", async (t) => {
  const { server, until, put, remove, rows } = await serve(t);
  await put("a", "1");
  await put("b", "1");
  await until(() => rows.size === 2 && server.watches.size === 1);
  await server.stop();
  await server.start();
  await remove("a");
  await put("c", "1");
  server.store.compact();
  await until(() => rows.has("default/c"));
  t.deepEqual([...rows.keys()].sort(), ["default/b", "default/c"]);
  t.is(server.counts().get(`list ${configMaps}`), 2);
});

test("an etcd restored from a backup: watches of before say nothing of it, until it is told by what else was asked", async (t) => {
  const { server, client, clock, until, put, remove, rows, reflector } = await serve(t);
  await put("a", "1");
  await until(() => rows.size === 1 && server.watches.size === 1);
  const backup = server.store.snapshot();
  await put("b", "lost");
  await put("c", "lost");
  await until(() => rows.size === 3);
  await server.stop();
  server.restore(backup);
  await server.start();
  // The very version that the lost one had.
  await put("b", "new");
  await until(() => server.watches.size === 1);
  const later = clock.monotonicMs() + 120_000;
  await until(() => clock.monotonicMs() > later, 500);
  t.deepEqual(rows.get("default/b"), "lost", "no server tells, so this is what it is for");
  t.is(server.counts().get(`list ${configMaps}`), 1);

  client.historyReplaced();
  await until(() => rows.get("default/b") === "new");
  t.deepEqual([...rows.keys()].sort(), ["default/a", "default/b"]);
  await remove("a");
  await until(() => !rows.has("default/a"));
  t.is(server.counts().get(`list ${configMaps}`), 2);
  t.is(reflector.status().stale, null);
});

test("a list or a watch that is under way when the history is replaced counts for nothing", async (t) => {
  const { server, client, until, put, rows } = await serve(t);
  const hold = (verb: string) => server.faults.add({ kind: "delay", ms: 5_000 }, (asked) => asked.verb === verb, 1);
  hold("list");
  await until(() => server.counts().get(`list ${configMaps}`) === 1);
  client.historyReplaced();
  await until(() => server.counts().get(`list ${configMaps}`) === 2);
  await until(() => server.watches.size === 1);
  hold("watch");
  for (const watch of server.watches) watch.end();
  await until(() => server.counts().get(`watch ${configMaps}`) === 2);
  client.historyReplaced();
  await until(() => server.counts().get(`list ${configMaps}`) === 3);
  await put("a", "1");
  await until(() => rows.has("default/a"));
  t.is(server.counts().get(`list ${configMaps}`), 3);
});

test("a token that expired is replaced by the file's, and nobody is told of an outage", async (t) => {
  const served = await serve(t, { tokens: ["one"] });
  const { server, until, put, rows, heard } = served;
  await until(() => server.watches.size === 1);
  served.token = "two";
  server.tokens?.clear();
  server.tokens?.add("two");
  for (const watch of server.watches) watch.end();
  await put("a", "1");
  await until(() => rows.has("default/a"));
  t.deepEqual(
    heard.filter((code) => code === "KUBE_UNAUTHORIZED"),
    [],
  );
});

test("without a new token what is known stays, and the reason is told until one comes", async (t) => {
  const served = await serve(t, { tokens: ["one"] });
  const { server, until, put, rows, heard, reflector } = served;
  await put("a", "1");
  await until(() => rows.size === 1 && server.watches.size === 1);
  server.tokens?.clear();
  server.tokens?.add("two");
  for (const watch of server.watches) watch.end();
  await until(() => heard.includes("KUBE_UNAUTHORIZED"));
  t.deepEqual([...rows.keys()], ["default/a"]);
  served.token = "two";
  await until(() => reflector.status().stale === null);
  await put("b", "1");
  await until(() => rows.has("default/b"));
});

test("answers that take 5 s are slow and nothing else", async (t) => {
  const { server, clock, until, reflector, put, rows, heard } = await serve(t);
  server.faults.add({ kind: "delay", ms: 5_000 }, ({ storage }) => storage === configMaps, 2);
  const began = clock.monotonicMs();
  await until(() => reflector.status().synced && server.watches.size === 1);
  t.true(clock.monotonicMs() - began >= 10_000);
  await put("a", "1");
  await until(() => rows.has("default/a"));
  t.deepEqual(heard, ["fresh"]);
});

test("429, 500, 503, resets and requests that hang, before the first list: it syncs in the end", async (t) => {
  const { server, clock, until, reflector, heard } = await serve(t);
  const list = ({ verb }: { readonly verb: string }) => verb === "list";
  server.faults.add({ kind: "answer", code: 429, reason: "TooManyRequests", retryAfterSeconds: 7 }, list);
  server.faults.add({ kind: "answer", code: 500, reason: "InternalError" }, list);
  // A read that broke off is sent once more at once.
  server.faults.add({ kind: "reset" }, list, 2);
  server.faults.add({ kind: "answer", code: 503, reason: "ServiceUnavailable" }, list);
  server.faults.add({ kind: "hang" }, list);
  const began = clock.monotonicMs();
  await until(() => reflector.status().synced);
  t.deepEqual(heard, ["KUBE_BUSY", "KUBE_SERVER", "KUBE_CUT", "KUBE_BUSY", "KUBE_TIMEOUT", "fresh"]);
  t.true(clock.monotonicMs() - began >= 7_000 + 30_000);
});

const step = fc.oneof(
  fc.record({
    do: fc.constant("put" as const),
    name: fc.constantFrom("a", "b", "c", "d"),
    v: fc.stringMatching(/^\d$/),
  }),
  fc.record({ do: fc.constant("remove" as const), name: fc.constantFrom("a", "b", "c", "d") }),
  fc.record({ do: fc.constantFrom("expire", "end", "silence", "garbage", "compact", "restart", "refuse", "wait") }),
);

test("whatever goes wrong in whatever order, in the end it knows what is true", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      const { server, clock, until, put, remove, rows } = await serve(t);
      await until(() => server.watches.size === 1);
      for (const each of steps) {
        const watches = [...server.watches];
        if (each.do === "put" && "v" in each) await put(each.name, each.v);
        else if (each.do === "remove" && "name" in each) await remove(each.name);
        else if (each.do === "expire") for (const watch of watches) watch.expire();
        else if (each.do === "end") for (const watch of watches) watch.end();
        else if (each.do === "silence") for (const watch of watches) watch.silence();
        else if (each.do === "garbage") for (const watch of watches) watch.sendRaw("{]\n");
        else if (each.do === "compact") server.store.compact();
        else if (each.do === "refuse") {
          const fault = { kind: "answer", code: 500, reason: "InternalError" } as const;
          server.faults.add(fault, ({ verb }) => verb === "list" || verb === "watch", 2);
        } else if (each.do === "restart") {
          await server.stop();
          await server.start();
        } else await clock.advance(3_000);
      }
      await put("last", "1");
      const truth = () => {
        const objects = [...server.store.objects(configMaps)];
        return JSON.stringify(objects.map(([key, { data }]) => [key, (data as { readonly v: string }).v]).sort());
      };
      await until(() => JSON.stringify([...rows].sort()) === truth(), 500);
      t.true(rows.has("default/last"));
    }),
    { numRuns: 15 },
  );
});
