/** The image is built from what is there, holds what the agent looks for, and no compiler. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";

const root = join(import.meta.dirname, "../../..");
const text = readFileSync(join(root, "Dockerfile"), "utf8").replaceAll(/\\\n/g, " ");
const stages = text.split(/^(?=FROM )/m).filter((stage) => stage.startsWith("FROM "));
const [build = "", result = ""] = stages;
const copies = (stage: string) =>
  [...stage.matchAll(/^COPY (?!--)(.*)$/gm)].flatMap(([, words = ""]) => words.split(" ").slice(0, -1));

test("there are two stages, and only the first has compilers and npm", (t) => {
  t.is(stages.length, 2);
  t.regex(build, /clang-19/);
  const removal = /\brm -r?f [^&\n]*/g;
  t.notRegex(result.replaceAll(removal, ""), /clang|llvm|g\+\+|gcc|cmake|make\b|-dev\b|npm|node_modules/);
  // The base has it.
  const removed = (result.match(removal) ?? []).join(" ").split(" ");
  for (const path of ["/usr/local/lib/node_modules", "/usr/local/bin/npm", "/usr/local/bin/npx"])
    t.true(removed.includes(path), path);
  t.regex(build, /^FROM \$BUILD_BASE /);
  t.regex(result, /^FROM \$BASE$/m);
  // What they are unless others are given.
  t.regex(text, /^ARG BUILD_BASE=node:20-bookworm$/m);
  t.regex(text, /^ARG BASE=node:20-bookworm-slim$/m);
});

test("what is copied from the repository is there", (t) => {
  const ignored = readFileSync(join(root, ".dockerignore"), "utf8").trim().split("\n");
  const names = [...copies(build), ...copies(result)];
  t.true(names.length >= 8);
  for (const name of names) {
    t.true(existsSync(join(root, name)), name);
    t.false(ignored.includes(name), name);
  }
});

test("what the agent looks for is in the result, and is built by a step that exists", (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  for (const [, name = ""] of build.matchAll(/npm run ([a-z:]+)/g)) t.true(name in scripts, name);
  const looked = readFileSync(join(root, "src/agent/package.ts"), "utf8").matchAll(/"(\w+\.bpf\.o)"/g);
  for (const [, object = ""] of looked) t.true(result.includes(`build/bpf/${object}`), object);
  for (const path of ["dist", "build/addon/Release/tandem.node", "build/addon/Release/tandem-cni"]) {
    t.true(result.includes(`/src/${path}`), path);
  }
  const [, linked = ""] = /for program in ([\w -]+); do ln -s \/opt\/tandem\/bin\/\$program\.js/.exec(result) ?? [];
  t.deepEqual(linked.split(" "), ["tandem", "tandem-agent", "tandem-operator", "tandem-proxy"]);
  for (const program of linked.split(" ")) t.true(existsSync(join(root, `bin/${program}.js`)), program);
});
