/**
 * The plugin's JSON reader against JSON.parse: the same documents are accepted, with the same values. Where it is stricter on
 * purpose (nesting beyond 32, a wanted member given twice, half of a surrogate pair) the test says so. Built with AddressSanitizer and
 * UBSan, so that a read beyond the text fails too.
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";
import fc from "fast-check";

const here = fileURLToPath(new URL(".", import.meta.url));
const reader = fileURLToPath(new URL("../../../addon/cni/", import.meta.url));
const wanted = ["cniVersion", "socket", "a", "", "é😀"] as const;
const kinds = ["absent", "string", "scalar", "other"] as const;
const deepest = 32;

interface Read {
  readonly problem: string;
  readonly members: ReadonlyMap<string, { readonly kind: (typeof kinds)[number]; readonly text: string }>;
}

let driver = "";
let folder = "";

test.before(async (t) => {
  t.timeout(300_000);
  folder = await mkdtemp(join(tmpdir(), "tandem-json-"));
  driver = join(folder, "driver");
  const flags = [
    "-std=c++17",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
  ];
  await promisify(execFile)("c++", [
    ...flags,
    `-I${reader}`,
    "-o",
    driver,
    `${here}json-driver.cc`,
    `${reader}json_reader.cc`,
  ]);
});

test.after.always(() => rm(folder, { recursive: true, force: true }));

/** Gives all documents to one run of the driver. */
async function read(documents: readonly Buffer[]): Promise<readonly Read[]> {
  const child = spawn(driver, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, LD_PRELOAD: "" } });
  const [out, errors]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  child.stdin.on("error", () => undefined);
  for (const document of documents) {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(document.length);
    child.stdin.write(Buffer.concat([size, document]));
  }
  child.stdin.end();
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`the driver ended with ${code}: ${Buffer.concat(errors).toString().slice(0, 4000)}`);
  const bytes = Buffer.concat(out);
  let at = 0;
  const text = () => {
    const size = bytes.readUInt32LE(at);
    at += 4 + size;
    return bytes.toString("utf8", at - size, at);
  };
  return documents.map(() => {
    const problem = text();
    const members = wanted.map((name) => {
      const kind = kinds[bytes[at++] ?? 0] ?? "absent";
      return [name, { kind, text: text() }] as const;
    });
    return { problem, members: new Map(members) };
  });
}

/** JSON.parse, or nothing for what it refuses. */
function parse(text: string): { readonly value: unknown } | null {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

function depthOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

/** Why the reader may refuse what JSON.parse takes. */
function isStricter(text: string, value: object, problem: string): boolean {
  if (problem.startsWith("nested too deeply")) return depthOf(value) > deepest || /[[{]{10}/.test(text);
  if (problem.startsWith("a member is given twice")) return true;
  if (problem.startsWith("half of a surrogate pair")) return /\\u[dD][89a-fA-F]/.test(text);
  return false;
}

/** What is wrong with the reader's answer, or nothing. */
function difference(document: Buffer, got: Read): string | null {
  const text = document.toString();
  const parsed = parse(text);
  const isObject = typeof parsed?.value === "object" && parsed.value !== null && !Array.isArray(parsed.value);
  if (!isObject) return got.problem === "" ? "accepted what JSON.parse refuses, or what is no object" : null;
  const value = parsed?.value as Record<string, unknown>;
  if (got.problem !== "") return isStricter(text, value, got.problem) ? null : `refused: ${got.problem}`;
  for (const name of wanted) {
    const { kind, text: seen } = got.members.get(name) ?? { kind: "absent", text: "" };
    const own = Object.hasOwn(value, name) ? value[name] : undefined;
    const expected =
      own === undefined ? "absent" : typeof own === "string" ? "string" : typeof own === "object" ? "other" : "scalar";
    if (kind !== expected) return `${name} is ${kind}, not ${expected}`;
    if (kind === "string" && seen !== Buffer.from(own as string).toString())
      return `${name} is ${JSON.stringify(seen)}`;
    if (kind === "scalar" && JSON.parse(seen) !== own) return `${name} is ${seen}`;
  }
  return null;
}

async function check(documents: readonly Buffer[]): Promise<void> {
  const answers = await read(documents);
  for (const [at, document] of documents.entries()) {
    const wrong = difference(document, answers[at] as Read);
    if (wrong !== null) throw new Error(`${wrong}\n${JSON.stringify(document.toString("latin1"))}`);
  }
}

const name = fc.oneof(fc.constantFrom(...wanted), fc.string({ unit: "binary" }));
const leaf = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 5 },
    leaf,
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(name, tie("any"), { maxKeys: 4 }),
  ),
})).any;
const document = fc
  .tuple(fc.dictionary(name, value, { maxKeys: 6 }), fc.constantFrom("", " ", "\t", "\n  "))
  .map(([members, space]) => JSON.stringify(members, null, space));

