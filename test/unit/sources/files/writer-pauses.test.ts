import test from "ava";
import type { Clock } from "../../../../src/lib/clock.ts";
import { type FileState, WriterPauses } from "../../../../src/sources/files/writer-pauses.ts";

/** Renamed, or anything else but written, after the last write. */
const moved: FileState = { size: 9n, mtimeNs: 1n, ctimeNs: 2n };
const written: FileState = { size: 9n, mtimeNs: 1n, ctimeNs: 1n };

function pausesAt() {
  let now = 0;
  const clock: Clock = {
    now: () => now,
    monotonicMs: () => now,
    sleep: () => Promise.resolve(),
    setTimer: () => ({ cancel: () => undefined }),
  };
  const pauses = new WriterPauses(clock);
  return {
    pauses,
    after(ms: number, times = moved) {
      now += ms;
      pauses.begin();
      return pauses.readiness("a", times);
    },
  };
}

test("a file that nothing was heard of is read if it changed", (t) => {
  t.is(pausesAt().after(0), "ifChanged");
});

test("a file that was renamed into its place is read at once, and then only if it changed", (t) => {
  const { pauses, after } = pausesAt();
  pauses.take("name", "a");
  t.is(after(0), "now");
  t.is(after(0), "ifChanged");
});

test("a file that is new under its name and was not moved there may be written next: it gets a moment to say so", (t) => {
  const { pauses, after } = pausesAt();
  pauses.take("name", "a");
  t.is(after(0, written), "later");
  t.true(pauses.waiting);
  t.is(after(5, written), "later");
  t.is(after(5, written), "now");
  t.is(after(0, written), "ifChanged");
});

test("an empty file that is new under its name may be written next, whatever else was done to it", (t) => {
  const { pauses, after } = pausesAt();
  pauses.take("name", "a");
  t.is(after(0, { ...moved, size: 0n }), "later");
  t.is(after(10, { ...moved, size: 0n }), "now");
});

test("a file that was there is gone when it stayed away, not while it is made anew", (t) => {
  const { pauses, after } = pausesAt();
  t.is(pauses.absence("a"), "later");
  t.true(pauses.waiting);
  t.is(after(9), "ifChanged");
  t.is(pauses.absence("a"), "later", "away once more");
  after(0);
  t.is(pauses.absence("b"), "later");
  after(10);
  t.is(pauses.absence("b"), "gone");
  t.is(pauses.absence("b"), "later", "another one of that name");
});

test("a file that is written in place is read when its writer paused; somebody has to come again", (t) => {
  const { pauses, after } = pausesAt();
  pauses.take("name", "a");
  pauses.take("content", "a");
  t.is(after(30), "later");
  t.true(pauses.waiting);
  pauses.take("content", "a");
  t.is(after(30), "later");
  t.is(after(30), "now");
  t.false(pauses.waiting);
  t.is(after(0), "ifChanged");
});

test("a writer that never pauses is waited for one second", (t) => {
  const { pauses, after } = pausesAt();
  const answers = Array.from({ length: 40 }, () => {
    pauses.take("content", "a");
    return after(30);
  });
  t.is(answers.indexOf("now"), 33, "990 ms after the first event");
});

test("a file that is replaced while it is written is whole", (t) => {
  const { pauses, after } = pausesAt();
  pauses.take("content", "a");
  pauses.take("name", "a");
  t.is(after(1), "now");
});

test("files that went are forgotten when a look ends, and not what was heard of meanwhile", (t) => {
  const { pauses, after } = pausesAt();
  for (const path of ["a", "gone", "written"]) pauses.take("name", path);
  pauses.take("content", "written");
  t.is(after(1), "now");
  pauses.take("name", "new");
  pauses.end();
  t.is(pauses.size, 2);
  t.is(pauses.readiness("gone", moved), "ifChanged");
  t.is(pauses.readiness("new", moved), "now");
  t.is(pauses.readiness("written", moved), "later");
});
