import test from "ava";
import { compileDirection, makeSet, mostGroups } from "../../../../src/compute/policy/compile.ts";
import { everything, makePortSet } from "../../../../src/compute/policy/port-sets.ts";
import type { Entry } from "../../../../src/compute/policy/resolve.ts";
import type { Action, Block } from "../../../../src/compute/policy/rules.ts";
import { judge } from "../../../support/kernel-verdict.ts";
import { address, prefix } from "../support.ts";

function entry(action: Action, fields: Partial<Entry> = {}): Entry {
  return {
    action,
    l7: action === "redirect" ? "http" : "",
    ports: everything,
    any: false,
    identities: [],
    blocks: [],
    origin: "o",
    ...fields,
  };
}

const tcp = (...ports: readonly number[]) =>
  makePortSet(ports.map((port) => ({ protocol: 6, first: port, last: port })));
const block = (text: string, outsideOnly: boolean, except: readonly string[] = []): Block => ({
  prefix: prefix(text),
  except: except.map(prefix),
  outsideOnly,
});

test("denies come before allows, allows before redirects, whatever the order of the rules", (t) => {
  const entries = [
    entry("redirect", { any: true, ports: tcp(80) }),
    entry("allow", { identities: [[300]] }),
    entry("deny", { identities: [[301]] }),
    entry("allow", { identities: [[301]], ports: tcp(443) }),
  ];
  const compiled = compileDirection(entries, true);
  t.like(compiled, { denies: 1, allows: 2, redirects: 1, enforced: true });
  t.deepEqual(compileDirection([...entries].reverse(), true), compiled);
});

test("rules of equal ports and action are one group, which says where it comes from", (t) => {
  const compiled = compileDirection(
    [
      entry("allow", { identities: [[300]], ports: tcp(80, 81), origin: "b" }),
      entry("allow", {
        identities: [[301, 302]],
        ports: makePortSet([{ protocol: 6, first: 80, last: 81 }]),
        origin: "a",
      }),
    ],
    true,
  );
  t.is(compiled.allows, 1);
  t.deepEqual(compiled.origins, [["a", "b"]]);
  t.deepEqual(
    [...compiled.peers],
    [
      [300, [0]],
      [301, [0]],
      [302, [0]],
    ],
  );
});

test("identities of a group for everybody are not repeated", (t) => {
  const compiled = compileDirection([entry("allow", { any: true }), entry("allow", { identities: [[300]] })], true);
  t.deepEqual([...compiled.peers], [[0, [0]]]);
});

test("blocks that count inside and blocks that do not are two groups of the same ports", (t) => {
  const compiled = compileDirection(
    [
      entry("allow", { blocks: [block("10.0.0.0/8", true)] }),
      entry("allow", { blocks: [block("10.1.0.0/16", false)], identities: [[300]] }),
    ],
    true,
  );
  t.is(compiled.allows, 2);
  t.is(compiled.outsideOnly.length, 1);
  const set = makeSet("s", compiled, compiled);
  const verdict = (text: string, identity: number) =>
    judge(set, "egress", identity, { peer: address(text), protocol: 6, port: 80 });
  t.is(verdict("10.2.0.1", 9), "allow", "outside, in the block that counts outside");
  t.is(verdict("10.2.0.1", 6), "deny", "a node there");
  t.is(verdict("10.1.0.1", 6), "allow", "a node in the block that counts everywhere");
  t.is(verdict("11.0.0.1", 300), "allow");
});

test("a deny of a block holds although a longer prefix is allowed", (t) => {
  const compiled = compileDirection(
    [
      entry("deny", { blocks: [block("10.0.0.0/8", true, ["10.1.0.0/16"])] }),
      entry("allow", { blocks: [block("10.2.0.0/16", true), block("10.1.1.0/24", true)] }),
    ],
    true,
  );
  const set = makeSet("s", compiled, compiled);
  const verdict = (text: string) => judge(set, "egress", 9, { peer: address(text), protocol: 17, port: 53 });
  t.is(verdict("10.2.0.1"), "deny");
  t.is(verdict("10.1.1.1"), "allow", "excepted from the denial");
  t.is(verdict("10.1.2.1"), "deny", "nobody allows it");
});

test("a set of more groups than a vector has bits is refused and opens nothing", (t) => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, port) => entry("allow", { any: true, ports: tcp(port + 1) }));
  const closed = compileDirection([], true);
  t.is(makeSet("s", compileDirection(many(mostGroups), true), closed).refused, null);
  const refused = makeSet("s", compileDirection(many(mostGroups + 1), true), closed);
  t.regex(refused.refused ?? "", /513 groups.*512 is the limit/);
  t.is(refused.egress.allows, 0);
  t.true(refused.egress.enforced);
});

test("equal content has an equal digest, other content another", (t) => {
  const compiled = compileDirection([entry("allow", { any: true, ports: tcp(80) })], true);
  const again = compileDirection([entry("allow", { any: true, ports: tcp(80) })], true);
  const other = compileDirection([entry("allow", { any: true, ports: tcp(81) })], true);
  const digest = (direction: typeof compiled) => makeSet("s", direction, compiled).digest;
  t.is(digest(compiled), digest(again));
  t.not(digest(compiled), digest(other));
  t.not(makeSet("s", compiled, other).digest, makeSet("s", other, compiled).digest, "directions are not exchangeable");
});
