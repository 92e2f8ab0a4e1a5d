import test from "ava";
import { KubeAnswerError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/kinds.ts";
import { follow } from "./following.ts";
import { added, bookmark, modified, pod, status, unreachable } from "./scripted-client.ts";

test("a first list that fails is tried again with growing pauses and jitter, for good", async (t) => {
  let draw = 0;
  const { client, go, reflector, told, heard } = follow(t, { random: () => [0, 0.999][draw++ % 2] ?? 0 });
  const pauses: number[] = [];
  await go();
  for (let round = 0; round < 12; round++) {
    client.takeList().fail(unreachable());
    await go();
    let waited = 0;
    for (; client.asked === "" && waited < 30_000; waited += 10) await go(10);
    pauses.push(waited);
  }
  const grown = [20_000, 15_010, 20_000, 15_010];
  t.deepEqual(pauses, [250, 380, 1_000, 1_510, 4_000, 6_010, 16_000, 15_010, ...grown]);
  t.deepEqual(heard, ["stale KUBE_UNREACHABLE"], "an outage is told once");
  t.deepEqual(told, [], "nothing is taken back, nothing is synced");
  t.false(reflector.status().synced);
  client.takeList().answer([pod("a", "1")], "5");
  await go();
  t.true(reflector.status().synced);
  t.is(reflector.status().stale, null);
});

test("an API server that is away takes nothing back, and says since when and why what is known may be old", async (t) => {
  const { client, go, start, told, rows, reflector, clock, heard } = follow(t);
  await start([pod("a", "1")], "10");
  const watch = client.openWatch();
  await go(5_000);
  watch.fail(unreachable());
  const since = clock.now();
  await go();
  t.is(reflector.status().stale?.code, "KUBE_UNREACHABLE");
  for (let minute = 0; minute < 20; minute++) {
    await go(20_000);
    client.refuseWatch(unreachable());
    await go();
  }
  t.is(reflector.status().staleSince, since);
  t.deepEqual([...rows], [["shop/a", "1"]]);
  t.is(told.length, 1);
  await go(20_000);
  const back = client.openWatch();
  t.is(back.options.resourceVersion, "10", "no list is needed");
  back.send(bookmark("11"));
  await go();
  t.is(reflector.status().stale, null);
  t.is(reflector.status().staleSince, null);
  t.deepEqual(heard, ["fresh", "stale KUBE_UNREACHABLE", "fresh"]);
});

test("after a success pauses are short again", async (t) => {
  const { client, go, start } = follow(t, { random: () => 0 });
  await start([], "10");
  for (let i = 0; i < 6; i++) {
    client.refuseWatch(unreachable());
    await go(20_000);
  }
  const watch = client.openWatch();
  watch.send(bookmark("11"));
  await go(2_000);
  watch.fail(unreachable());
  await go(249);
  t.is(client.asked, "");
  await go(1);
  t.is(client.asked, "watch");
});

test("Retry-After is waited for, and a refusal is tried again", async (t) => {
  const { client, go, start, reflector } = follow(t);
  await start([], "10");
  client.refuseWatch(status(429, "TooManyRequests", 7_000));
  await go(6_999);
  t.is(client.asked, "");
  await go(1);
  client.refuseWatch(status(403, "Forbidden"));
  await go();
  t.is(reflector.status().stale?.code, "KUBE_FORBIDDEN");
  await go(20_000);
  t.is(client.asked, "watch");
});

test("a watch that says nothing for longer than bookmarks take is opened anew at once, from where it was", async (t) => {
  const { client, go, start, reflector, heard } = follow(t);
  await start([pod("a", "1")], "10");
  client.openWatch();
  await go(69_999);
  t.is(client.asked, "");
  await go(1);
  t.is(client.openWatch().options.resourceVersion, "10");
  t.is(reflector.status().counts.silent, 1);
  t.deepEqual(heard, ["fresh"], "it may only have been quiet");
});

test("that a watch can be opened proves nothing after silence: the second silence is an outage", async (t) => {
  const { client, go, start, reflector, heard } = follow(t);
  await start([pod("a", "1")], "10");
  client.openWatch();
  await go(70_000);
  client.openWatch();
  await go(55_000);
  t.is(reflector.status().stale?.code, "KUBE_TIMEOUT");
  await go(5_000);
  const watch = client.openWatch();
  await go(5_000);
  t.not(reflector.status().stale, null);
  watch.send(bookmark("12"));
  await go();
  t.is(reflector.status().stale, null);
  t.deepEqual(heard, ["fresh", "stale KUBE_TIMEOUT", "fresh"]);
});

test("a watch that speaks now and then lives, and one that ends by its time is followed by the next", async (t) => {
  const { client, go, start, reflector } = follow(t);
  await start([], "10");
  const watch = client.openWatch();
  for (let i = 1; i < 10; i++) {
    await go(50_000);
    watch.send(bookmark(`${10 + i}`));
  }
  watch.end();
  await go();
  t.is(client.openWatch().options.resourceVersion, "19");
  t.is(reflector.status().counts.failures, 0);
});

test("watches that end at once are not asked for in a circle", async (t) => {
  const { client, go, start, reflector } = follow(t);
  await start([], "10");
  client.openWatch().end();
  await go();
  t.is(client.asked, "");
  t.is(reflector.status().stale?.code, "KUBE_CUT");
  await go(250);
  t.is(client.asked, "watch");
});

test("410 again and again gets pauses", async (t) => {
  const { client, go, start, reflector } = follow(t, { random: () => 0 });
  await start([], "10");
  client.refuseWatch(status(410));
  await go();
  client.takeList().answer([], "11");
  await go();
  client.refuseWatch(status(410));
  await go(499);
  t.is(client.asked, "");
  t.is(reflector.status().stale?.code, "KUBE_GONE");
  await go(1);
  t.is(client.asked, "list");
});

test("a sink that throws gets everything again, and what it took in part is corrected", async (t) => {
  const following = follow(t);
  const { client, go, start, told, rows, reflector } = following;
  await start([pod("a", "1"), pod("b", "2")], "10");
  following.sinkFails = new Error("disk full");
  client.openWatch().send(added(pod("c", "11")), modified(pod("b", "12")));
  await go();
  t.is(reflector.status().stale?.code, "KUBE_SINK");
  t.true(rows.has("shop/c"), "it took a part");
  following.sinkFails = null;
  await go(1_000);
  client.takeList().answer([pod("a", "1"), pod("b", "12")], "20");
  await go();
  t.is(told.at(-1), "~shop/a=1 ~shop/b=12 -shop/c");
  t.deepEqual(
    [...rows],
    [
      ["shop/a", "1"],
      ["shop/b", "12"],
    ],
  );
  t.is(reflector.status().stale, null);
});

test("a sink that throws at the first list is not synced", async (t) => {
  const following = follow(t);
  following.sinkFails = new Error("not yet");
  await following.start([pod("a", "1")], "10");
  t.false(following.reflector.status().synced);
  following.sinkFails = null;
  await following.go(1_000);
  following.client.takeList().answer([pod("b", "2")], "11");
  await following.go();
  t.deepEqual([...following.rows], [["shop/b", "2"]]);
  t.true(following.reflector.status().synced);
});

test("an answer that cannot be understood is asked for again, and listed anew if it stays so", async (t) => {
  const { client, go, start, reflector } = follow(t);
  await start([], "10");
  const nonsense = () => new KubeAnswerError({ code: "KUBE_ANSWER", object: "pods", message: "no JSON", remedy: "-" });
  client.openWatch().fail(nonsense());
  await go(1_000);
  t.is(reflector.status().stale?.code, "KUBE_ANSWER");
  client.openWatch().fail(nonsense());
  await go(2_000);
  t.is(client.asked, "list");
});

test("a custom kind without a definition has no objects, and is looked for again", async (t) => {
  const { client, go, start, told, reflector } = follow(t, { kind: kinds.ciliumNetworkPolicies });
  await start([pod("a", "1")], "10");
  client.refuseWatch(status(404, "NotFound"));
  await go();
  const get = client.takeGet();
  t.is(get.name, "ciliumnetworkpolicies.cilium.io");
  t.deepEqual(told.slice(1), [], "not before it is sure");
  get.fail(status(404, "NotFound"));
  await go();
  t.deepEqual(told.slice(1), ["-shop/a"]);
  t.true(reflector.status().absent);
  t.is(reflector.status().stale, null);
  await go(10_000);
  client.takeList().answer([pod("b", "2")], "20");
  await go();
  t.false(reflector.status().absent);
  t.is(told.at(-1), "+shop/b=2");
});

for (const [why, answer] of [
  ["the definition is there", null],
  ["it may not be asked", status(403, "Forbidden")],
] as const) {
  test(`404 for a custom kind while ${why}: what is known stays`, async (t) => {
    const { client, go, start, rows, reflector } = follow(t, { kind: kinds.ciliumNetworkPolicies });
    await start([pod("a", "1")], "10");
    client.refuseWatch(status(404, "NotFound"));
    await go();
    const get = client.takeGet();
    if (answer === null) get.answer(pod("definition", "1"));
    else get.fail(answer);
    await go();
    t.is(rows.size, 1);
    t.is(reflector.status().stale?.code, "KUBE_NOT_FOUND");
    t.false(reflector.status().absent);
    await go(1_000);
    t.is(client.asked, "list");
  });
}

test("a sink that throws when its kind is gone does not end the reflector", async (t) => {
  const following = follow(t, { kind: kinds.ciliumNetworkPolicies });
  const { client, go, start, rows, reflector } = following;
  await start([pod("a", "1")], "10");
  following.sinkFails = new Error("busy");
  client.refuseWatch(status(404, "NotFound"));
  await go();
  client.takeGet().fail(status(404, "NotFound"));
  await go();
  t.is(reflector.status().stale?.code, "KUBE_SINK");
  following.sinkFails = null;
  await go(10_000);
  client.takeList().fail(status(404, "NotFound"));
  await go();
  client.takeGet().fail(status(404, "NotFound"));
  await go();
  t.is(rows.size, 0);
  t.true(reflector.status().absent);
});

test("404 for a built-in kind is never taken for an empty list", async (t) => {
  const { client, go, start, rows, reflector } = follow(t);
  await start([pod("a", "1")], "10");
  client.refuseWatch(status(404, "NotFound"));
  await go();
  t.is(client.asked, "");
  t.is(rows.size, 1);
  t.is(reflector.status().stale?.code, "KUBE_NOT_FOUND");
});

for (const where of ["a list", "a watch", "a pause"] as const) {
  test(`the signal ends it during ${where}, and nothing more is told`, async (t) => {
    const following = follow(t);
    const { client, go, start, told, stop, reflector } = following;
    await go();
    if (where === "a watch") {
      await start([pod("a", "1")], "10");
      client.openWatch();
    } else if (where === "a pause") client.takeList().fail(unreachable());
    await go();
    const before = told.length;
    const waiting = reflector.whenSynced(stop.signal);
    stop.abort();
    await waiting;
    await go();
    if (where === "a list") client.takeList().answer([pod("a", "1")], "5");
    await go(60_000);
    t.is(client.asked, "");
    t.is(told.length, before);
  });
}
