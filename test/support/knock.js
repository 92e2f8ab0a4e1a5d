/**
 * Who lets whom in, run inside of a pod: `node knock.js FILE PORT EVERY_MS ADDRESS…` tries a new TCP connection each EVERY_MS, to one address
 * after the other, until FILE.end is there; "once" instead of EVERY_MS: each address until somebody answers, 20 s at most. FILE.begun comes when
 * each was tried once. Who does not listen refuses: the packet came to its kernel all the same, so pods that run nothing can be judged, too.
 *
 * Prints for each address {"tried", "passed", "lastPassedAt", "from"}: passed are those that were taken or refused, lastPassedAt when the last of
 * these was begun (ms since the epoch; 0: none passed), from the names that answered.
 */
import { existsSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const [file, port, every, ...addresses] = process.argv.slice(2);
/** Less than TCP waits before it sends a SYN again: what passes is what was begun then. */
const patienceMs = 400;
const seen = new Map(addresses.map((address) => [address, { tried: 0, passed: 0, lastPassedAt: 0, from: new Set() }]));
const running = new Set();

/** Resolves to the name that answered, "" of nobody; null: nothing passed. */
function knock(address) {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port: Number(port), noDelay: true });
    let connected = false;
    const end = (result) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end(connected ? "" : null), patienceMs);
    socket.once("connect", () => {
      connected = true;
      socket.write("who\n");
    });
    socket.once("data", (chunk) => end(String(chunk).split(" ")[0]));
    socket.once("end", () => end(""));
    socket.once("error", ({ code }) => end(connected || code === "ECONNREFUSED" || code === "ECONNRESET" ? "" : null));
  });
}

async function judge(address) {
  const result = seen.get(address);
  const at = Date.now();
  result.tried++;
  const name = await knock(address);
  if (name === null) return false;
  result.passed++;
  result.lastPassedAt = Math.max(result.lastPassedAt, at);
  if (name !== "") result.from.add(name);
  return true;
}

async function untilAnswered(address) {
  for (const late = performance.now() + 20_000; !(await judge(address)) && performance.now() < late; ) await sleep(100);
}

if (every === "once") for (const address of addresses) await untilAnswered(address);
else {
  for (let round = 0; !existsSync(`${file}.end`); round++) {
    for (const address of addresses) {
      const judging = judge(address).finally(() => running.delete(judging));
      running.add(judging);
      await sleep(Number(every));
    }
    if (round === 0) writeFileSync(`${file}.begun`, "");
  }
  await Promise.all(running);
}
const text = (_, value) => (value instanceof Set ? [...value].sort() : value);
console.log(JSON.stringify(Object.fromEntries(seen), text));
