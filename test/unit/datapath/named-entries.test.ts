/** Addresses of names in the kernel: entries of a set that come and go in place. */
import test from "ava";
import fc from "fast-check";
import type { CompiledDirection, CompiledPrefix, CompiledSet } from "../../../src/compute/desired.ts";
import { contentDigest, encodeSet, rowOf } from "../../../src/datapath/policy-encode.ts";
import { PolicySetReconciler } from "../../../src/datapath/policy-sets.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";
import { address, direction, openDirection, prefix, set } from "./world.ts";

const named = { names: [{ pattern: { kind: "name", text: "api.example.com" }, groups: [0] }] } as const;

/** @param addresses with their groups */
function namedSet(
  addresses: Readonly<Record<string, readonly number[]>>,
  fixed: readonly CompiledPrefix[] = [],
  /** Whose it is alone. */
  owner = "",
): CompiledSet {
  const egress: CompiledDirection = { ...direction([1, 2]), ...named, outsideOnly: [0], prefixes: fixed };
  const base = set("web", openDirection, egress);
  const entries = new Map(
    Object.entries(addresses).map(([text, groups]) => {
      const { family, text: canonical } = address(text);
      return [canonical, { prefix: prefix(`${canonical}/${family === 4 ? 32 : 128}`), groups }] as const;
    }),
  );
  const prefixes = new Map(fixed.map((each) => [each.prefix.text, each]));
  for (const each of entries.values()) prefixes.set(each.prefix.text, each);
  return {
    ...set("web", openDirection, { ...egress, prefixes: [...prefixes.values()] }),
    named: { set: "web", base: base.digest + owner, prefixes: fixed, entries },
  };
}

async function reconciler(kernel: FakeKernel): Promise<PolicySetReconciler> {
  const made = new PolicySetReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

/** What is in the kernel under a number, as a digest. */
function contentOf(kernel: FakeKernel, number: number): string {
  const maps = ["policy_peer", "policy_prefix4", "policy_prefix6", "policy_port", "policy_set"] as const;
  return contentDigest(
    maps.flatMap((map) =>
      [...kernel.entries(map)].flatMap(([key, value]) => {
        const { set: found, row } = rowOf(map, Buffer.from(key, "latin1"), value);
        return found === number ? [row] : [];
      }),
    ),
  );
}

test("a new address is one write under the set's number, and takes nothing away", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  await sets.write([namedSet({ "203.0.113.7": [0] })]);
  kernel.journal.length = 0;
  const next = namedSet({ "203.0.113.7": [0], "203.0.113.8": [0] });
  t.deepEqual(await sets.write([next]), []);
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["update policy_prefix4"],
  );
  t.is(sets.numberOf(next), 1);
  t.false(sets.isLessened(1));
});

test("an address that goes is one deletion, announced before, and flows of the set are judged again", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  await sets.write([namedSet({ "203.0.113.7": [0], "2001:db8::7": [0] })]);
  kernel.journal.length = 0;
  let writesBefore = -1;
  await sets.write([namedSet({ "203.0.113.7": [0] })], async () => {
    writesBefore = kernel.journal.length;
  });
  t.is(writesBefore, 0);
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["delete policy_prefix6"],
  );
  t.true(sets.isLessened(1));
  sets.forgetLessened();
  t.false(sets.isLessened(1));
});

test("an address that a rule writes too keeps what the rule says when no name gives it any more", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const fixed = [{ prefix: prefix("203.0.113.7/32"), groups: [1] }];
  await sets.write([namedSet({ "203.0.113.7": [0, 1] }, fixed)]);
  const bare = namedSet({}, fixed);
  await sets.write([bare]);
  t.is(contentOf(kernel, 1), contentDigest(encodeSet(bare)));
});

test("a restarted agent knows a set by its rules and addresses, and moves on from there", async (t) => {
  const kernel = new FakeKernel();
  await (await reconciler(kernel)).write([namedSet({ "203.0.113.7": [0] })]);
  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.write([namedSet({ "203.0.113.7": [0] })]);
  t.deepEqual(kernel.journal, []);
  await next.write([namedSet({ "203.0.113.7": [0], "2001:db8::9": [0] })]);
  t.is(kernel.journal.length, 1);
  t.is(await next.read(), 0, "the comparison with the kernel finds nothing");
  t.true(await next.remove(new Set()));
  t.is(kernel.entries("policy_prefix4").size + kernel.entries("policy_prefix6").size, 0, "all of it goes with the set");
});

