import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import test, { type ExecutionContext } from "ava";
import { systemClock } from "../../../../src/lib/clock.ts";
import type { LastGood } from "../../../../src/model/last-good.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { MasqueradeSource, type MasqueradeVersion } from "../../../../src/sources/masquerade/index.ts";
import { put, temporaryFolder, until } from "../files/support.ts";

class Kept implements LastGood<MasqueradeVersion> {
  versions: ReadonlyMap<string, MasqueradeVersion> = new Map();
  read = async () => this.versions;
  keep(versions: ReadonlyMap<string, MasqueradeVersion>): void {
    this.versions = versions;
  }
}

function follow(t: ExecutionContext, path: string | null, lastGood = new Kept()) {
  const store = new TableStore();
  const said = new Map<string, readonly Problem[]>();
  const conditions = { report: (topic: string, problems: readonly Problem[]) => void said.set(topic, problems) };
  const source = new MasqueradeSource({ path, store, conditions, clock: systemClock, lastGood });
  const ending = new AbortController();
  t.teardown(() => ending.abort());
  return {
    lastGood,
    started: source.start(ending.signal),
    stop: () => ending.abort(),
    rows: () => [...store.table("nonMasquerade").keys()].sort(),
    codes: () => [...said.values()].flat().map(({ code }) => code),
  };
}

const only = (cidr: string) => `nonMasqueradeCIDRs: [${cidr}]\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n`;

test("without a file in the settings there is nothing", async (t) => {
  const followed = follow(t, null);
  await followed.started;
  t.deepEqual(followed.rows(), []);
});

test("the file is followed: renamed into its place, written there, and gone", async (t) => {
  const folder = await temporaryFolder(t);
  const path = `${folder}/config`;
  await writeFile(path, only("10.0.0.0/8"));
  const followed = follow(t, path);
  await followed.started;
  t.deepEqual(followed.rows(), ["10.0.0.0/8"]);
  await put(path, only("10.1.0.0/16"));
  await until("the renamed file is seen", () => followed.rows()[0] === "10.1.0.0/16");
  await writeFile(path, only("10.2.0.0/16"));
  await until("what was written in place is seen", () => followed.rows()[0] === "10.2.0.0/16");
  await rm(path);
  await until("the file is gone", () => followed.rows().length === 13);
});

test("a mounted ConfigMap, which moves a link beside the file, is followed", async (t) => {
  const folder = await temporaryFolder(t);
  for (const [name, cidr] of [
    ["..1", "10.1.0.0/16"],
    ["..2", "10.2.0.0/16"],
  ] as const) {
    await mkdir(`${folder}/${name}`);
    await writeFile(`${folder}/${name}/config`, only(cidr));
  }
  await symlink("..1", `${folder}/..data`);
  await symlink("..data/config", `${folder}/config`);
  const followed = follow(t, `${folder}/config`);
  await followed.started;
  t.deepEqual(followed.rows(), ["10.1.0.0/16"]);
  await symlink("..2", `${folder}/..data_tmp`);
  await rename(`${folder}/..data_tmp`, `${folder}/..data`);
  await until("the other version is seen", () => followed.rows()[0] === "10.2.0.0/16");
});

test("a folder that comes later is found, and until then the reserved networks hold", async (t) => {
  const folder = await temporaryFolder(t);
  const followed = follow(t, `${folder}/later/config`);
  await followed.started;
  t.is(followed.rows().length, 13);
  await mkdir(`${folder}/later`);
  await writeFile(`${folder}/later/config`, only("10.3.0.0/16"));
  await until("it is seen", () => followed.rows()[0] === "10.3.0.0/16");
});

test("what cannot be used is told, and what was in force stays, also over a restart", async (t) => {
  const path = `${await temporaryFolder(t)}/config`;
  await writeFile(path, only("10.0.0.0/8"));
  const first = follow(t, path);
  await first.started;
  await put(path, only("10.0.0.0/99"));
  await until("the mistake is told", () => first.codes().includes("MASQUERADE_CONFIG"));
  t.deepEqual(first.rows(), ["10.0.0.0/8"]);
  first.stop();
  const second = follow(t, path, first.lastGood);
  await second.started;
  t.deepEqual([second.rows(), second.codes()], [["10.0.0.0/8"], ["MASQUERADE_CONFIG"]]);
  await put(path, only("10.4.0.0/16"));
  await until("it is mended", () => second.rows()[0] === "10.4.0.0/16" && second.codes().length === 0);
});

test("a path that is a folder is told, and the reserved networks hold until it is a file", async (t) => {
  const path = `${await temporaryFolder(t)}/config`;
  await mkdir(path);
  const followed = follow(t, path);
  await followed.started;
  t.is(followed.rows().length, 13);
  t.deepEqual(followed.codes(), ["MASQUERADE_CONFIG"]);
  await rm(path, { recursive: true });
  await put(path, only("10.5.0.0/16"));
  await until("it is seen", () => followed.rows()[0] === "10.5.0.0/16" && followed.codes().length === 0);
});
