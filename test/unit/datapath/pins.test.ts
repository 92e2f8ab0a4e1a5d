import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { Pins } from "../../../src/datapath/pins.ts";

test("the mark of addresses that change hands is there until it is cleared, each time, also one that an agent before has left", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-pins-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const pins = new Pins(folder);
  for (let change = 0; change < 2; change++) {
    await pins.markUnsettled();
    await pins.markUnsettled();
    t.true(await pins.isUnsettled());
    await pins.clearUnsettled();
    await pins.clearUnsettled();
    t.false(await pins.isUnsettled());
  }
  await pins.markUnsettled();
  const next = new Pins(folder);
  t.true(await next.isUnsettled());
  await next.clearUnsettled();
  t.false(await next.isUnsettled());
});
