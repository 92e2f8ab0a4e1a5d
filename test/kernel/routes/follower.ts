/** A routes source as a process of its own: says when it started, then the number of routes and its
 * status as one JSON line per line of stdin. */
import { systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { TableStore } from "../../../src/model/store.ts";
import { loadNative } from "../../../src/native/index.ts";
import { RoutesSource } from "../../../src/sources/routes/index.ts";

const newline = 10;
const store = new TableStore();
const source = new RoutesSource({
  native: loadNative(),
  config: { nodeName: "n1", uplinks: ["auto"] },
  store,
  conditions: { report: () => undefined },
  log: silentLogger,
  clock: systemClock,
  netns: process.argv[2] ?? null,
});
// Open from the start: nothing else here keeps the process alive.
process.stdin.resume();
await source.start(new AbortController().signal);
process.stdin.on("data", (chunk: Buffer) => {
  for (const byte of chunk) if (byte === newline) answer();
});
process.stdout.write("started\n");

function answer(): void {
  process.stdout.write(`${JSON.stringify({ routes: store.table("routes").size, ...source.status() })}\n`);
}
