import { execFile } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import test from "ava";
import { packageRoot } from "../../../src/native/index.ts";
import { compile, eventually, failureOf, load, mapOf, native } from "../../support/native.ts";
import { netns } from "../../support/netns.ts";

const addon = process.env.TANDEM_ADDON ?? join(packageRoot(), "build/addon/Release/tandem.node");

const source = `
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
SEC("tc") int produce(struct __sk_buff *skb) { __u64 x = 7; bpf_ringbuf_output(&events, &x, 8, 0); return 0; }
`;

/** Opens a monitor and a ring, keeps both busy, and says so; the rest is the caller's. Plain JavaScript on the addon itself. */
const opening = (path: string, namespace: string) => `
  const native = require(${JSON.stringify(addon)});
  const options = { path: ${JSON.stringify(path)}, pinPath: null, rodata: [], maxEntries: [], skipPrograms: [], reuseMaps: [] };
  let records = 0, events = 0;
  const pending = [];
  async function open() {
    const loaded = await native.loadObject(options);
    const ring = native.openRing(loaded.maps.find(({ name }) => name === "events").handle, 8, 1, (_, count) => { records += count; });
    const monitor = native.openMonitor(${JSON.stringify(namespace)}, ["link", "route"], () => { events++; });
    const filter = { family: null, table: null, protocol: null };
    // never awaited: they are under way when the environment ends
    for (let i = 0; i < 40; i++) {
      pending.push(native.testRun(loaded.programs[0].handle, Buffer.alloc(64), null, 20000), native.routes(${JSON.stringify(namespace)}, filter));
      pending.push(native.links(null), native.loadObject(options), native.links("/run/netns/tandem-none").catch(() => 0));
    }
    while (records === 0 || events === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    return { ring, monitor };
  }
`;

test.serial(
  "worker threads that are terminated with a ring, a monitor and calls under way leave no thread, and the process goes on",
  async (t) => {
    const [path, ns] = [await compile(t, source), await netns(t)];
    await native.links(null);
    const threads = () => readdirSync("/proc/self/task").length;
    const descriptors = () => readdirSync("/proc/self/fd").length;
    const before = { threads: threads(), descriptors: descriptors() };
    for (let round = 0; round < 8; round++) {
      const worker = new Worker(
        `${opening(path, ns.path)} open().then(() => require("worker_threads").parentPort.postMessage("open"), (error) => { throw error; });`,
        { eval: true, execArgv: [] },
      );
      const failed = once(worker, "error").then(([error]) => Promise.reject(error));
      await Promise.race([once(worker, "message"), failed]);
      failed.catch(() => undefined);
      await worker.terminate();
    }
    await eventually(() => threads() <= before.threads);
    await eventually(() => descriptors() <= before.descriptors);
    t.true((await native.links(ns.path)).length > 0);
  },
);

test.serial("handles of one environment mean nothing in another", async (t) => {
  const loaded = await load(t, await compile(t, source));
  const { handle } = mapOf(loaded, "events");
  const worker = new Worker(
    `const native = require(${JSON.stringify(addon)});
     try { native.mapLookup(${handle}, Buffer.alloc(0)); } catch (error) { require("worker_threads").parentPort.postMessage(error.code); }`,
    { eval: true, execArgv: [] },
  );
  const [code] = await once(worker, "message");
  t.is(code, "EBADF");
  await worker.terminate();
  t.is((await failureOf(t, () => native.openRing(handle + 1000, 8, 1, () => undefined))).code, "EBADF");
});

for (const [ending, code] of [
  ["process.exit(0)", 0],
  ["process.exitCode = 7; for (const promise of pending) await promise", 7],
  ["await native.closeRing(handles.ring); await native.closeMonitor(handles.monitor)", 0],
  ['throw new Error("stop")', 1],
] as const) {
  test.serial(`a process that ends by ${ending} with everything open ends at once and with its own code`, async (t) => {
    const [path, ns] = [await compile(t, source), await netns(t)];
    for (let round = 0; round < 3; round++) {
      const script = `${opening(path, ns.path)} (async () => { const handles = await open(); ${ending}; })();`;
      const ended = await promisify(execFile)(process.execPath, ["-e", script], { timeout: 120_000 }).then(
        () => ({ code: 0, signal: null, stderr: "" }),
        (error: { code: number; signal: string | null; stderr: string }) => error,
      );
      t.is(ended.signal, null, `it did not end by itself ${ended.stderr}`);
      t.is(ended.code, code, ended.stderr);
    }
  });
}

test.serial("an exception in a receiver is the process's uncaught exception, and the ring goes on", async (t) => {
  const path = await compile(t, source);
  const script = `
    const native = require(${JSON.stringify(addon)});
    let caught = 0, calls = 0;
    process.on("uncaughtException", (error) => { if (error.message === "no") caught++; });
    (async () => {
      const loaded = await native.loadObject({ path: ${JSON.stringify(path)}, pinPath: null, rodata: [], maxEntries: [], skipPrograms: [], reuseMaps: [] });
      native.openRing(loaded.maps.find(({ name }) => name === "events").handle, 8, 1, () => { if (++calls < 3) throw new Error("no"); });
      while (calls < 5) {
        await native.testRun(loaded.programs[0].handle, Buffer.alloc(64), null, 1);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      console.log(caught, calls >= 5);
    })();`;
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", script], { timeout: 120_000 });
  t.is(stdout.trim(), "2 true");
});