/** A document in which some bytes are others, missing, doubled, or swapped for bits of JSON. */
const mutated = fc
  .tuple(
    document,
    fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), fc.nat(5), fc.nat(255)), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map(([text, changes]) => {
    let bytes = Buffer.from(text);
    const pieces = [
      '"',
      "\\",
      "\\u",
      "\\ud83d\\ude00",
      "\\udc00",
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "-",
      "0",
      "1e5",
      ".5",
      "null",
      "true",
      "//",
      "\0",
      "\x1f",
    ];
    for (const [where, how, byte] of changes) {
      const at = Math.floor(where * (bytes.length + 1));
      const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
      const piece = Buffer.from(pieces[byte % pieces.length] ?? "");
      const options = [
        [before, Buffer.from([byte]), after.subarray(1)],
        [before, after.subarray(1)],
        [before, after.subarray(0, 1), after],
        [before, piece, after],
        [before, piece, after.subarray(1)],
        [before],
      ];
      bytes = Buffer.concat(options[how] ?? []);
    }
    return bytes;
  });

test("documents that JSON.stringify writes are read with the same members", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(document, { minLength: 100, maxLength: 300 }), (texts) =>
      check(texts.map((text) => Buffer.from(text))),
    ),
    {
      numRuns: 15,
    },
  );
  t.pass();
});

test("documents that are damaged anywhere are refused exactly when JSON.parse refuses them, and never read beyond their end", async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(mutated, { minLength: 300, maxLength: 600 }), check), { numRuns: 15 });
  t.pass();
});

test("every cut of a configuration is refused, and the whole one is read", async (t) => {
  const text = JSON.stringify({
    cniVersion: "1.1.0",
    name: "é😀\n",
    socket: "/run/x",
    capabilities: { a: [1, -2.5e-3, null, true, "\u0001"] },
  });
  const bytes = Buffer.from(text);
  const answers = await read(Array.from({ length: bytes.length + 1 }, (_, i) => bytes.subarray(0, i)));
  t.deepEqual(
    answers.map(({ problem }) => problem === ""),
    [...Array(bytes.length).fill(false), true],
  );
  t.regex(answers[10]?.problem ?? "", / at byte \d+$/);
});

test("where the reader is stricter than JSON.parse it says why", async (t) => {
  const nested = (depth: number) => `{"x":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
  const cases: readonly [string, string][] = [
    [nested(deepest), ""],
    [nested(deepest + 1), "nested too deeply"],
    [`{"x":${"[".repeat(1_000_000)}`, "nested too deeply"],
    ['{"socket":"a","socket":"b"}', "a member is given twice"],
    ['{"socket":"a","x":{"socket":1,"socket":2}}', ""],
    ['{"a":"\\ud83d"}', "half of a surrogate pair"],
    ['{"a":"\\ude00"}', "half of a surrogate pair"],
    ['{"a":"\\ud83d\\u0041"}', "half of a surrogate pair"],
    ['{"a":"\\ud83d\\ude00"}', ""],
    ["", "an object was expected"],
    ["[]", "an object was expected"],
    ['{"a":1} x', "text after the object"],
    ['{"a":01}', "',' or '}' was expected"],
    ['{"a":.5}', "a value was expected"],
    ['{"a":tru}', "a value was expected"],
    ['{"a":"\t"}', "a control character in a string"],
    ['{"a":"\\x"}', "an unknown escape"],
    ["{a:1}", "a string was expected"],
    ['{"a" 1}', "':' was expected"],
    ['{"a":1,}', "a string was expected"],
  ];
  const answers = await read(cases.map(([text]) => Buffer.from(text)));
  for (const [at, [text, expected]] of cases.entries()) {
    const problem = answers[at]?.problem ?? "?";
    t.is(problem.replace(/ at byte \d+$/, ""), expected, text.slice(0, 60));
  }
  t.is(answers[8]?.members.get("a")?.text, "😀");
});
