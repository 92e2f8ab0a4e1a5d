/** Sets filled with the addresses of names, step by step, say what one table of all blocks would say. */
import test from "ava";
import fc from "fast-check";
import type { CompiledDirection, CompiledPrefix, CompiledSet, DesiredEndpoint } from "../../../src/compute/desired.ts";
import { NamedSets } from "../../../src/compute/names/named-sets.ts";
import { makeSet } from "../../../src/compute/policy/compile.ts";
import { closePrefixes, type GroupBlock } from "../../../src/compute/policy/prefix-sets.ts";
import { hostBlock } from "../../../src/compute/policy/host-block.ts";
import { meansName, namePattern } from "../../../src/model/dns-names.ts";
import { nameKey } from "../../../src/model/name-key.ts";
import { type Address, prefixContains } from "../../../src/model/ip.ts";
import { TableStore } from "../../../src/model/store.ts";
import { address, prefix } from "../../support/arbitrary-rows.ts";

const texts = ["203.0.113.1", "203.0.113.2", "203.0.113.9", "198.51.100.1", "2001:db8::1", "2001:db8:1::1"];
const addresses = texts.map(address);
const names = ["a.test", "b.test", "c.other"] as const;
const patterns = ["a.test", "*.test", "*", "b.*"] as const;

const blocks = fc.array(
  fc
    .tuple(
      fc.nat(3),
      fc.constantFrom("203.0.113.0/24", "203.0.113.0/30", "203.0.113.1/32", "2001:db8::/32", "0.0.0.0/0"),
      fc.subarray(["203.0.113.2/32", "203.0.113.0/31"]),
    )
    .map(
      ([group, text, except]): GroupBlock => ({
        group,
        block: { prefix: prefix(text), except: except.map(prefix), outsideOnly: true },
      }),
    ),
  { maxLength: 4 },
);
const used = fc.uniqueArray(
  fc.record({ text: fc.constantFrom(...patterns), groups: fc.subarray([0, 1, 2, 3], { minLength: 1 }) }),
  { selector: ({ text }) => text, minLength: 1 },
);
const steps = fc.array(
  fc.record({
    name: fc.constantFrom(...names),
    given: fc.option(fc.subarray(addresses), { nil: null }),
    endpoint: fc.constantFrom(null, "one", "two"),
  }),
  { minLength: 1, maxLength: 8 },
);

const closed: CompiledDirection = {
  enforced: true,
  denies: 0,
  allows: 4,
  redirects: 0,
  outsideOnly: [0, 1, 2, 3],
  peers: new Map(),
  prefixes: [],
  ports: [],
  origins: [["a"], ["b"], ["c"], ["d"]],
};

/** Of the longest prefix. */
function groupsAt(table: readonly CompiledPrefix[], of: Address): readonly number[] {
  const holding = table.filter((each) => prefixContains(each.prefix, of));
  return holding.sort((a, b) => b.prefix.length - a.prefix.length)[0]?.groups ?? [];
}

/** Pods with the set "web". */
const endpoints = ["one", "two"].map(
  (containerId, at) =>
    ({ row: { containerId, id: at + 1 }, identity: 300, set: "web", audit: false }) as unknown as DesiredEndpoint,
);

test("names that come and go leave what all blocks together say; a fresh start says the same, with the same digest", (t) => {
  fc.assert(
    fc.property(blocks, used, steps, (fixed, patternsUsed, changes) => {
      const compiled = patternsUsed.map(({ text, groups }) => ({ pattern: namePattern("pattern", text), groups }));
      const egress = { ...closed, prefixes: closePrefixes(fixed), names: compiled };
      const base = makeSet("web", egress, { ...closed });
      const store = new TableStore();
      const sets = new NamedSets({ perEndpoint: true });
      const own = (all: ReturnType<NamedSets["fill"]>, at: number): CompiledSet | undefined =>
        all.sets.find(({ key }) => key === all.endpoints[at]?.set);
      let last = sets.fill([base], endpoints, store.snapshot().names);
      for (const { name, given, endpoint } of changes) {
        const key = nameKey(endpoint, name);
        if (given === null || given.length === 0) store.delete("names", key);
        else store.upsert("names", key, { name, ...(endpoint !== null && { endpoint }), addresses: given });
        const rows = store.snapshot().names;
        last = sets.fill([base], endpoints, rows);
        t.deepEqual(
          last.sets.map(({ named }) => named?.set),
          ["web", "web"],
        );
        for (const [at, { row }] of endpoints.entries()) {
          const set = own(last, at);
          t.is(own(sets.fill([base], endpoints, rows), at), set, "nothing changed: the same object");
          const all: GroupBlock[] = compiled.flatMap(({ pattern, groups }) =>
            [...rows.values()]
              .filter((each) => each.endpoint === undefined || each.endpoint === row.containerId)
              .filter((each) => meansName(pattern, each.name))
              .flatMap((each) => each.addresses)
              .flatMap((each) => groups.map((group) => ({ group, block: hostBlock(each, true) }))),
          );
          const expected = closePrefixes([...fixed, ...all]);
          for (const each of addresses) {
            t.deepEqual(groupsAt(set?.egress.prefixes ?? [], each), groupsAt(expected, each), each.text);
          }
        }
      }
      const rows = store.snapshot().names;
      const fresh = new NamedSets({ perEndpoint: true }).fill([base], endpoints, rows);
      const entries = (set: CompiledSet | undefined) =>
        [...(set?.named?.entries ?? [])].map(([text, { groups }]) => `${text} ${groups.join()}`).sort();
      for (const at of endpoints.keys()) {
        const [known, anew] = [own(last, at), own(fresh, at)];
        t.is(anew?.digest, known?.digest);
        t.deepEqual(entries(anew), entries(known));
        t.deepEqual(anew?.egress, known?.egress);
      }
      t.not(own(fresh, 0)?.named?.base, own(fresh, 1)?.named?.base);
      const shared = new NamedSets().fill([base], endpoints, rows);
      t.deepEqual([shared.sets.length, shared.endpoints], [1, endpoints]);
    }),
    { numRuns: 300 },
  );
});
