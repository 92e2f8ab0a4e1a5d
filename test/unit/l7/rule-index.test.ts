import test from "ava";
import fc from "fast-check";
import type { L7HttpRule, L7RuleSet } from "../../../src/native/l7-contract.ts";
import { anyHttp, runFilter } from "../../support/l7-runner.ts";

const letters = fc.constantFrom("a", "b", "ab", "/", "/a", "/ab", "/abc", "/b/a");
const pieces = fc.constantFrom("a", "b", "/", ".*", "[ab]", "a?", "(a|b)", "\\.", "b+", "c{2}");
const pattern = (first: fc.Arbitrary<string>) =>
  fc.tuple(first, fc.array(pieces, { maxLength: 4 })).map(([start, rest]) => start + rest.join(""));
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null, freq: 3 });

const rule: fc.Arbitrary<L7HttpRule> = fc.record({
  method: optional(fc.constantFrom("GET", "GET|PUT", "P.*")),
  path: optional(pattern(fc.constantFrom("/", "/a", "/ab", "/b/", "(/a|/b)", ".*", "/?"))),
  host: optional(pattern(fc.constantFrom("a", "b", "ab", "(a|b)"))),
  headers: fc.array(
    fc.record({
      name: fc.constantFrom("x-a", "x-b"),
      value: fc.constantFrom("1", "2", null),
      mismatch: fc.constantFrom("refuse", "add", "remove"),
    }),
    { maxLength: 1 },
  ),
});

const request = fc.record({
  method: fc.constantFrom("GET", "PUT", "POST"),
  path: fc.array(letters, { maxLength: 4 }).map((words) => `/${words.join("")}`),
  host: fc.array(fc.constantFrom("a", "b", "c", "."), { minLength: 1, maxLength: 4 }).map((words) => words.join("")),
  header: fc.constantFrom("", "x-a: 1\r\n", "x-b: 2\r\n"),
});

/** Enough for an index, or each a set of its own, which has none. */
const together = (rules: readonly L7HttpRule[]): readonly L7RuleSet[] => [{ id: 1, protocol: "http", rules }];
const apart = (rules: readonly L7HttpRule[]): readonly L7RuleSet[] =>
  rules.map((rule) => ({ id: 1, protocol: "http", rules: [rule] }));

test("many rules decide and edit as each of them would for itself", (t) => {
  let allowed = 0;
  let asked = 0;
  fc.assert(
    fc.property(
      fc.array(rule, { minLength: 8, maxLength: 60 }),
      fc.array(request, { minLength: 5 }),
      (rules, requests) => {
        for (const { method, path, host, header } of requests) {
          const text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${header}\r\n`;
          const indexed = runFilter({ egress: together(rules) }, ["client", text]);
          const looped = runFilter({ egress: apart(rules) }, ["client", text]);
          asked++;
          if (looped.server !== "") allowed++;
          if (indexed.server !== looped.server || indexed.client !== looped.client) return false;
        }
        return true;
      },
    ),
    { numRuns: 150 },
  );
  t.true(allowed > asked / 10 && allowed < asked * 0.99, `${allowed} of ${asked}`);
});

test("a thousand rules: the one that matches is found among those that begin alike, by host, and by expressions that begin with anything", (t) => {
  const rules = Array.from({ length: 999 }, (_, at): L7HttpRule => {
    if (at % 3 === 0) return { ...anyHttp, path: `/api/v1/tenant-${at}/[a-z]+` };
    if (at % 3 === 1) return { ...anyHttp, host: `tenant-${at}\\.example\\.com` };
    return { ...anyHttp, path: `.*/of-${at}` };
  });
  const ask = (path: string, host: string) =>
    runFilter({ egress: together(rules) }, ["client", `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`]).server !== "";
  t.true(ask("/api/v1/tenant-300/orders", "x"));
  t.false(ask("/api/v1/tenant-301/orders", "x"));
  t.false(ask("/api/v1/tenant-300", "x"));
  t.true(ask("/any", "tenant-301.example.com"));
  t.false(ask("/any", "tenant-300.example.com"));
  t.true(ask("/far/away/of-302", "x"));
  t.false(ask("/far/away/of-303", "x"));
});
