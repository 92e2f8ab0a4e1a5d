/**
 * A stream of short connections, run inside of a pod or namespace: `node short-connections.js HOST PORT FILE [AT_ONCE]` has AT_ONCE (2) under way at any
 * time: each connects, sends a line, reads the answer's and closes. Ends when FILE.end is there; makes FILE.begun when ten were answered.
 * Prints {"made", "answered", "from", "errors"}: errors counts what went wrong by its code ("ECONNRESET"; "late" after 10 s; "ended" without an answer).
 */
import { existsSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const [host, port, file, atOnce = "2"] = process.argv.slice(2);
const lateMs = 10_000;
const seen = { made: 0, answered: 0, from: new Set(), errors: {} };

/** What became of it: "" is an answer. */
function ask() {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), noDelay: true });
    const end = (what) => {
      socket.destroy();
      resolve(what);
    };
    socket.setTimeout(lateMs, () => end("late"));
    socket.on("error", (error) => end(error.code ?? error.message));
    socket.on("end", () => end("ended"));
    socket.once("connect", () => socket.write("hello\n"));
    socket.on("data", (chunk) => {
      seen.from.add(chunk.toString().split(" ")[0]);
      end("");
    });
  });
}

async function stream() {
  while (!existsSync(`${file}.end`)) {
    seen.made++;
    const what = await ask();
    if (what === "") seen.answered++;
    else seen.errors[what] = (seen.errors[what] ?? 0) + 1;
    if (seen.answered === 10) writeFileSync(`${file}.begun`, "");
    await pause(5);
  }
}

await Promise.all(Array.from({ length: Number(atOnce) }, stream));
console.log(JSON.stringify({ ...seen, from: [...seen.from].sort() }));
