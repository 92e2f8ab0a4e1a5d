/** Limits of the engine, with real sockets: what happens beyond each, and that it is counted. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync } from "node:fs";
import { createServer as createTcp, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { packageRoot } from "../../../src/lab/runtime.ts";
import { ask, hello, listen, open } from "../../support/l7-clients.ts";
import { startEngine } from "../../support/l7-engine.ts";
import { httpRules } from "../../support/l7-runner.ts";

const rules = httpRules({ path: "/ok.*" });

interface IdleClients {
  /** Connections that were made, and those of them that were reset since. */
  readonly taken: number;
  readonly reset: number;
  end(): void;
}

/** Silent clients in a process of their own; they end with the test at the latest. */
function idleClients(t: ExecutionContext, port: number, count: number): IdleClients {
  const script = join(packageRoot(), "test/support/idle-clients.js");
  const child = spawn(process.execPath, [script, String(port), String(count)], { stdio: ["pipe", "pipe", "inherit"] });
  const clients = { taken: 0, reset: 0, end: () => void child.kill("SIGKILL") };
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [taken = 0, reset = 0] = line.split(" ").map(Number);
    Object.assign(clients, { taken, reset });
  });
  t.teardown(clients.end);
  return clients;
}

/** Most files that this process may open, as it is now and at most. */
function openFiles(): { readonly soft: number; readonly hard: number } {
  const [soft = "", hard = ""] = execFileSync("prlimit", [
    "--pid",
    String(process.pid),
    "--nofile",
    "--raw",
    "--noheadings",
    "--output=SOFT,HARD",
  ])
    .toString()
    .trim()
    .split(/\s+/);
  const number = (text: string) => (text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text));
  return { soft: number(soft), hard: number(hard) };
}

// One after the other: open files are limited for the process.
test.serial("ten thousand idle connections cost little, and too many are refused", async (t) => {
  const room = openFiles().soft - 500;
  const count = Math.min(10_000, room);
  if (count < 10_000) t.log(`${count} connections only: this process may open ${openFiles().soft} files`);
  const engine = await startEngine(t, await listen(t, hello()), rules, { connections: count + 1 });
  const clients = idleClients(t, engine.port, count);
  await engine.until("all are taken", () => engine.stats().connections === count);
  t.is(await ask(engine, "/ok"), "200 hello");
  await engine.until("that one is gone", () => engine.stats().connections <= count);
  const each = engine.stats().memory / count;
  t.true(each < 2048, `${each} bytes`);
  t.log(`${Math.round(each)} bytes for each of ${count} idle connections, beside the kernel's`);
  t.is(clients.reset, 0);
  const more = await open(engine);
  t.teardown(() => more.destroy());
  await engine.until("it is taken", () => engine.stats().connections === count + 1);
  // The next one is taken from the kernel's queue only to be reset.
  const surplus = idleClients(t, engine.port, 1);
  await engine.until("it was refused", () => engine.stats().refused >= 1 && surplus.reset === 1);
  t.is(engine.stats().limits?.maxConnections, 1);
});

test.serial(
  "where no more files may be open clients are reset at once, idle connections make room, and the loop rests",
  async (t) => {
    const engine = await startEngine(t, await listen(t, hello()), rules);
    const before = openFiles();
    // This process is the engine's, so it keeps what it will open itself: the file of a client, and a command to undo the limit.
    const own = openSync("/dev/null", "r");
    const undo = spawn("sh", ["-c", `read -r _; prlimit --pid ${process.pid} --nofile=${before.soft}:`], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    t.teardown(() => {
      const undone = once(undo, "exit");
      undo.stdin.end("\n");
      return undone;
    });
    const inUse = readdirSync("/proc/self/fd").length;
    const most = inUse + 100;
    execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${most}:`]);
    const clients = idleClients(t, engine.port, 300);
    // All are accepted by the kernel; none of those that nobody can serve waits in its queue.
    await engine.until("all are there", () => clients.taken === 300);
    await engine.until("all were looked at", () => engine.stats().connectionsTotal === 300);
    const { refused, limits, connections } = engine.stats();
    t.true(refused > 0 && limits?.openFiles === refused, `${refused} refused, ${limits?.openFiles} for files`);
    // Each holds a file at least; what the process had open before may have been closed meanwhile.
    t.true(connections < most, `${connections} connections with ${most} files`);
    await engine.until("who is not served knows", () => clients.reset >= refused);
    const cpu = process.cpuUsage();
    await sleep(1_000);
    const { user, system } = process.cpuUsage(cpu);
    t.true(user + system < 500_000, `${user + system} us of processor time in a second without anything to do`);
    // A request is refused at first, and those that ask nothing end for it.
    closeSync(own);
    let answer = "";
    for (let tries = 0; answer === "" && tries < 600; tries++) {
      answer = await ask(engine, "/ok").catch(() => "");
      if (answer === "") await sleep(100);
    }
    t.is(answer, "200 hello");
    t.true((engine.stats().limits?.idleForOthers ?? 0) > 0);
    t.is((await ask(engine, "/no")).slice(0, 3), "403");
  },
);

test.serial("what took too long or was too large is counted by its limit", async (t) => {
  const silent = createTcp((socket: Socket) => socket.on("error", () => undefined).resume());
  const engine = await startEngine(t, await listen(t, silent), rules, {
    head: 2_000,
    headTimeout: 300,
    idleTimeout: 300,
    requestTimeout: 300,
  });
  const say = async (text: string) => {
    const socket = await open(engine);
    t.teardown(() => socket.destroy());
    socket.on("error", () => undefined).resume();
    socket.write(text);
  };
  const reached = (limit: string, times: number) =>
    engine.until(`${limit} ${times} times`, () => engine.stats().limits?.[limit] === times);
  const silentOne = await open(engine);
  t.teardown(() => silentOne.destroy());
  await reached("idleTimeout", 1);
  await say("GET /ok HT");
  await reached("headTimeout", 1);
  await say("GET /ok HTTP/1.1\r\nhost: a\r\n\r\n");
  await reached("requestTimeout", 1);
  await say(`GET /ok HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(3_000)}\r\n\r\n`);
  await reached("maxHead", 1);
  const { idleTimeout, headTimeout, requestTimeout, maxHead, connectTimeout } = engine.stats().limits ?? {};
  t.deepEqual(
    { idleTimeout, headTimeout, requestTimeout, maxHead, connectTimeout },
    { idleTimeout: 1, headTimeout: 1, requestTimeout: 1, maxHead: 1, connectTimeout: 0 },
  );
});

test.serial("where memory is used up idle connections make room", async (t) => {
  const engine = await startEngine(t, await listen(t, hello()), rules, { memory: 100_000 });
  const idle: Socket[] = [];
  t.teardown(() => {
    for (const socket of idle) socket.destroy();
  });
  let ended = 0;
  while (engine.stats().memory < 100_000) {
    const socket = await open(engine).catch(() => null);
    if (socket === null) break; // there is no room any more
    socket.on("error", () => undefined);
    socket.on("close", () => ended++).resume();
    idle.push(socket);
  }
  const before = idle.length;
  let answer = "";
  // Each try is refused as long as there is no room, and makes some.
  for (let tries = 0; answer === "" && tries < 600; tries++) {
    answer = await ask(engine, "/ok").catch(() => "");
    if (answer === "") await sleep(100);
  }
  t.is(answer, "200 hello");
  t.true(ended > 0, `of ${before} idle connections`);
  t.true(engine.stats().refused > 0);
});
