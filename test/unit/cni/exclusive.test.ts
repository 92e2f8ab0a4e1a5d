import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { exclusively } from "../../../src/cni/install/exclusive.ts";
import { systemClock } from "../../../src/lib/clock.ts";

const folder = () => join(tmpdir(), `tandem-exclusive-${Math.random()}`);

/** Work that ends when it is told to. */
function held() {
  let end = () => {};
  let began = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const hasBegun = new Promise<void>((resolve) => {
    began = resolve;
  });
  const work = async () => {
    began();
    await ended;
  };
  return { work, end, hasBegun };
}

test("one at a time, each in the end; other folders do not wait, and a failure lets go", async (t) => {
  const place = folder();
  let inside = 0;
  let most = 0;
  const work = async () => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
  };
  await Promise.all(Array.from({ length: 10 }, () => exclusively(place, systemClock, work)));
  t.is(most, 1);
  const first = held();
  const holding = exclusively(place, systemClock, first.work);
  await first.hasBegun;
  t.is(await exclusively(folder(), systemClock, async () => "at once"), "at once");
  first.end();
  await holding;
  await t.throwsAsync(
    exclusively(place, systemClock, async () => {
      throw new Error("disk");
    }),
    { message: "disk" },
  );
  t.is(await exclusively(place, systemClock, async () => 7), 7);
});

test("who waits too long is told", async (t) => {
  const place = folder();
  const first = held();
  const holding = exclusively(place, systemClock, first.work);
  await first.hasBegun;
  let ms = 0;
  const clock = {
    monotonicMs: () => ms,
    sleep: async (pauseMs: number) => {
      ms += pauseMs;
    },
  };
  await t.throwsAsync(
    exclusively(place, clock, async () => t.fail()),
    { code: "CNI_INSTALL_BUSY" },
  );
  t.true(ms >= 10_000);
  first.end();
  await holding;
});
