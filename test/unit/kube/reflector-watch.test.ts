import test from "ava";
import { follow } from "./following.ts";
import { added, bookmark, deleted, expired, modified, pod, status } from "./scripted-client.ts";

test("lists from the server's memory in pages, then watches from the list's version", async (t) => {
  const { client, go, told, reflector, heard } = follow(t);
  await go();
  const list = client.takeList();
  t.is(list.options.resourceVersion, "0");
  t.true(list.options.paged);
  t.false(reflector.status().synced);
  list.answer([pod("a", "3"), pod("b", "5")], "10");
  await go();
  t.deepEqual(told, ["+shop/a=3 +shop/b=5"]);
  t.true(reflector.status().synced);
  t.is(client.openWatch().options.resourceVersion, "10");
  t.deepEqual(heard, ["fresh"]);
  t.is(reflector.status().objects, 2);
});

test("an empty list is told too: that there is nothing is news", async (t) => {
  const { start, told, reflector, stop } = follow(t);
  const synced = reflector.whenSynced(stop.signal);
  await start([], "1");
  await synced;
  t.deepEqual(told, [""]);
});

test("events that came together are one batch, each object once with its last state", async (t) => {
  const { client, go, start, told, rows } = follow(t);
  await start([pod("a", "1"), pod("b", "2")], "10");
  const watch = client.openWatch();
  watch.send(
    modified(pod("a", "11")),
    added(pod("c", "12")),
    modified(pod("a", "13")),
    deleted(pod("b", "14")),
    added(pod("d", "15")),
    deleted(pod("d", "16")),
  );
  await go();
  t.deepEqual(told.slice(1), ["+shop/c=12 ~shop/a=13 -shop/b"]);
  t.deepEqual([...rows.keys()].sort(), ["shop/a", "shop/c"]);
});

test("an object that is deleted and made anew in one batch is an update, across batches both are told", async (t) => {
  const { client, go, start, told } = follow(t);
  await start([pod("a", "1")], "10");
  const watch = client.openWatch();
  watch.send(deleted(pod("a", "11")), added(pod("a", "12")));
  await go();
  watch.send(deleted(pod("a", "13")));
  watch.send(added(pod("a", "14")));
  await go();
  t.deepEqual(told.slice(1), ["~shop/a=12", "-shop/a", "+shop/a=14"]);
});

test("what is told twice is told once, and what is older than the known is left out", async (t) => {
  const { client, go, start, told, rows, reflector } = follow(t);
  await start([pod("a", "9")], "10");
  const watch = client.openWatch();
  watch.send(added(pod("a", "9")), modified(pod("a", "11")), modified(pod("a", "11")));
  watch.send(modified(pod("a", "10")), deleted(pod("a", "8")));
  await go();
  t.deepEqual(told.slice(1), ["~shop/a=11"]);
  t.is(rows.get("shop/a"), "11");
  t.is(reflector.status().counts.outOfOrder, 2);
});

test("versions are numbers, not texts: 100 is newer than 99", async (t) => {
  const { client, go, start, rows } = follow(t);
  await start([pod("a", "99")], "99");
  client.openWatch().send(modified(pod("a", "100")));
  await go();
  t.is(rows.get("shop/a"), "100");
});

test("the next watch begins at the last version that was heard of: an event's or a bookmark's", async (t) => {
  const { client, go, start, reflector } = follow(t);
  await start([pod("a", "1")], "10");
  const first = client.openWatch();
  first.send(modified(pod("a", "12")));
  first.end();
  await go();
  const second = client.openWatch();
  t.is(second.options.resourceVersion, "12");
  second.send(bookmark("40"));
  second.end();
  await go();
  t.is(client.openWatch().options.resourceVersion, "40");
  t.like(reflector.status().counts, { lists: 1, watches: 3, events: 1, bookmarks: 1, failures: 0 });
});