test("sets of equal content that are about names share no number: what one learns is not open to the other", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const of = (owner: string, ...texts: readonly string[]) =>
    namedSet(Object.fromEntries(texts.map((text) => [text, [0]])), [], owner);
  // Equal rows without any name: to a group of CIDRs that is empty, say.
  const plain = set("plain", openDirection, { ...direction([1, 2]), outsideOnly: [0] });
  await sets.write([of("one"), of("two"), plain]);
  const numbers = (known: PolicySetReconciler, ...all: readonly CompiledSet[]) =>
    all.map((each) => known.numberOf(each));
  t.deepEqual(numbers(sets, of("one"), of("two"), plain), [1, 2, 3]);
  await sets.write([of("one", "203.0.113.7"), of("two"), plain]);
  t.is(contentOf(kernel, 1), contentDigest(encodeSet(of("one", "203.0.113.7"))));
  t.is(contentOf(kernel, 2), contentDigest(encodeSet(of("two"))));
  t.is(contentOf(kernel, 3), contentDigest(encodeSet(plain)));
  await sets.write([of("one", "203.0.113.7"), of("two", "203.0.113.7"), plain]);

  // The next agent finds two of equal content, and each pod takes one.
  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.write([plain, of("one", "203.0.113.7"), of("two", "203.0.113.7")]);
  t.deepEqual(kernel.journal, []);
  t.deepEqual(numbers(next, of("one"), of("two"), plain), [1, 2, 3]);
  await next.write([plain, of("one"), of("two", "203.0.113.7")]);
  t.is(contentOf(kernel, 1), contentDigest(encodeSet(of("one"))));
  t.is(contentOf(kernel, 2), contentDigest(encodeSet(of("two", "203.0.113.7"))));
  t.is(await next.read(), 0);
  await next.write([of("three"), plain]);
  await next.remove(new Set([3, next.numberOf(of("three")) ?? 0]));
  t.deepEqual(numbers(next, of("three"), plain), [4, 3]);
});

test("an address that finds no room is told by name and tried again; the others are written", async (t) => {
  const kernel = new FakeKernel({ policy_prefix4: 2 });
  const sets = await reconciler(kernel);
  await sets.write([namedSet({ "203.0.113.7": [0] })]);
  const three = namedSet({ "203.0.113.7": [0], "203.0.113.8": [0], "203.0.113.9": [0] });
  const failures = await sets.write([three]);
  t.is(failures.length, 1);
  t.regex(failures[0]?.entry ?? "", /^203\.0\.113\.9, an address of a name/);
  t.is(sets.numberOf(three), 1);
  const two = namedSet({ "203.0.113.8": [0], "203.0.113.9": [0] });
  await sets.write([two]);
  t.deepEqual(await sets.write([two]), [], "what went made room");
  t.is(contentOf(kernel, 1), contentDigest(encodeSet(two)));
});

test("an entry that a stranger removed makes the set another one, written anew", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  await sets.write([namedSet({})]);
  const wanted = namedSet({ "203.0.113.7": [0] });
  await sets.write([wanted]);
  for (const key of [...kernel.entries("policy_prefix4").keys()]) {
    kernel.native.mapDelete(kernel.map("policy_prefix4").handle, Buffer.from(key, "latin1"));
  }
  t.is(await sets.read(), 1);
  t.is(sets.numberOf(wanted), null);
  await sets.write([wanted]);
  t.is(sets.numberOf(wanted), 2);
});

const texts = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "2001:db8::1", "2001:db8::2"] as const;
const someAddresses = fc.dictionary(fc.constantFrom(...texts), fc.subarray([0, 1], { minLength: 1 }));

test("whatever addresses came and went, and whatever was refused meanwhile, the kernel has what a set written at once has", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ addresses: someAddresses, refuses: fc.boolean(), restarts: fc.boolean() }), {
        minLength: 1,
        maxLength: 8,
      }),
      async (steps) => {
        const kernel = new FakeKernel();
        let sets = await reconciler(kernel);
        const fixed = [
          { prefix: prefix("203.0.113.0/30"), groups: [1] },
          { prefix: prefix("203.0.113.2/32"), groups: [] },
        ];
        let last = namedSet({}, fixed);
        for (const { addresses, refuses, restarts } of steps) {
          if (restarts) sets = await reconciler(kernel);
          kernel.refuse = ({ op, map }) =>
            refuses && op === "update" && map === "policy_prefix6" ? failure("ENOMEM", 12, "write to map", map) : null;
          last = namedSet(addresses, fixed);
          await sets.write([last]);
        }
        kernel.refuse = () => null;
        await sets.write([last]);
        t.is(contentOf(kernel, sets.numberOf(last) ?? 0), contentDigest(encodeSet(last)));
      },
    ),
    { numRuns: 200 },
  );
});
