/**
 * Loaded into an agent before its own code (`NODE_OPTIONS=--import=…`): how long its event loop makes others wait. Told SIGUSR2, it writes what it saw
 * since the last one to the file that TANDEM_BENCH_LOOP names, and begins anew.
 *
 * A timer each 5 ms says how late it comes. While the loop is blocked no timer is due but one, and asking only that one would count a pause of
 * a second as little as one of 6 ms: the ones that it kept from coming are counted as well, each by what it would have waited.
 *
 * On a machine that others use as well the thread also waits for a processor. The kernel says for how long (`schedstat`), so both are told: how late
 * timers come, and how late they would have come by what the agent does itself.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";

const file = process.env.TANDEM_BENCH_LOOP ?? "";
const everyMs = 5;
/** @type {number[]} */
let delays = [];
/** @type {number[]} */
let own = [];
let waited = processorWaitMs();
let cpu = process.cpuUsage();
let since = performance.now();
let due = since + everyMs;

/** ms that this thread could have run and did not, since its start. */
function processorWaitMs() {
  return Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[1]) / 1e6;
}

/** @param {number[]} into @param {number} most ms */
function add(into, most) {
  for (let late = Math.max(0, most); late >= 0; late -= everyMs) into.push(late);
}

function sample() {
  const now = performance.now();
  const waitedNow = processorWaitMs();
  add(delays, now - due);
  add(own, now - due - (waitedNow - waited));
  waited = waitedNow;
  due = performance.now() + everyMs;
  setTimeout(sample, everyMs).unref();
}
setTimeout(sample, everyMs).unref();

process.on("SIGUSR2", () => {
  const { user, system } = process.cpuUsage(cpu);
  const now = performance.now();
  writeFileSync(`${file}.new`, JSON.stringify({ delays, own, cpuMs: (user + system) / 1000, ms: now - since }));
  renameSync(`${file}.new`, file);
  delays = [];
  own = [];
  cpu = process.cpuUsage();
  since = now;
});
