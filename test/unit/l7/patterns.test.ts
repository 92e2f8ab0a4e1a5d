/** Patterns match whole texts as RE2 does, whatever their beginning tells beforehand. */
import test from "ava";
import { httpRules, runFilter } from "../../support/l7-runner.ts";

const matches = (pattern: string, path: string) =>
  runFilter({ egress: httpRules({ path: pattern }), normalizePath: false }, [
    "client",
    `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`,
  ]).server !== "";

for (const [pattern, path, expected] of [
  ["/abc", "/abc", true],
  ["/abc", "/abcd", false],
  ["/abc", "/ab", false],
  ["/abc*", "/ab", true],
  ["/abc?", "/ab", true],
  ["/abc+", "/ab", false],
  ["/abc{0,2}", "/ab", true],
  ["/a|/b", "/b", true],
  ["/a|/b", "/a", true],
  ["/x/(a|b)", "/x/b", true],
  ["/x/(a|b)", "/y/b", false],
  ["(?i)/ABC", "/abc", true],
  ["/a.c", "/abc", true],
  ["/a\\.c", "/a.c", true],
  ["/a\\.c", "/abc", false],
  ["/\\Qa.c\\E", "/a.c", true],
  ["^/abc$", "/abc", true],
  [".*", "/anything", true],
  ["", "/", false],
] as const) {
  test(`${JSON.stringify(pattern)} ${expected ? "takes" : "does not take"} ${path}`, (t) => {
    t.is(matches(pattern, path), expected);
  });
}
