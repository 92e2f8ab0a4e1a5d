import test from "ava";
import { meansName, namePattern, normalName } from "../../../src/model/dns-names.ts";

const means = (pattern: string, ...names: readonly string[]) =>
  names.map((name) => meansName(namePattern("pattern", pattern), normalName(name)));

test("names compare without case and without the final dot", (t) => {
  t.is(normalName("WWW.Example.COM."), "www.example.com");
  t.is(normalName("."), ".");
  const name = namePattern("name", "Static.Example.net.");
  t.deepEqual(name, namePattern("name", "static.example.NET"));
  t.true(meansName(name, "static.example.net"));
  t.false(meansName(name, "a.static.example.net"));
});

test("a star stands for any part of one label, also for none, and never for a dot", (t) => {
  t.deepEqual(means("*.example.com", "www.example.com", "a-b_c.example.com"), [true, true]);
  t.deepEqual(means("*.example.com", "example.com", "a.b.example.com", "wwwexample.com", "www.example.com.evil.org"), [
    false,
    false,
    false,
    false,
  ]);
  t.deepEqual(means("cdn*.example.net", "cdn.example.net", "cdn7.example.net"), [true, true]);
  t.deepEqual(means("cdn*.example.net", "xcdn.example.net", "cdn.eu.example.net"), [false, false]);
  t.deepEqual(means("a*b*c.x", "abc.x", "aXbXc.x", "a1b2b3c.x", "acb.x", "abcd.x"), [true, true, true, false, false]);
  t.deepEqual(means("**.x", "a.x", "a.b.x"), [true, false]);
});

test("a star alone is every name, the root too; with a dot it is one label", (t) => {
  t.deepEqual(means("*", "a.b.c.example.org", "localhost", "."), [true, true, true]);
  t.deepEqual(means("*.", "localhost", "a.b"), [true, false]);
  t.deepEqual(means("*.*", "a.b", "localhost"), [true, false]);
});

test("a dot of a pattern is a dot, and a star is letters, digits, - and _ only", (t) => {
  t.deepEqual(means("a.b", "axb", "a.b"), [false, true]);
  t.deepEqual(means("*.b", "a!.b", "ä.b", "a*.b"), [false, false, false]);
});

test("many stars against a long label are decided at once", (t) => {
  const start = process.hrtime.bigint();
  t.deepEqual(means(`${"*a".repeat(100)}b.x`, `${"a".repeat(250)}.x`), [false]);
  t.true(process.hrtime.bigint() - start < 50_000_000n);
});
