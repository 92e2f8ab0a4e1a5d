import { appendFile, mkdir, open, rename, rm, truncate, utimes, writeFile } from "node:fs/promises";
import test from "ava";
import { systemClock } from "../../../../src/lib/clock.ts";
import { eventsOnly, type Followed, follow, Memory, pod, put, slowClock, temporaryFolder, until } from "./support.ts";

const names = ({ store }: Followed) => [...store.table("pods").keys()].sort();
const nodeOf = ({ store }: Followed, name: string) => store.table("pods").get(`default/${name}`)?.node;

test("everything in the folder and the folders in it is seen before start resolves; dotted names are skipped", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(`${folder}/more/still`, { recursive: true });
  await mkdir(`${folder}/.git`);
  await writeFile(`${folder}/a.yaml`, `${pod("a")}\n---\n${pod("b")}\n`);
  await writeFile(`${folder}/more/still/c.json`, pod("c"));
  for (const name of [".hidden.yaml", ".git/d.yaml", "notes.txt", "e.yaml~"])
    await writeFile(`${folder}/${name}`, pod("x"));
  const followed = await follow(t, folder);
  await followed.started;
  t.deepEqual(names(followed), ["default/a", "default/b", "default/c"]);
  t.deepEqual(followed.source.status(), {
    name: "files",
    synced: true,
    stale: false,
    detail: "2 files: 1 namespaces, 3 pods",
  });
  t.deepEqual(followed.problems(), []);
});

test("a file renamed into its place is seen by its event; one that goes takes its objects along", async (t) => {
  const followed = await follow(t, await temporaryFolder(t), new Memory(), eventsOnly);
  await followed.started;
  t.is(followed.source.status().detail, "0 files: no objects");
  const delays: number[] = [];
  for (const node of ["node-1", "node-2", "node-3", "node-4", "node-5"]) {
    await put(followed.path("pod.json"), pod("web", node));
    delays.push(await until("the change is seen", () => nodeOf(followed, "web") === node));
  }
  t.log(`seen after ${delays.map((delay) => Math.round(delay)).join(" ")} ms`);
  await rm(followed.path("pod.json"));
  await until("the pod is gone", () => names(followed).length === 0);
});

test("folders that come later are followed too, and take their objects along when they go", async (t) => {
  const followed = await follow(t, await temporaryFolder(t));
  await followed.started;
  await mkdir(followed.path("later"));
  await writeFile(followed.path("later/a.json"), pod("a"));
  await until("the first file is seen", () => names(followed).length === 1);
  await put(followed.path("later/b.json"), pod("b"));
  await until("the next file is seen", () => names(followed).length === 2);
  t.deepEqual(names(followed), ["default/a", "default/b"]);
  await rm(followed.path("later"), { recursive: true });
  await until("all are gone", () => names(followed).length === 0);
  t.deepEqual(followed.problems(), []);
});

test("a missing folder is a condition that names it, and is waited for: start does not take it for an empty world", async (t) => {
  const folder = `${await temporaryFolder(t)}/manifests`;
  const followed = await follow(t, folder);
  let started = false;
  void followed.started.then(() => {
    started = true;
  });
  await until("the problem is told", () => followed.problems().length === 1);
  t.like(followed.problems()[0], { code: "MANIFESTS_FOLDER", severity: "error", object: folder });
  t.regex(followed.problems()[0]?.remedy ?? "", /make the folder/);
  t.like(followed.source.status(), { synced: false, stale: true });
  await systemClock.sleep(150);
  t.false(started);
  await mkdir(folder);
  await writeFile(`${folder}/a.json`, pod("a"));
  await until("the folder is seen", () => started);
  t.deepEqual(followed.problems(), []);
  await until("the file is seen", () => names(followed).length === 1);
  t.like(followed.source.status(), { synced: true, stale: false });
});

test("a source that is stopped while it waits for its folder resolves", async (t) => {
  const followed = await follow(t, `${await temporaryFolder(t)}/missing`);
  followed.stop();
  await followed.started;
  t.false(followed.source.status().synced);
});

test("a folder that disappears keeps its last rows and is stale; one that comes again in its place is followed", async (t) => {
  const folder = `${await temporaryFolder(t)}/manifests`;
  await mkdir(folder);
  await writeFile(`${folder}/a.json`, pod("a"));
  const followed = await follow(t, folder);
  await followed.started;
  await rename(folder, `${folder}-away`);
  await put(`${folder}-away/a.json`, pod("a")); // something that the old watch hears
  await until("it is stale", () => followed.source.status().stale);
  t.deepEqual(names(followed), ["default/a"]);
  t.like(followed.problems()[0], { code: "MANIFESTS_FOLDER", object: folder });
  await mkdir(folder);
  await writeFile(`${folder}/b.json`, pod("b"));
  await until("the new folder is seen", () => names(followed).join() === "default/b");
  await put(`${folder}/c.json`, pod("c"));
  await until("and followed", () => names(followed).length === 2);
  t.deepEqual(followed.problems(), []);
  t.false(followed.source.status().stale);
});

