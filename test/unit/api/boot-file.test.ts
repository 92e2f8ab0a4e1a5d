/** What holds for a boot: read as it was written, and nothing of a file that is none, or of another boot. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { bootMarksBeside } from "../../../src/agent/boot-marks.ts";
import { bootFile, bootId, encodeMarks, noMarks, readMarks } from "../../../src/api/boot-file.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";

const marks = { datapath: true, network: "degraded" } as const;

test("marks are read as they were written, in the same boot", async (t) => {
  const folder = await temporaryFolder(t);
  const socket = join(folder, "agent.sock");
  const kept = bootMarksBeside(socket, silentLogger);
  t.deepEqual(await kept.read(), noMarks);
  await kept.write(marks);
  t.deepEqual(await kept.read(), marks);
  t.deepEqual(await readdir(folder), ["boot.json"]);
  await writeFile(bootFile(socket), encodeMarks("another", marks));
  t.deepEqual(await kept.read(), noMarks);
});

test("a file that is cut short, or says what nobody wrote, holds nothing", async (t) => {
  const socket = join(await temporaryFolder(t), "agent.sock");
  for (const text of ["", "null", '{"boot": "b", "network": "re', '{"boot": "b"}', '{"boot": "", "datapath": true}']) {
    await writeFile(bootFile(socket), text);
    t.deepEqual(await readMarks(socket, "b"), noMarks, text);
    t.deepEqual(await readMarks(socket, ""), noMarks, text);
  }
});

test("a folder that cannot be written is no failure", async (t) => {
  const file = join(await temporaryFolder(t), "file");
  await writeFile(file, "");
  await t.notThrowsAsync(bootMarksBeside(join(file, "agent.sock"), silentLogger).write(marks));
  t.regex(bootId(), /^[0-9a-f-]{36}$/);
});
