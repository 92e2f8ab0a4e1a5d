/** The agent's memory of names does not grow with the names that pods have ever asked for. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import test from "ava";

const script = new URL("../../../support/names-memory.ts", import.meta.url).pathname;
const rate = 200;
const pods = 16;
/** As src/agent/names/index.ts has them. */
const mostAddresses = 32_768;
/** Of this much time; docs/l7.md has the figure of two hours (7200). */
const seconds = Number(process.env.TANDEM_NAMES_SECONDS ?? 1_000);

interface Tenth {
  readonly told: number;
  readonly opened: number;
  readonly addresses: number;
  readonly rows: number;
  readonly forgotten: number;
  readonly heap: number;
  readonly file: number;
}

test("200 new names a second: entries, heap and file stay as they are once the cache is full, and each answer is let go", async (t) => {
  t.timeout(1_800_000);
  const words = ["--expose-gc", "--import=tsx", script, ...[rate, seconds, pods].map(String)];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const tenths = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Tenth);
  t.is(tenths.length, 10);
  const last = tenths.at(-1) as Tenth;
  t.is(last.told, rate * seconds);
  t.is(last.opened, last.told, "nobody waits for ever");
  t.is(last.forgotten + last.addresses, last.told, "what had to go was told to the proxies");
  for (const { addresses, rows } of tenths) {
    t.true(addresses <= mostAddresses, `${addresses} addresses`);
    t.is(rows, addresses);
  }
  // What is collected when differs: a growth would be one in each tenth.
  const full = tenths.filter(({ told }) => told >= mostAddresses);
  const [first] = full;
  t.true(full.length >= 5 && first !== undefined);
  const [heap, file] = [first?.heap ?? 0, first?.file ?? 0];
  for (const each of full) {
    t.true(each.heap < heap * 1.6, `${heap} bytes of heap became ${each.heap} after ${each.told} names`);
    t.true(each.file < file * 1.5, `${file} bytes of file became ${each.file}`);
  }
  t.log(`${last.told} names: ${last.addresses} addresses, ${(last.heap / 2 ** 20).toFixed(1)} MiB of heap`);
});
