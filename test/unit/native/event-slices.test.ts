/** Batches of a monitor are told in slices: a kernel that has much to say stops nobody else. */
import test from "ava";
import { setImmediate as turn } from "node:timers/promises";
import type { NetlinkEvent } from "../../../src/native/netlink-contract.ts";
import { EventSlices } from "../../../src/native/netlink-rows.ts";
import { WireWriter } from "../../../src/native/wire.ts";

/** Addresses that came, with these indexes of their devices, as the addon packs them. */
function batch(from: number, count: number): Buffer {
  const out = new WireWriter(0);
  out.u32(count);
  for (let index = from; index < from + count; index++) {
    out.u8(2);
    out.u8(0);
    out.u32(index);
    out.u32(0);
    out.u8(4);
    out.u8(24);
    out.u8(0);
    out.bytes(Buffer.of(192, 0, 2, 1));
  }
  return out.finish();
}

const indexes = (events: readonly NetlinkEvent[]) =>
  events.map((event) => (event.kind === "address" ? event.row.index : -1));
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

test("a small batch is told at once", (t) => {
  const told: number[] = [];
  new EventSlices((events) => told.push(...indexes(events))).take(batch(0, 5));
  t.deepEqual(told, [0, 1, 2, 3, 4]);
});

test("a large one is told with turns of others in between, and what comes meanwhile after it", async (t) => {
  const told: number[] = [];
  const slices: number[] = [];
  const listener = new EventSlices((events) => {
    told.push(...indexes(events));
    slices.push(events.length);
  });
  listener.take(batch(0, 3_000));
  t.true(told.length < 1_000, `${told.length} at once`);
  listener.take(batch(3_000, 2));
  let turns = 0;
  while (told.length < 3_002 && turns < 100) {
    await turn();
    turns++;
  }
  t.deepEqual(told, numbers(0, 3_002));
  t.true(turns >= slices.length - 1, `${turns} turns for ${slices.length} slices`);
});

test("a listener that fails once hears the rest, and one that was ended nothing more", async (t) => {
  const told: number[] = [];
  let fails = true;
  const listener = new EventSlices((events) => {
    told.push(...indexes(events));
    if (!fails) return;
    fails = false;
    throw new Error("once");
  });
  t.throws(() => listener.take(batch(0, 600)), { message: "once" });
  while (told.length < 600) await turn();
  t.deepEqual(told, numbers(0, 600));

  listener.take(batch(600, 2_000));
  const { length } = told;
  listener.end();
  for (let at = 0; at < 20; at++) await turn();
  listener.take(batch(0, 1));
  t.is(told.length, length);
});