for (const how of ["an ERROR event", "the answer to the watch"]) {
  test(`410 in ${how}: listed anew at once and consistently; only the difference is told`, async (t) => {
    const { client, go, start, told, heard } = follow(t);
    await start([pod("a", "1"), pod("b", "2"), pod("c", "3")], "10");
    if (how === "an ERROR event") client.openWatch().send(expired());
    else client.refuseWatch(status(410, "Expired"));
    await go();
    const list = client.takeList();
    t.is(list.options.resourceVersion, undefined, "the server's memory may be what is too old");
    list.answer([pod("a", "1"), pod("b", "22"), pod("d", "23")], "30");
    await go();
    t.deepEqual(told.slice(1), ["+shop/d=23 ~shop/b=22 -shop/c"]);
    t.is(client.openWatch().options.resourceVersion, "30");
    t.deepEqual(heard, ["fresh"], "nobody is told of an outage that was none");
  });
}

test("what came before a 410 in the same piece counts", async (t) => {
  const { client, go, start, told } = follow(t);
  await start([], "10");
  client.openWatch().send(added(pod("a", "11")), expired());
  await go();
  t.deepEqual(told, ["", "+shop/a=11"]);
});

test("an object deleted and made anew between watch and list is an update", async (t) => {
  const { client, go, start, told } = follow(t);
  await start([pod("a", "1", { metadata: { namespace: "shop", name: "a", resourceVersion: "1", uid: "u1" } })], "10");
  client.openWatch().send(expired());
  await go();
  client.takeList().answer([pod("a", "25")], "30");
  await go();
  t.deepEqual(told.slice(1), ["~shop/a=25"]);
});

test("410 while pages are read: the next list comes in one answer, and the half one is forgotten", async (t) => {
  const { client, go, told } = follow(t);
  await go();
  client.takeList().fail(status(410, "Expired"), [pod("a", "1"), pod("gone", "2")]);
  await go();
  const list = client.takeList();
  t.false(list.options.paged);
  t.deepEqual(told, []);
  list.answer([pod("a", "1")], "9");
  await go();
  t.deepEqual(told, ["+shop/a=1"]);
});

test("versions that go back, as after a restore of etcd, end the watch; everything is told again", async (t) => {
  const { client, go, start, told } = follow(t);
  await start([pod("a", "90"), pod("b", "91")], "100");
  client.openWatch().send(bookmark("60"));
  await go();
  client.takeList().answer([pod("a", "90")], "61");
  await go();
  t.deepEqual(told.slice(1), ["~shop/a=90 -shop/b"], "the same version may have another content");
  client.openWatch().send(modified(pod("a", "92")));
  await go();
  t.is(told.at(-1), "~shop/a=92");
});

test("a watch that is heard by bookmarks runs for minutes; one that nothing is heard of is followed by short ones", async (t) => {
  const { client, go, start } = follow(t);
  await start([], "10");
  const long = client.openWatch();
  t.like(long.options, { timeoutSeconds: 900, silenceMs: 70_000 });
  for (let minute = 1; minute < 15; minute++) {
    await go(60_000);
    long.send(bookmark(`${10 + minute}`));
  }
  long.end();
  await go();
  t.is(client.openWatch().options.timeoutSeconds, 900);
  await go(70_000);
  t.like(client.openWatch().options, { timeoutSeconds: 43, silenceMs: 55_000 });
});

test("what a projection does not want is no object; what it cannot read stays as it was", async (t) => {
  const { client, go, start, told, rows, reflector } = follow(t, {
    project: ({ metadata, bad, done }) => {
      if (bad === true) throw new Error("unreadable");
      return done === true ? null : (metadata.resourceVersion ?? "");
    },
  });
  await start([pod("a", "1"), pod("b", "2"), pod("c", "3", { bad: true }), pod("d", "4", { done: true })], "10");
  t.deepEqual(told, ["+shop/a=1 +shop/b=2"]);
  const watch = client.openWatch();
  watch.send(modified(pod("a", "11", { bad: true })), modified(pod("b", "12", { done: true })));
  await go();
  t.deepEqual(told.slice(1), ["-shop/b"]);
  t.is(rows.get("shop/a"), "1");
  t.is(reflector.status().counts.rejected, 2);
  t.is(reflector.status().stale, null);
});
