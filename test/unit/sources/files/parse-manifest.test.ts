import test from "ava";
import { parseManifest } from "../../../../src/sources/files/parse-manifest.ts";

const lines = (text: string, file = "a.yaml") => {
  const { objects, failure } = parseManifest(text, file);
  return failure ?? objects.map(({ value, line }) => [line, (value as { readonly n: unknown }).n]);
};

test("YAML documents and entries of Lists know their lines; empty documents are none", (t) => {
  const text = `# a comment
n: 1
---
---
kind: PodList
items:
  - n: 2
  # in between
  - n: 3
---
{"n": 4}
---
`;
  t.deepEqual(lines(text), [
    [2, 1],
    [7, 2],
    [9, 3],
    [11, 4],
  ]);
  t.deepEqual(lines(""), []);
  t.deepEqual(lines("# nothing\n"), []);
});

test("JSON is one object or a List, also in a file called .yaml", (t) => {
  t.deepEqual(lines('{"n": 1}', "a.json"), [[1, 1]]);
  t.deepEqual(lines('{"kind": "List", "items": [{"n": 1}, {"kind": "List", "items": [{"n": 2}]}]}', "a.json"), [
    [0, 1],
    [0, 2],
  ]);
  t.deepEqual(lines('{"n": 1}'), [[1, 1]]);
  t.deepEqual(lines("{n: 1}\n---\n{n: 2}\n"), [
    [1, 1],
    [3, 2],
  ]);
});

test("broken YAML names file and line, and nothing of the file is used", (t) => {
  const { objects, failure } = parseManifest(
    "n: 1\n---\nkind: NetworkPolicy\nmetadata: {name: x\nspec: [\n",
    "x/b.yaml",
  );
  t.deepEqual(objects, []);
  t.like(failure, { code: "MANIFEST_SYNTAX", severity: "error", object: "x/b.yaml" });
  t.regex(failure?.field ?? "", /^line [345]$/);
  t.regex(failure?.message ?? "", /^x\/b\.yaml line \d is not YAML: /);
  t.false(failure?.message.includes("\n"));
});

test("keys that are there twice and aliases that lead nowhere are broken YAML", (t) => {
  t.like(parseManifest("a: 1\na: 2\n", "a.yaml").failure, { field: "line 2" });
  t.like(parseManifest("a: *nowhere\n", "a.yaml").failure, { code: "MANIFEST_SYNTAX" });
});

test("a few lines of aliases cannot grow without bound", (t) => {
  const levels = "abcdefghi".split("");
  const bomb = levels.map(
    (name, i) =>
      `${name}: &${name} [${Array(9)
        .fill(i === 0 ? "x" : `*${levels[i - 1]}`)
        .join(", ")}]`,
  );
  t.like(parseManifest(`${bomb.join("\n")}\n`, "a.yaml").failure, { code: "MANIFEST_SYNTAX" });
});

test("broken JSON names file and line", (t) => {
  t.like(parseManifest('{\n"n": 1\n"m": 2}', "a.json").failure, { object: "a.json", field: "line 3" });
  t.like(parseManifest('{\n"n": 1,\n', "a.json").failure, { field: "line 3" });
});
