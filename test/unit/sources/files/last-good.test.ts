/** What was good stays in force over a restart, in whatever state the next agent finds the folder. */
import { rename, rm, truncate, writeFile } from "node:fs/promises";
import test, { type ExecutionContext } from "ava";
import { type Followed, follow, Memory, pod, put, temporaryFolder, until } from "./support.ts";

const broken = "kind: Pod\nmetadata: {name: a\nspec: [\n";
const wrong = (name: string) => pod(name).replace('"node-1"', "7");
const names = ({ store }: Followed) => [...store.table("pods").keys()].sort().join();
const codes = ({ problems }: Followed) => problems().map(({ code }) => code);

/** A folder that one agent after the other follows. */
async function world(t: ExecutionContext) {
  const folder = await temporaryFolder(t);
  const memory = new Memory();
  return {
    memory,
    path: (name: string) => `${folder}/${name}`,
    start: async () => {
      const followed = await follow(t, folder, memory);
      await followed.started;
      return followed;
    },
  };
}

test("a file that is broken keeps its last objects over restarts, and the problem says since when they are", async (t) => {
  const { path, start } = await world(t);
  await writeFile(path("a.yaml"), `${pod("a")}\n---\n${pod("b")}\n`);
  const first = await start();
  await put(path("a.yaml"), broken);
  await until("the problem is told", () => codes(first).length === 1);
  first.stop();
  for (let restart = 0; restart < 2; restart++) {
    const next = await start();
    t.is(names(next), "default/a,default/b");
    t.deepEqual(next.problems(), first.problems());
    t.regex(next.problems()[0]?.message ?? "", /; its version of 20\d\d-\S+Z is in force$/);
    next.stop();
  }
  await put(path("a.yaml"), pod("b"));
  const mended = await start();
  t.is(names(mended), "default/b");
  t.deepEqual(mended.problems(), []);
});

test("what is broken while no agent looks keeps the version of before", async (t) => {
  const { path, start } = await world(t);
  await writeFile(path("a.yaml"), pod("a"));
  await writeFile(path("b.json"), pod("b"));
  await writeFile(path("c.json"), pod("c"));
  (await start()).stop();
  await writeFile(path("a.yaml"), broken);
  await writeFile(path("b.json"), wrong("b"));
  await truncate(path("c.json"), 65 * 1024 * 1024);
  const next = await start();
  t.is(names(next), "default/a,default/b,default/c");
  t.is(next.store.table("pods").get("default/b")?.node, "node-1");
  t.deepEqual(codes(next).sort(), ["MANIFEST_KEPT", "MANIFEST_SYNTAX", "MANIFEST_TYPE", "MANIFEST_UNREADABLE"]);
});

test("an object with a mistake keeps its row and its age over edits that do not mend it, restarts and a renamed file", async (t) => {
  const { path, start } = await world(t);
  await writeFile(path("a.json"), pod("a"));
  const first = await start();
  await put(path("a.json"), wrong("a"));
  await until("the problem is told", () => codes(first).includes("MANIFEST_KEPT"));
  const told = first.problems().find(({ code }) => code === "MANIFEST_KEPT");
  first.stop();
  await put(path("a.json"), wrong("a").replace("7", "8"));
  (await start()).stop();
  await rename(path("a.json"), path("b.json"));
  const next = await start();
  t.is(names(next), "default/a");
  t.deepEqual(
    next.problems().find(({ code }) => code === "MANIFEST_KEPT"),
    told,
  );
});

test("files and objects that are gone are forgotten, also if they go while no agent looks", async (t) => {
  const { path, start, memory } = await world(t);
  await writeFile(path("a.yaml"), pod("a"));
  await writeFile(path("b.yaml"), `${pod("b")}\n---\n${pod("c")}`);
  (await start()).stop();
  await rm(path("a.yaml"));
  await put(path("b.yaml"), pod("b"));
  const next = await start();
  t.is(names(next), "default/b");
  t.deepEqual([...memory.versions.keys()], [path("b.yaml")]);
  await writeFile(path("a.yaml"), broken);
  await put(path("b.yaml"), `${pod("b")}\n---\n${wrong("c")}`);
  await until("the problems are told", () => codes(next).length === 2);
  t.is(names(next), "default/b", "neither is remembered");
});

test("what was never good is reported, and nothing else", async (t) => {
  const { path, start, memory } = await world(t);
  await writeFile(path("a.yaml"), broken);
  await writeFile(path("b.json"), wrong("b"));
  for (let restart = 0; restart < 2; restart++) {
    const agent = await start();
    t.is(names(agent), "");
    t.deepEqual(codes(agent).sort(), ["MANIFEST_SYNTAX", "MANIFEST_TYPE"]);
    t.regex(
      agent.problems().find(({ code }) => code === "MANIFEST_SYNTAX")?.message ?? "",
      /nothing of it is in force$/,
    );
    agent.stop();
  }
  t.deepEqual([...memory.versions.keys()], [path("b.json")]);
});

test("an agent that cannot know what was in force does not start to follow", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/a.json`, pod("a"));
  const lastGood = { read: () => Promise.reject(new Error("input/output error")), keep: () => undefined };
  const followed = await follow(t, folder, lastGood);
  await t.throwsAsync(followed.started, { message: "input/output error" });
  t.is(names(followed), "");
});