test("a broken file keeps its last objects in force until it is mended, and every other file counts", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/a.yaml`, `${pod("a")}\n---\n${pod("b")}\n`);
  const followed = await follow(t, folder);
  await followed.started;
  await put(followed.path("a.yaml"), "kind: Pod\nmetadata: {name: a\nspec: [\n");
  await put(followed.path("c.json"), pod("c"));
  await until("the problem is told", () => followed.problems().length === 1);
  t.like(followed.problems()[0], { code: "MANIFEST_SYNTAX", object: followed.path("a.yaml") });
  t.regex(followed.problems()[0]?.field ?? "", /^line \d$/);
  await until("the other file counts", () => names(followed).join() === "default/a,default/b,default/c");
  await put(followed.path("a.yaml"), pod("b", "node-2"));
  await until("it is mended", () => names(followed).join() === "default/b,default/c");
  t.is(nodeOf(followed, "b"), "node-2");
  t.deepEqual(followed.problems(), []);
});

test("an object with a mistake keeps the row that it had; it is gone when it is removed", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/a.json`, pod("a"));
  const followed = await follow(t, folder);
  await followed.started;
  await put(followed.path("a.json"), pod("a", "node-2").replace('"node-2"', "7"));
  await until("the problem is told", () => followed.problems().length === 2);
  t.deepEqual(followed.brief(), ["error Pod default/a spec.nodeName", "warning Pod default/a"]);
  t.like(followed.problems()[1], { code: "MANIFEST_KEPT" });
  t.is(nodeOf(followed, "a"), "node-1");
  await put(followed.path("a.json"), pod("b"));
  await until("it is gone", () => names(followed).join() === "default/b");
  t.deepEqual(followed.problems(), []);
});

test("a file that cannot be read keeps its last objects and is told", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/a.json`, pod("a"));
  const followed = await follow(t, folder);
  await followed.started;
  // Too large to be a manifest: unlike with permissions this holds for root too.
  await truncate(followed.path("a.json"), 65 * 1024 * 1024);
  await until("the problem is told", () => followed.problems().length === 1);
  t.like(followed.problems()[0], { code: "MANIFEST_UNREADABLE", object: followed.path("a.json") });
  t.deepEqual(names(followed), ["default/a"]);
  await put(followed.path("a.json"), pod("b"));
  await until("it is mended", () => names(followed).join() === "default/b");
  t.deepEqual(followed.problems(), []);
});

test("a file that is written in place is not read half: no object of it disappears meanwhile", async (t) => {
  const folder = await temporaryFolder(t);
  const text = `${pod("a")}\n---\n${pod("b")}\n`;
  await writeFile(`${folder}/a.yaml`, text);
  const followed = await follow(t, folder, new Memory(), slowClock);
  await followed.started;
  const gone: string[] = [];
  followed.store.onChange(({ key, after }) => after === undefined && gone.push(key));
  const file = await open(followed.path("a.yaml"), "w");
  for (const part of [text.slice(0, 90), text.slice(90), `---\n${pod("c")}\n`]) {
    await file.write(part);
    await systemClock.sleep(15);
  }
  await file.close();
  await until("the new object is seen", () => names(followed).length === 3);
  t.deepEqual(gone, []);
});

test("a writer that never pauses is not waited for without end", async (t) => {
  const folder = await temporaryFolder(t);
  const followed = await follow(t, folder, new Memory(), eventsOnly);
  await followed.started;
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await appendFile(followed.path("a.yaml"), `---\n${pod("a")}\n`);
      await systemClock.sleep(5);
    }
  })();
  await until("it is read", () => names(followed).length > 0);
  writing = false;
  await writer;
  t.deepEqual(names(followed), ["default/a"]);
});

test("a file that is touched or replaced by its equal changes nothing, and unchanged objects keep their rows", async (t) => {
  const folder = await temporaryFolder(t);
  const list = (node: string) => `{"kind":"List","items":[${pod("same")},${pod("other", node)}]}`;
  await writeFile(`${folder}/a.json`, list("node-1"));
  const followed = await follow(t, folder);
  await followed.started;
  const { revision } = followed.store;
  const row = followed.store.table("pods").get("default/same");
  await utimes(followed.path("a.json"), new Date(), new Date());
  await put(followed.path("a.json"), list("node-1"));
  await put(followed.path("b.json"), pod("marker"));
  await until("a later file is seen", () => names(followed).includes("default/marker"));
  t.is(followed.store.revision, revision + 1);
  await put(followed.path("a.json"), list("node-2"));
  await until("the change is seen", () => nodeOf(followed, "other") === "node-2");
  t.is(followed.store.table("pods").get("default/same"), row);
});

test("kinds that an agent has no use for are logged once, shown in the status, and no problem", async (t) => {
  const folder = await temporaryFolder(t);
  const deployment = (name: string) => `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${name}}\n`;
  await writeFile(`${folder}/a.yaml`, `${deployment("a")}---\n${deployment("b")}`);
  const followed = await follow(t, folder);
  await followed.started;
  await put(followed.path("c.yaml"), deployment("c"));
  await until("the file is seen", () => followed.source.status().detail.startsWith("2 files"));
  t.deepEqual(followed.warnings, [{ kind: "apps/v1 Deployment", place: "a.yaml line 1" }]);
  t.regex(followed.source.status().detail, /ignored: apps\/v1 Deployment/);
  t.deepEqual(followed.problems(), []);
});

test("rows of other owners in the same tables are left alone", async (t) => {
  const followed = await follow(t, await temporaryFolder(t));
  const row = { name: "elsewhere", labels: {}, addresses: [], podCidrs: [] };
  followed.store.upsert("nodes", "elsewhere", row);
  await followed.started;
  await put(followed.path("a.json"), pod("a"));
  await until("the file is seen", () => names(followed).length === 1);
  t.is(followed.store.table("nodes").get("elsewhere"), row);
});

test("after its end a source writes nothing any more", async (t) => {
  const followed = await follow(t, await temporaryFolder(t));
  await followed.started;
  followed.stop();
  await put(followed.path("a.json"), pod("a"));
  await systemClock.sleep(100);
  t.deepEqual(names(followed), []);
});
