/** Whatever bytes come, reading them ends, in a response or a MessageError; what was written is read. TANDEM_FUZZ_RUNS sets how many. */
import test from "ava";
import fc from "fast-check";
import { addressesOf } from "../../../src/dns/addresses.ts";
import { decodeResponse, encodeQuery } from "../../../src/dns/message.ts";
import { MessageError, readName, writeName } from "../../../src/dns/name-bytes.ts";
import { A, AAAA, CNAME, written } from "../../unit/dns/wire.ts";

const numRuns = Number(process.env.TANDEM_FUZZ_RUNS ?? 20_000);

const label = fc.string({ minLength: 1, maxLength: 8, unit: fc.constantFrom(..."abcxyz019-_") });
const names = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));
const few = fc.constantFrom("api.test", "cdn.test", "edge.test", "a.b");
const record = fc.oneof(
  fc.record({
    name: few,
    type: fc.constant(A),
    ttl: fc.nat(),
    data: fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
  }),
  fc.record({ name: few, type: fc.constant(AAAA), data: fc.array(fc.nat(255), { minLength: 16, maxLength: 16 }) }),
  fc.record({ name: few, type: fc.constant(CNAME), ttl: fc.nat(), data: few }),
);
const response = fc.record({ id: fc.nat(0xffff), answers: fc.array(record, { maxLength: 6 }) }).map(written);

/** A message with some bytes changed, moved or cut: most get past the header. */
const damaged = fc
  .tuple(
    response,
    fc.array(fc.tuple(fc.nat(200), fc.oneof(fc.nat(255), fc.constantFrom(0xc0, 0, 63, 64, 255))), { maxLength: 6 }),
    fc.nat(200),
    fc.boolean(),
  )
  .map(([bytes, changes, end, cut]) => {
    const copy = Buffer.from(bytes);
    for (const [at, byte] of changes) if (at < copy.length) copy[at] = byte;
    return cut ? copy.subarray(0, Math.min(end, copy.length)) : copy;
  });

function reads(bytes: Buffer): void {
  try {
    const { answers, ...rest } = decodeResponse(bytes);
    if (answers.length > bytes.length) throw new Error("more records than bytes");
    for (const { name } of [...answers, rest.question])
      if (name.length > 1020) throw new Error("a name that is too long");
    addressesOf({ answers, ...rest });
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
  }
}

test("damaged messages are read or refused", (t) => {
  fc.assert(fc.property(damaged, reads), { numRuns });
  t.pass();
});

test("random bytes are read or refused", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => reads(Buffer.from(bytes))),
    { numRuns },
  );
  t.pass();
});

test("a name is read as it was written, and a read one has a form on the wire", (t) => {
  fc.assert(
    fc.property(names, (name) => {
      t.is(readName(writeName(name), 0).name, name);
      t.is(decodeResponse(Buffer.from(encodeQuery(1, { name, type: 1 }, false)).fill(0x81, 2, 3)).question.name, name);
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 5 }), (labels) => {
      const bytes = Buffer.from([...labels.flatMap((each) => [each.length, ...each]), 0]);
      const { name } = readName(bytes, 0);
      t.is(readName(writeName(name), 0).name, name);
    }),
  );
});

test("only addresses that the question's name or its aliases have are the name's", (t) => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 8 }), (answers) => {
      const found = addressesOf(decodeResponse(written({ answers })));
      let name = "api.test";
      const way = new Set<string>();
      while (!way.has(name)) {
        way.add(name);
        const next = answers.find((each) => each.name === name && each.type === CNAME)?.data;
        if (typeof next === "string") name = next;
      }
      const own = answers
        .filter((each) => each.type === A && way.has(each.name))
        .map(({ data }) => String(data).replaceAll(",", "."));
      for (const { address } of found) t.true(own.includes(address.text));
      if (answers.some((each) => each.type === A && each.name === "api.test")) t.true(found.length > 0);
    }),
  );
});
