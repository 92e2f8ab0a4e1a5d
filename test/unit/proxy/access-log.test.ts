import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { silentLogger } from "../../../src/model/logging.ts";
import { AccessLog } from "../../../src/proxy/access-log.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";

const text = (path: string) => readFile(path, "utf8").catch(() => null);

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("lines are kept in order, and a full file is renamed over the one before", async (t) => {
  const path = join(await temporaryFolder(t), "logs", "access.log");
  const log = new AccessLog({ path, limit: 8, log: silentLogger });
  for (const line of ["a 0000000\n", "b 0000000\n", "c\n"]) {
    log.write(Buffer.from(line));
    await until(async () => (await text(path))?.includes(line) === true);
  }
  await log.close();
  t.is(await text(path), "c\n");
  t.is(await text(`${path}.1`), "b 0000000\n");
  t.is(log.lostBatches, 0);
});

test("after SIGHUP lines go to a file of that name again, whoever took the one before", async (t) => {
  const path = join(await temporaryFolder(t), "access.log");
  const log = new AccessLog({ path, limit: 1 << 20, log: silentLogger });
  log.write(Buffer.from("a\n"));
  await until(async () => (await text(path)) === "a\n");
  await rename(path, `${path}.taken`);
  log.write(Buffer.from("b\n"));
  await until(async () => (await text(`${path}.taken`)) === "a\nb\n");
  log.reopen();
  log.write(Buffer.from("c\n"));
  await log.close();
  t.is(await text(path), "c\n");
});

test("what cannot be written is counted, and said once", async (t) => {
  const said: string[] = [];
  const folder = await temporaryFolder(t);
  // A folder is no file.
  const log = new AccessLog({
    path: folder,
    limit: 1 << 20,
    log: { ...silentLogger, error: (_, message) => said.push(message) },
  });
  log.write(Buffer.from("a\n"));
  await log.close();
  log.write(Buffer.from("b\n"));
  await log.close();
  t.is(log.lostBatches, 2);
  t.deepEqual(said, ["the access log cannot be written"]);
});
