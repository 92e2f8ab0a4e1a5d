import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { IdentityFile } from "../../../src/agent/identity-file.ts";
import type { Problem } from "../../../src/model/status.ts";
import { localNumbers } from "../../../src/identities/index.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";

function file(stateDir: string) {
  const problems: Problem[] = [];
  return { problems, file: new IdentityFile(stateDir, { report: (_, said) => problems.push(...said) }) };
}

const record = { version: 1, numbers: { "k8s:app=web": 256 }, free: [] } as const;

test("what was written is read again, by nobody but its owner", async (t) => {
  const folder = join(await temporaryFolder(t), "state");
  const first = file(folder);
  t.is(await first.file.read(), null);
  await first.file.write(record);
  t.deepEqual(await file(folder).file.read(), record);
  t.is((await stat(join(folder, "identities.json"))).mode & 0o777, 0o600);
});

test("a file that is cut short is no record: a warning, and new numbers", async (t) => {
  const folder = await temporaryFolder(t);
  const { file: cut, problems } = file(folder);
  await cut.write(record);
  const path = join(folder, "identities.json");
  await writeFile(path, (await readFile(path, "utf8")).slice(0, -5));
  t.is(await cut.read(), null);
  t.like(problems[0], { code: "IDENTITIES_UNREADABLE", severity: "warning" });
});

test("a folder that cannot be used is named, with what to do", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "state");
  await writeFile(path, "");
  const broken = file(path).file;
  for (const call of [broken.read(), broken.write(record)]) {
    const error = await t.throwsAsync(call, { code: "STATE_DIR", message: /ENOTDIR|EEXIST/ });
    t.like(error, { object: join(path, "identities.json") });
  }
  await mkdir(join(folder, "full", "identities.json.next"), { recursive: true });
  await t.throwsAsync(file(join(folder, "full")).file.write(record), { code: "STATE_DIR" });
});

test("numbers that are also the cluster's may be used although they cannot be written: a warning until they are", async (t) => {
  const folder = await temporaryFolder(t);
  const reports = new Map<string, readonly Problem[]>();
  const conditions = { report: (topic: string, said: readonly Problem[]) => void reports.set(topic, said) };
  const kept = { name: "cluster-identities.json", range: localNumbers, onlyCopy: false };
  const file = new IdentityFile(join(folder, "state"), conditions, kept);
  await writeFile(join(folder, "state"), "");
  t.false(await file.write(record));
  t.like(reports.get("identity-file")?.[0], { code: "STATE_DIR", severity: "warning" });
  await rm(join(folder, "state"));
  t.true(await file.write(record));
  t.deepEqual(reports.get("identity-file"), []);
  t.deepEqual(await file.read(), record);
});
