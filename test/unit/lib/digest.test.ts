import { createHash } from "node:crypto";
import test from "ava";
import { sha256 } from "../../../src/lib/digest.ts";

test("digests are those of SHA-256, at every length around the block size and beyond ASCII", (t) => {
  const texts = [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 1000].map((length) => "x".repeat(length));
  for (const text of [...texts, "ü€😀".repeat(30)]) {
    t.is(sha256(text), createHash("sha256").update(text).digest("hex"), `${text.length}`);
  }
});
