/**
 * Bundles the tests (bundle-tests.js), runs ava with the given arguments and sums up in its last lines: "N tests passed", "N tests failed".
 *
 * With `--again`, for labs and kernels, the files of failed tests run a second time, alone: a machine that also builds, or hosts
 * others, may leave a test's processes without a core for seconds. What passes only then is named in the closing lines, so that
 * nobody takes it for steady; what fails twice has failed.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import "./bundle-tests.js";

/** More failing files than these are no bad luck. */
const MOST_AGAIN = 4;

const again = process.argv.includes("--again");
/** Of a test as it was written: of that which runs. */
const bundled = (file) => file.replace(/^(?:build\/tests|test)\/(.*)\.test\.(?:ts|mjs)$/, "build/tests/$1.test.mjs");
const args = process.argv
  .slice(2)
  .filter((word) => word !== "--again")
  .map(bundled);
const options = args.filter((word) => !word.endsWith(".test.mjs"));

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The file of a failed test by its title, which begins with its folders and name where ava runs several: "lab › sandbox › what it tests". */
function fileOf(title) {
  const parts = title.split(" › ");
  const all = readdirSync("build/tests", { recursive: true }).map((name) => `build/tests/${name}`);
  for (let count = parts.length - 1; count > 0; count--) {
    const end = `/${parts.slice(0, count).join("/")}.test.mjs`;
    const file = all.find((name) => name.endsWith(end));
    if (file !== undefined) return file;
  }
  return null;
}

/** One run of ava; its output is passed on, but for its own sums. */
async function ava(words) {
  const child = spawn(
    process.execPath,
    ["node_modules/ava/entrypoints/cli.mjs", "--config", "ava.bundled.config.mjs", ...words],
    {
      env: { ...process.env, FORCE_COLOR: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const closed = new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
  const run = { passed: [], failed: [], files: new Set() };
  let details = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const [, mark, title] = /^\s*(✔|✘ \[fail\]:) (.*?)(?: \([\dms. ]+\))?$/.exec(line) ?? [];
    if (mark === "✔") run.passed.push(title);
    else if (mark !== undefined) run.failed.push(title);
    // Where it failed is told after this line, of a test; of a whole file (a crash, a time limit) where it happens.
    details ||= line.trim() === "─";
    const [file] = /(?:build\/tests|test)\/[\w/.-]+\.test\.(?:ts|mjs)/.exec(line) ?? [];
    if (file !== undefined && (details || /✘|pending in|Uncaught|Unhandled/.test(line))) run.files.add(bundled(file));
    if (!/^\s*\d+ (tests?|hooks?|uncaught|unhandled).*(passed|failed|exceptions?|rejections?)$/.test(line))
      console.log(line);
  }
  // An error that was made elsewhere names no file of tests where it is told.
  for (const title of run.failed) {
    const file = fileOf(title);
    if (file !== null) run.files.add(file);
  }
  return { ...run, code: await closed };
}

const first = await ava(args);
let passed = first.passed.length;
let failed = first.code === 0 ? 0 : Math.max(1, first.failed.length);
const late = [];
if (first.code !== 0 && again && first.files.size > 0 && first.files.size <= MOST_AGAIN) {
  const second = [];
  for (const file of first.files) {
    console.log(`\n${file} failed: once more, alone`);
    const run = await ava([...options, file]);
    second.push(run);
    if (run.code === 0) late.push(file);
    // Titles are without their file's name here.
    passed += run.passed.filter((title) => !first.passed.some((known) => known.endsWith(title))).length;
  }
  // What no second run was about has failed all the same.
  const isSeen = (title) =>
    fileOf(title) !== null ||
    second.some(({ passed, failed }) => [...passed, ...failed].some((known) => title.includes(known)));
  const unseen = first.failed.filter((title) => !isSeen(title)).length;
  failed = unseen + second.reduce((sum, { code, failed }) => sum + (code === 0 ? 0 : Math.max(1, failed.length)), 0);
}

console.log();
for (const file of late) console.log(`  passed only when run again, alone: ${file}`);
console.log(`  ${plural(passed, "test")} passed`);
if (failed > 0) console.log(`  ${plural(failed, "test")} failed`);
process.exit(failed > 0 ? 1 : 0);
