import test from "ava";
import fc from "fast-check";
import { LineSplitter } from "../../../src/kube/split-lines.ts";
import { cut } from "./pieces.ts";

test("lines come out whole wherever the stream is cut, in the middle of a character too", (t) => {
  const line = fc.string({ unit: "binary" }).map((text) => text.replaceAll("\n", "") || "ü€😀");
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(64)), (lines, sizes) => {
      const splitter = new LineSplitter(1_000_000);
      const seen = cut(Buffer.from(lines.map((each) => `${each}\n`).join("")), sizes).flatMap((piece) => [
        ...splitter.push(piece),
      ]);
      t.is(JSON.stringify(seen), JSON.stringify(lines));
      t.is(splitter.rest, 0);
    }),
  );
});

test("what has come of the next line is counted, and empty lines are nothing", (t) => {
  const splitter = new LineSplitter(100);
  t.deepEqual(splitter.push(Buffer.from("\n\none\n\ntw")), ["one"]);
  t.is(splitter.rest, 2);
  t.deepEqual(splitter.push(Buffer.from("o\n")), ["two"]);
  t.is(splitter.rest, 0);
});

test("a line that never ends is refused before it fills the memory", (t) => {
  const splitter = new LineSplitter(10);
  t.deepEqual(splitter.push(Buffer.from("0123456789")), []);
  t.throws(() => splitter.push(Buffer.from("x")), { instanceOf: RangeError, message: /more than 10 bytes/ });
});
