import test from "ava";
import fc from "fast-check";
import { regexMistake } from "../../../../src/compute/policy/re2-syntax.ts";

const valid: readonly string[] = [
  "",
  "GET",
  "GET|POST|",
  "/public/.*",
  "/api/v[0-9]+/items/?",
  "(?i)get",
  "(?i:a)(?s-m:b)(?-s)",
  "(?P<id>[0-9]+)-(?<name>\\w+)",
  "^/a$",
  "^*",
  "a{2}b{2,}c{2,3}d{1000}",
  "a{,3} {x} {",
  "a*?b+?c??d{2}?",
  "[]a]",
  "[^]a-]",
  "[a\\]b]",
  "[\\d\\-z]",
  "[[:alpha:][:^digit:]_-]",
  "[\\x41-\\x{1F600}]",
  "\\pL\\p{Greek}\\P{^Lu}",
  "\\Qa.*(\\E+",
  "\\Qnot closed",
  "\\A\\bfoo\\B\\z",
  "\\a\\f\\n\\r\\t\\v\\.\\/\\-",
  "\\0\\012\\123",
  "]",
  "}",
  "äöü.+",
];

for (const text of valid) test(`${JSON.stringify(text)} is one`, (t) => t.is(regexMistake(text), null));

const invalid: readonly (readonly [string, RegExp])[] = [
  ["*", /\* repeats nothing/],
  ["a|+", /\+ repeats nothing/],
  ["(?i)*", /\* repeats nothing/],
  ["(*)", /\* repeats nothing/],
  ["{2}", /\{2\} repeats nothing/],
  ["a**", /\* repeats a repetition/],
  ["a{2}{3}", /repeats a repetition/],
  ["a*??", /\? repeats a repetition/],
  ["a{3,2}", /\{3,2\} is no number of times/],
  ["a{1001}", /\{1001\} is no number of times/],
  ["(a", /"\(" that is not closed/],
  ["a)", /"\)" that closes nothing/],
  ["[a", /"\[" that is not closed/],
  ["[]", /"\[" that is not closed/],
  ["[z-a]", /z-a is no range/],
  ["[a-\\d]", /is no range/],
  ["[[:alphs:]]", /\[:alphs:\] is no class of characters, \[:alpha:\] is one/],
  ["(?=a)", /no look-around/],
  ["(?!a)", /no look-around/],
  ["(?<=a)b", /is no(t there| name)/],
  ["(?P=a)", /is not there/],
  ["(?<a b>c)", /no name of a group/],
  ["(?P<a>b)(?P<a>c)", /two groups are called a/],
  ["(a)\\1", /no back-references/],
  ["\\", /backslash at the end/],
  ["[\\", /backslash at the end|not closed/],
  ["\\y", /\\y is no escape/],
  ["\\Z", /\\Z is no escape/],
  ["[\\b]", /\\b is no escape/],
  ["\\xZZ", /is no character/],
  ["\\x{110000}", /is no character/],
  ["\\x{41", /is not closed/],
  ["\\p{", /is not closed/],
  ["\\p", /without a name/],
  ["[a-", /"\[" that is not closed/],
];

for (const [text, why] of invalid) {
  test(`${JSON.stringify(text)} is none`, (t) => t.regex(regexMistake(text) ?? "nothing", why));
}

/** Expressions by RE2's grammar. */
const expression = fc.letrec<{ readonly all: string; readonly part: string; readonly one: string }>((tie) => ({
  all: fc.array(tie("part"), { maxLength: 4 }).map((parts) => parts.join("")),
  part: fc
    .tuple(tie("one"), fc.constantFrom("", "*", "+", "?", "{2}", "{1,3}", "{2,}"), fc.constantFrom("", "?"))
    .map(([one, times, lazy]) => one + times + (times === "" ? "" : lazy)),
  one: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom("a", ".", "/", "\\d", "\\.", "[a-z]", "[^/]", "[[:digit:]]", "\\pL", "\\x41", "ß", "^", "$"),
    tie("all").map((inner) => `(${inner})`),
    tie("all").map((inner) => `(?i:${inner})`),
    fc.tuple(tie("all"), tie("all")).map(([one, other]) => `(?:${one}|${other})`),
  ),
}));

test("whatever the grammar makes is one; it is none with a bracket more or less", (t) => {
  fc.assert(
    fc.property(expression.all, (text) => {
      t.is(regexMistake(text), null, text);
      t.not(regexMistake(`${text})`), null);
      t.not(regexMistake(`(${text}`), null);
      t.not(regexMistake(`${text}[`), null);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test("any text has an answer", (t) => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (text) => {
      const answer = regexMistake(text);
      if (answer === "") throw new Error("a mistake without a text");
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.array(fc.constantFrom(..."\\[](){}?*+|^-:a1,<>PQEpx=!")), (characters) => {
      regexMistake(characters.join(""));
    }),
    { numRuns: 5000 },
  );
  t.pass();
});
