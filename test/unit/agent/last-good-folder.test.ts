import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { LastGoodFolder } from "../../../src/agent/last-good-folder.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import type { Problem } from "../../../src/model/status.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";
import { ManualClock } from "../../support/manual-clock.ts";

type Version = { readonly says: unknown };

function open(t: ExecutionContext, stateDir: string) {
  const reports = new Map<string, readonly Problem[]>();
  const clock = new ManualClock();
  const folder = new LastGoodFolder<Version>({
    stateDir,
    name: "things",
    conditions: { report: (topic, problems) => void reports.set(topic, problems) },
    clock,
  });
  t.teardown(() => folder.stop());
  const problems = () => reports.get("last-good-things") ?? [];
  /** Lets time pass until it holds: writing waits for the disk, retries for the clock. */
  const until = async (what: string, holds: () => boolean | Promise<boolean>) => {
    for (let turn = 0; turn < 20_000; turn++) {
      if (await holds()) return;
      await clock.advance(100);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    throw new Error(`never: ${what}`);
  };
  return { folder, problems, until };
}

const filesOf = (stateDir: string) => readdir(join(stateDir, "last-good", "things")).catch(() => [] as string[]);

test("what is kept is read by the next agent as it was, addresses too, by nobody but its owner", async (t) => {
  const stateDir = join(await temporaryFolder(t), "state");
  const { folder, until } = open(t, stateDir);
  t.deepEqual(await folder.read(), new Map());
  const says = [parseAddress("10.0.0.1"), parseAddress("fd00::1"), null, { "a/b": "ü", bytes: [1], text: "x" }];
  const versions = new Map([
    ["/etc/manifests/a.yaml", { says }],
    ["", { says: {} }],
  ]);
  folder.keep(versions);
  await until("both are there", async () => (await filesOf(stateDir)).filter((n) => n.endsWith(".json")).length === 2);
  await folder.stop();
  const read = await open(t, stateDir).folder.read();
  t.is(read.size, versions.size);
  for (const [key, version] of versions) t.deepEqual(read.get(key), version);
  t.is((await stat(join(stateDir, "last-good", "things"))).mode & 0o777, 0o700);
  for (const name of await filesOf(stateDir)) {
    t.is((await stat(join(stateDir, "last-good", "things", name))).mode & 0o777, 0o600);
  }
});

test("only what changed is written, also after a restart; what is no longer kept is removed", async (t) => {
  const stateDir = await temporaryFolder(t);
  const first = open(t, stateDir);
  first.folder.keep(new Map(["a", "b", "c"].map((key) => [key, { says: key }])));
  await first.until("all are there", async () => (await filesOf(stateDir)).length === 3);
  await first.folder.stop();
  const inodes = async () => {
    const all = new Map<unknown, number>();
    for (const name of await filesOf(stateDir)) {
      const path = join(stateDir, "last-good", "things", name);
      all.set((JSON.parse(await readFile(path, "utf8")) as { readonly key: string }).key, (await stat(path)).ino);
    }
    return all;
  };
  const before = await inodes();

  const next = open(t, stateDir);
  await next.folder.read();
  next.folder.keep(
    new Map([
      ["a", { says: "a" }],
      ["b", { says: "something else" }],
    ]),
  );
  await next.until("c is gone", async () => (await filesOf(stateDir)).length === 2);
  await next.folder.stop();
  const after = await inodes();
  t.is(after.get("a"), before.get("a"));
  t.not(after.get("b"), before.get("b"));
  const kept = [...(await open(t, stateDir).folder.read())].map(([key, { says }]) => `${key}: ${says}`);
  t.deepEqual(kept.sort(), ["a: a", "b: something else"]);
});

test("a write that was cut short leaves the version of before; a file that is no record is a warning and stays", async (t) => {
  const stateDir = await temporaryFolder(t);
  const first = open(t, stateDir);
  first.folder.keep(new Map([["a", { says: 1 }]]));
  await first.until("it is there", async () => (await filesOf(stateDir)).length === 1);
  await first.folder.stop();
  const [name = ""] = await filesOf(stateDir);
  const path = join(stateDir, "last-good", "things", name);
  await writeFile(`${path}.next`, (await readFile(path, "utf8")).slice(0, 10));
  const texts = ["", "{", "null", "[]", '{"format":1,"key":"b","version":{}}', '{"format":2,"key":"c","version":{}}'];
  for (const [i, text] of texts.entries()) await writeFile(join(stateDir, "last-good", "things", `${i}.json`), text);
  const next = open(t, stateDir);
  t.deepEqual(await next.folder.read(), new Map([["a", { says: 1 }]]));
  t.deepEqual(
    next.problems().map(({ code, severity, object }) => [code, severity, object]),
    texts.map((_, i) => ["LAST_GOOD_UNREADABLE", "warning", join(stateDir, "last-good", "things", `${i}.json`)]),
  );
  t.false((await filesOf(stateDir)).includes(`${name}.next`));
});

test("what cannot be written is a condition that names the folder, tried again until it can; the rest is written meanwhile", async (t) => {
  const stateDir = await temporaryFolder(t);
  const { folder, problems, until } = open(t, stateDir);
  const cyclic: { says: unknown } = { says: null };
  cyclic.says = cyclic;
  folder.keep(
    new Map<string, Version>([
      ["bad", cyclic],
      ["good", { says: "good" }],
    ]),
  );
  await until("it is told", () => problems().length === 1);
  t.like(problems()[0], { code: "STATE_DIR", object: join(stateDir, "last-good", "things"), severity: "warning" });
  t.regex(problems()[0]?.message ?? "", /circular/);
  t.deepEqual([...(await open(t, stateDir).folder.read()).keys()], ["good"]);
  folder.keep(new Map([["good", { says: "good" }]]));
  await until("it is mended", () => problems().length === 0);

  await rm(join(stateDir, "last-good", "things"), { recursive: true });
  await writeFile(join(stateDir, "last-good", "things"), "");
  folder.keep(new Map([["new", { says: 1 }]]));
  await until("it is told", () => problems().length === 1);
  await rm(join(stateDir, "last-good", "things"));
  await until("it is written after all", async () => (await filesOf(stateDir)).length === 1);
});

test("a folder that cannot be read is an error: nobody may take what was kept for gone", async (t) => {
  const stateDir = await temporaryFolder(t);
  await mkdir(join(stateDir, "last-good"));
  await writeFile(join(stateDir, "last-good", "things"), "");
  await t.throwsAsync(open(t, stateDir).folder.read(), { code: "STATE_DIR", message: /ENOTDIR/ });
  await rm(join(stateDir, "last-good", "things"));
  await mkdir(join(stateDir, "last-good", "things", "a.json"), { recursive: true });
  await t.throwsAsync(open(t, stateDir).folder.read(), { code: "STATE_DIR", message: /EISDIR/ });
});
