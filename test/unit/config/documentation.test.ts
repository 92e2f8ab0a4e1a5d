import { readFileSync } from "node:fs";
import test from "ava";
import { ciliumNames, describeConfig, loadConfig } from "../../../src/config/index.ts";

const root = new URL("../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const page = read("docs/configuration.md");

/** The cells of the table row that begins with this name. */
function row(name: string): readonly string[] {
  const line = page.split("\n").find((one) => one.startsWith(`| \`${name}\` |`)) ?? "";
  return line.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, "").replaceAll("`", ""));
}

test("docs/configuration.md tells of every setting its type, default, flag, variable and meaning", (t) => {
  for (const { name, type, default: standard, flag, variable, description } of describeConfig()) {
    t.deepEqual(row(name), [name, type.replaceAll("|", ", "), standard || "required", flag, variable, description]);
  }
});

test("docs/configuration.md tells of every timeout its default", (t) => {
  const { conntrackTimeouts } = loadConfig({ argv: ["--node-name", "n"], env: {}, readFile: () => "" });
  for (const [name, seconds] of Object.entries(conntrackTimeouts)) t.is(row(name)[1], String(seconds), name);
});

test("docs/configuration.md tells of every map with a size its default", (t) => {
  const limits = new Map(
    [...read("bpf/include/tandem/limits.h").matchAll(/^#define (LIMIT_\w+) (\d+)/gm)].map(([, name, size]) => [
      name,
      size,
    ]),
  );
  const maps = [
    ...read("bpf/include/tandem/maps.h").matchAll(/^MAP\((\w+), .*?, (LIMIT_\w+)(?: \* (\d+))?, [\w| ]+\)/gm),
  ];
  t.true(maps.length > 10, "the headers are understood");
  for (const [, name = "", limit, times = "1"] of maps) {
    t.is(row(name)[1], String(Number(limits.get(limit)) * Number(times)), name);
  }
});

test("docs/configuration.md speaks of no setting that there is not", (t) => {
  const known = new Set<string>(describeConfig().map(({ name }) => name));
  const [, table = ""] = page.split("## Settings");
  const named = [...(table.split("\n\n")[1] ?? "").matchAll(/^\| `(\w+)`/gm)].map(([, name = ""]) => name);
  t.deepEqual(
    named.filter((name) => !known.has(name)),
    [],
  );
  t.is(named.length, known.size);
});

test("docs/migrate.md tells of every name that Cilium has for a setting", (t) => {
  const migrate = read("docs/migrate.md");
  const known = new Set<string>(describeConfig().map(({ name }) => name));
  for (const [foreign, own] of ciliumNames) {
    t.true(known.has(own), own);
    const line = migrate.split("\n").find((one) => one.startsWith("|") && one.includes(`\`${foreign}\``)) ?? "";
    t.true(line.includes(`| \`${own}\``), `${foreign} -> ${own}`);
  }
});
