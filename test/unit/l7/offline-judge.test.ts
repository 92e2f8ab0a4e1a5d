/** The judge of probes says what the engine does, of HTTP requests and paths of any kind. */
import test from "ava";
import fc from "fast-check";
import { allowsHttp, matches } from "../../../src/compute/l7/judge.ts";
import { normalPath } from "../../../src/compute/l7/path.ts";
import type { L7HttpRule } from "../../../src/native/l7-contract.ts";
import { anyHttp, httpRules, runFilter } from "../../support/l7-runner.ts";

const paths = fc
  .array(
    fc.constantFrom("/", "a", "b", ".", "..", "%2e", "%2F", "%41", "%e2", "%", ";", "%3B", "\\", "%5c", "?", "//"),
    { maxLength: 8 },
  )
  .map((parts) => `/${parts.join("")}`);
const patterns = fc.constantFrom(
  "/a",
  "/a.*",
  "/(a|b)",
  "/.*b",
  "/[a-z]+",
  "/a?",
  "(?i)/A/?",
  "/\\.",
  ".*\\?.*",
  "/a/b",
);
const rules: fc.Arbitrary<Partial<L7HttpRule>> = fc.record(
  {
    method: fc.constantFrom("GET", "GET|PUT", "P.*"),
    path: patterns,
    host: fc.constantFrom("h", "h\\.example", ".*"),
    headers: fc.constantFrom(
      [{ name: "x-a", value: "1", mismatch: "refuse" as const }],
      [{ name: "x-a", value: null, mismatch: "refuse" as const }],
      [{ name: "x-a", value: "1", mismatch: "log" as const }],
    ),
  },
  { requiredKeys: [] },
);
const headers = fc.array(fc.record({ name: fc.constantFrom("X-A", "x-a", "x-b"), value: fc.constantFrom("1", "2") }), {
  maxLength: 3,
});

test("requests and rules of any kind: the same as the engine's answer", (t) => {
  const request = fc.record({
    method: fc.constantFrom("GET", "PUT", "POST"),
    path: paths,
    host: fc.constantFrom("h", "h.example"),
    headers,
  });
  fc.assert(
    fc.property(fc.array(rules, { minLength: 1, maxLength: 3 }), request, (list, asked) => {
      const bytes = `${asked.method} ${asked.path} HTTP/1.1\r\nHost: ${asked.host}\r\n${asked.headers.map(({ name, value }) => `${name}: ${value}\r\n`).join("")}\r\n`;
      const { server } = runFilter({ egress: httpRules(...list) }, ["client", bytes]);
      const judged = allowsHttp([{ protocol: "http", rules: list.map((rule) => ({ ...anyHttp, ...rule })) }], asked);
      if (judged !== (server !== "")) t.log(bytes);
      return judged === (server !== "");
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

test("paths become what the engine passes on", (t) => {
  fc.assert(
    fc.property(paths, (path) => {
      const { server, client } = runFilter({}, ["client", `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`]);
      const made = normalPath(path);
      if (made.kind === "refused") return client.startsWith("HTTP/1.1 400 ");
      if (made.isAskedAgain) return client.includes(`\r\nlocation: ${made.target}\r\n`);
      return server.startsWith(`GET ${made.target} HTTP/1.1\r\n`);
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

test("expressions that JavaScript reads as something else are not judged", (t) => {
  for (const pattern of ["\\Qa.b\\E", "[[:alpha:]]+", "\\pL", "a\\z", "(?U)a*", "\\x{41}"])
    t.is(matches(pattern, "a"), null, pattern);
  t.true(matches("(?i)ABC", "abc"));
  t.true(matches("(?P<word>a+)", "aa"));
  t.false(matches("a", "ab"));
});
