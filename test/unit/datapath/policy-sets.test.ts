import test from "ava";
import fc from "fast-check";
import { PolicySetReconciler } from "../../../src/datapath/policy-sets.ts";
import {
  contentDigest,
  decodeGroups,
  encodeGroups,
  encodeSet,
  numberedKey,
  rowOf,
} from "../../../src/datapath/policy-encode.ts";
import { policyPeerKey, policyPortKey, policySet as policySetCodec } from "../../../src/native/layouts.gen.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";
import { direction, openDirection, prefix, set } from "./world.ts";

async function reconciler(kernel: FakeKernel): Promise<PolicySetReconciler> {
  const made = new PolicySetReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

test("groups to bits and back", (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 511 })), (groups) => {
      const sorted = [...groups].sort((left, right) => left - right);
      t.deepEqual(decodeGroups(encodeGroups(groups)), sorted);
    }),
  );
  t.throws(() => encodeGroups([512]), { instanceOf: RangeError });
});

test("a set read from the kernel has the digest of the one that was compiled, in any order of entries", (t) => {
  const compiled = set(
    "web",
    {
      ...direction([1, 2, 3], [4]),
      outsideOnly: [2],
      prefixes: [
        { prefix: prefix("192.0.2.0/24"), groups: [1] },
        { prefix: prefix("192.0.2.128/25"), groups: [] },
        { prefix: prefix("2001:db8::/32"), groups: [2] },
      ],
      ports: [
        { protocol: 6, port: 8080, bits: 24, groups: [1] },
        { protocol: 6, port: 8191, bits: 19, groups: [2] },
        { protocol: 0, port: 0, bits: 0, groups: [0, 3] },
      ],
    },
    direction([7]),
  );
  const rows = encodeSet(compiled);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      fc.shuffledSubarray([...rows.keys()], { minLength: rows.length }),
      (number, order) => {
        const read = order.flatMap((index) => {
          const row = rows[index];
          if (row === undefined) return [];
          const back = rowOf(row.map, numberedKey(row, number), row.value);
          t.is(back.set, number);
          return back.row;
        });
        t.is(contentDigest(read), contentDigest(rows));
      },
    ),
  );
});

test("ports of a range are prefixes whose free bits are zero; what enforces nothing has no rows", (t) => {
  const rows = encodeSet(
    set("web", { ...direction([1]), ports: [{ protocol: 6, port: 8191, bits: 19, groups: [0] }] }),
  );
  const port = rows.find(({ map }) => map === "policy_port");
  const key = policyPortKey.decode(port?.key ?? Buffer.alloc(12));
  t.deepEqual([key.prefixlen, key.protocol, ...key.port], [51, 6, 0x1f, 0xe0]);
  t.deepEqual(encodeSet(set("open", openDirection)), []);
  const closed = encodeSet(set("closed", direction([])));
  t.deepEqual(
    closed.map(({ map }) => map),
    ["policy_set"],
  );
  t.is(policySetCodec.decode(closed[0]?.value ?? Buffer.alloc(72)).words, 1);
});

test("a set is written whole under a new number before anything else, its shape last", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const [first, second] = [set("web", direction([1, 2])), set("web", direction([1, 3]))];
  await sets.write([first]);
  t.is(sets.numberOf(first), 1);
  t.is(kernel.journal.at(-1)?.map, "policy_set");
  await sets.write([second]);
  t.is(sets.numberOf(second), 2);
  t.is(kernel.entries("policy_peer").size, 4, "the old one is there until nobody uses it");
  await sets.remove(new Set([2]));
  t.is(kernel.entries("policy_peer").size, 2);
  t.is(sets.numberOf(first), null);
});

test("two identities with equal content share a set", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const [web, api] = [set("web", direction([1])), set("api", direction([1]))];
  await sets.write([web, api]);
  t.is(sets.numberOf(web), sets.numberOf(api));
  t.is(kernel.entries("policy_set").size, 1);
});

test("a restarted agent knows sets by their content, and half a set by nothing", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const [web, api] = [set("web", direction([1, 2])), set("api", direction([3], [4]))];
  await sets.write([web, api]);
  // the agent ended while it wrote set 9
  kernel.set("policy_peer", policyPeerKey.encode({ setDirection: 19, identity: 5 }), Buffer.alloc(64, 1));

  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.write([api, web]);
  t.deepEqual(kernel.journal, []);
  t.is(next.numberOf(web), sets.numberOf(web));
  t.is(next.numberOf(api), sets.numberOf(api));
  t.is(next.compiledOf(next.numberOf(api) ?? 0), api);
  t.true(await next.remove(new Set([1, 2])));
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["delete policy_peer"],
  );
  const other = set("other", direction([9]));
  await next.write([other]);
  t.is(next.numberOf(other), 10, "numbers go on");
});

test("a set that cannot be written whole is not there at all, others are", async (t) => {
  const kernel = new FakeKernel({ policy_peer: 3 });
  const sets = await reconciler(kernel);
  const [small, large] = [set("small", direction([1, 2])), set("large", direction([3, 4, 5]))];
  const failures = await sets.write([small, large]);
  t.deepEqual(
    failures.map(({ map, entry }) => `${map}: ${entry}`),
    ["policy_peer: policy of identity large", "policy_peer: policy of identity large"],
  );
  t.is(sets.numberOf(large), null);
  t.is(sets.numberOf(small), 1);
  t.is(kernel.entries("policy_peer").size, 2);
  t.is(kernel.entries("policy_set").size, 1);
});

test("entries that a stranger changed make the set another one, and the wanted one is written anew", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  const web = set("web", direction([1, 2]));
  await sets.write([web]);
  const [key] = kernel.entries("policy_peer").keys();
  kernel.set("policy_peer", Buffer.from(key ?? "", "latin1"), Buffer.alloc(64, 0xff));
  t.is(await sets.read(), 1);
  t.is(sets.numberOf(web), null);
  await sets.write([web]);
  t.is(sets.numberOf(web), 2);
});

test("an entry that the kernel refuses for another reason holds up its own set only", async (t) => {
  const kernel = new FakeKernel();
  const sets = await reconciler(kernel);
  kernel.refuse = ({ map, key }) =>
    map === "policy_peer" && policyPeerKey.decode(key).identity === 66
      ? failure("ENOMEM", 12, "write to map", map)
      : null;
  const [bad, good] = [set("bad", direction([66])), set("good", direction([1]))];
  const failures = await sets.write([bad, good]);
  t.is(failures.length, 1);
  t.is(sets.numberOf(bad), null);
  kernel.refuse = () => null;
  await sets.write([bad, good]);
  t.not(sets.numberOf(bad), null, "it is tried again");
});
