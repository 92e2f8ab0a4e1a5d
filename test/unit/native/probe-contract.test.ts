import test from "ava";
import { packIds, packRequests, packWatches, readAnswers, readCounts } from "../../../src/native/probe-contract.ts";

test("requests are packed as the addon reads them", (t) => {
  const request = { port: 4240, size: 1500, ifindex: 7 };
  const packed = packRequests([
    { kind: "icmp", sequence: 1, address: Uint8Array.of(192, 0, 2, 1), ...request },
    { kind: "tcp", sequence: 0xffff, address: new Uint8Array(16).fill(0xfd), ...request },
  ]);
  t.is(packed.toString("hex", 0, 28), `0000${"0100"}${"9010"}${"dc05"}${"07000000"}${"c0000201"}${"00".repeat(12)}`);
  t.is(packed.toString("hex", 28), `0101${"ffff"}${"9010"}${"dc05"}${"07000000"}${"fd".repeat(16)}`);
});

test("answers are read; of a kind that nobody knows, and cut off, they are none", (t) => {
  const one = (kind: number) => {
    const packed = Buffer.alloc(32, 0);
    packed.writeUInt16LE(500, 0);
    packed[2] = kind;
    packed[3] = 1;
    packed.writeUInt32LE(7, 4);
    packed.writeUInt32LE(1400, 8);
    packed.writeUInt32LE(321, 12);
    packed.set([192, 0, 2, 9], 16);
    return packed;
  };
  const answers = readAnswers(Buffer.concat([one(2), one(77), one(0), one(1).subarray(0, 20)]));
  t.deepEqual(
    answers.map(({ event, sequence, large, watch, value, rttUs, from }) => [
      ...[event, sequence, large, watch, value, rttUs],
      [...from.subarray(0, 4)],
    ]),
    [
      ["too_large", 500, true, 7, 1400, 321, [192, 0, 2, 9]],
      ["reply", 500, true, 7, 1400, 321, [192, 0, 2, 9]],
    ],
  );
});

test("watches are packed as the addon reads them, and what they have found is read", (t) => {
  const packed = packWatches([
    {
      ...{ id: 9, kind: "icmp", address: Uint8Array.of(10, 0, 2, 0), port: 0, ifindex: 7, event: "unreachable" },
      ...{ from: Uint8Array.of(192, 0, 2, 2), intervalMs: 5_000.4 },
      large: { bytes: 1500, intervalMs: 30_000, firstMs: 7_000 },
    },
  ]);
  const address = (text: string) => `${text}${"00".repeat(12)}`;
  t.is(
    packed.toString("hex"),
    `09000000${"00000100"}${"0000dc05"}${"07000000"}${"88130000"}${"30750000"}${"581b0000"}${address("0a000200")}${address("c0000202")}`,
  );
  t.is(packIds([1, 0x01020304]).toString("hex"), "0100000004030201");
  const numbers = [9, 3, 1_200, 2, 250, 260, 10, 1, 0xffff_ffff, 0];
  t.deepEqual(readCounts(packIds(numbers)), [
    { id: 9, sent: 3, answeredAgoMs: 1_200, timesUs: Uint32Array.of(250, 260) },
    { id: 10, sent: 1, answeredAgoMs: null, timesUs: new Uint32Array() },
  ]);
});
