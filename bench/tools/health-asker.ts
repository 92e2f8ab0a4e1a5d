/** Asks the 1000 nodes of `bench health` for a while, as a process of its own, and prints what that cost. */
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { nodes, sourceOf } from "../health-world.ts";

const [netns = "", count = "0", seconds = "0"] = process.argv.slice(2);

/** MB that are in use, without garbage. */
function heapMb(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
}

const before = heapMb();
const store = nodes(Number(count));
const source = sourceOf(netns, store);
source.start();
// All asked once, packets of size as well, and what answers given to the addon; the code compiled.
await sleep(count === "0" ? 10_000 : 45_000);
const [cpu, from] = [process.cpuUsage(), performance.now()];
await sleep(Number(seconds) * 1000);
const { user, system } = process.cpuUsage(cpu);
const share = (user + system) / 1000 / (performance.now() - from);
const silent = [...store.table("nodeHealth").values()].filter(({ state }) => state !== "reachable").length;
if (silent > 0) throw new Error(`${silent} of ${count} nodes are not reachable`);
console.log(JSON.stringify({ share, heapMb: heapMb() - before }));
process.exit(0);
