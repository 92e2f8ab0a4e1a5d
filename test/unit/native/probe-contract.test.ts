import test from "ava";
import { packRequests, readAnswers } from "../../../src/native/probe-contract.ts";

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
    const packed = Buffer.alloc(28, 0);
    packed.writeUInt16LE(500, 0);
    packed[2] = kind;
    packed.writeUInt32LE(1400, 4);
    packed.writeUInt32LE(321, 8);
    packed.set([192, 0, 2, 9], 12);
    return packed;
  };
  const answers = readAnswers(Buffer.concat([one(2), one(77), one(0), one(1).subarray(0, 20)]));
  t.deepEqual(
    answers.map(({ event, sequence, value, rttUs, from }) => [event, sequence, value, rttUs, [...from.subarray(0, 4)]]),
    [
      ["too_large", 500, 1400, 321, [192, 0, 2, 9]],
      ["reply", 500, 1400, 321, [192, 0, 2, 9]],
    ],
  );
});
