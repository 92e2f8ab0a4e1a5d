import test from "ava";
import { L7Book, noTables } from "../../../../src/agent/l7/tables.ts";
import { parseDemands } from "../../../../src/compute/l7/parse-demands.ts";

const get = 'http [{"method":"GET"}]';
const kafka = 'kafka [{"topic":"orders"}]';
const both = `${get}\nterminatingTLS {"secret":{"name":"x"}}`;

const demands = (text: string, group = 1) => ({ egress: [], ingress: [{ group, text }] });

test("each text is one rule set, and every group of every set refers to one", (t) => {
  const book = new L7Book(parseDemands, noTables);
  t.true(
    book.update(
      new Map([
        [4, demands(get)],
        [7, demands(kafka, 2)],
        [9, demands(get, 3)],
      ]),
    ),
  );
  const { ruleSets, groups } = book.tables();
  t.deepEqual(
    ruleSets.map(({ id, protocol }) => [id, protocol]),
    [
      [1, "http"],
      [2, "kafka"],
    ],
  );
  t.deepEqual(groups, [
    { policySet: 4, direction: "ingress", group: 1, ruleSet: 1 },
    { policySet: 7, direction: "ingress", group: 2, ruleSet: 2 },
    { policySet: 9, direction: "ingress", group: 3, ruleSet: 1 },
  ]);
});

test("what no proxy enforces is a rule set that nothing matches", (t) => {
  const book = new L7Book(parseDemands, noTables);
  book.update(new Map([[4, demands(both)]]));
  t.deepEqual(book.tables().ruleSets, [{ id: 1, protocol: "http", rules: [] }]);
});

test("numbers survive a restart, and are not given again", (t) => {
  const before = new L7Book(parseDemands, noTables);
  before.update(
    new Map([
      [4, demands(get)],
      [7, demands(kafka)],
    ]),
  );
  before.update(new Map([[7, demands(kafka)]]));
  const after = new L7Book(parseDemands, JSON.parse(JSON.stringify(before.kept)));
  t.deepEqual(after.known(7), demands(kafka));
  t.is(after.known(4), null);
  const known = after.known(7);
  t.truthy(known);
  t.false(after.update(new Map([[7, known ?? demands("")]])), "the same object is no change");
  t.true(after.update(new Map([[8, demands(get)]])));
  t.deepEqual(after.kept.ruleSets, [{ id: 3, text: get }]);
  t.is(after.kept.highestSet, 8);
});

test("tables do not depend on the order of the sets", (t) => {
  const [one, other] = [new L7Book(parseDemands, noTables), new L7Book(parseDemands, noTables)];
  one.update(
    new Map([
      [4, demands(get)],
      [7, demands(kafka)],
    ]),
  );
  other.update(
    new Map([
      [7, demands(kafka)],
      [4, demands(get)],
    ]),
  );
  t.deepEqual(one.tables(), other.tables());
});
