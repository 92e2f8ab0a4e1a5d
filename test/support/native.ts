/** The addon under test, and what its tests need around it: small eBPF objects, bpffs mounts, cgroups, waiting. */
import { execFile, execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";
import type { LoadedObject, LoadOptions, MapInfo } from "../../src/native/bpf-contract.ts";
import { loadNative, NativeError, packageRoot } from "../../src/native/index.ts";
import { uniqueName } from "./netns.ts";

const run = promisify(execFile);

export const native = loadNative();

export function little32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt32LE(value, 4 * at);
  return bytes;
}

/** A folder of the test's own. */
export async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "tandem-native-"));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

function clang(): string {
  for (const name of ["clang-19", "clang-20", "clang-18", "clang-17", "clang-16", "clang-15", "clang"]) {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return name;
    } catch {
      // Not installed: the next name is tried, and none at all is the error below.
    }
  }
  throw new Error("no clang is installed; run scripts/setup");
}

/** Compiles an eBPF program (with the usual includes in front) and returns the object's path. */
export async function compile(t: ExecutionContext, source: string): Promise<string> {
  const place = await folder(t);
  const file = join(place, "small.bpf.c");
  await writeFile(
    file,
    `#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n${source}\nchar _license[] SEC("license") = "GPL";\n`,
  );
  const multiarch = (await run("cc", ["-print-multiarch"]).catch(() => ({ stdout: "" }))).stdout.trim();
  const machine = { x64: "x86_64", arm64: "aarch64" }[arch() as string] ?? arch();
  const flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v2", `-D__${machine}__`, `-I${packageRoot()}/bpf/include`];
  await run(clang(), [
    ...flags,
    ...(multiarch ? ["-isystem", `/usr/include/${multiarch}`] : []),
    "-c",
    file,
    "-o",
    join(place, "small.bpf.o"),
  ]);
  return join(place, "small.bpf.o");
}

/** Loads an object and closes it with the test. */
export async function load(
  t: ExecutionContext,
  path: string,
  options: Partial<LoadOptions> = {},
): Promise<LoadedObject> {
  const loaded = await native.loadObject({
    path,
    pinPath: null,
    rodata: [],
    maxEntries: [],
    skipPrograms: [],
    reuseMaps: [],
    ...options,
  });
  t.teardown(() => native.closeObject(loaded.object));
  return loaded;
}

export function mapOf(loaded: LoadedObject, name: string): MapInfo {
  const found = loaded.maps.find((map) => map.name === name);
  if (found === undefined) throw new Error(`no map ${name} among ${loaded.maps.map((map) => map.name).join(", ")}`);
  return found;
}

export function programOf(loaded: LoadedObject, name: string): number {
  const found = loaded.programs.find((program) => program.name === name);
  if (found === undefined) throw new Error(`no program ${name}`);
  return found.handle;
}

/** A bpffs of the test's own. */
export async function bpffs(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp("/run/tandem-native-bpffs-");
  t.teardown(async () => {
    await run("umount", ["-l", path]).catch(() => undefined);
    await rmdir(path);
  });
  await native.mountBpffs(path);
  return path;
}

/** A cgroup (v2) of the test's own; processes in it must have ended. */
export async function cgroup(t: ExecutionContext): Promise<string> {
  const mounts = await readFile("/proc/mounts", "utf8");
  const root = mounts
    .split("\n")
    .find((line) => line.split(" ")[2] === "cgroup2")
    ?.split(" ")[1];
  if (root === undefined) throw new Error("no cgroup2 is mounted");
  const path = join(root, uniqueName());
  await mkdir(path);
  t.teardown(() =>
    eventually(() =>
      rmdir(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  return path;
}

/** Tries until `look` gives something true; throws after `timeoutMs`. */
export async function eventually<T>(look: () => T | Promise<T>, timeoutMs = 60_000): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > end) throw new Error("did not happen in time");
    await sleep(10);
  }
}

/** What `work` fails with; a failure of the test if it does not, or not with the addon's error. */
export async function failureOf(t: ExecutionContext, work: () => unknown): Promise<NativeError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof NativeError) return error;
    throw error;
  }
  t.fail("it should have failed");
  throw new Error("unreachable");
}

export interface Measured<T> {
  readonly result: T;
  readonly ms: number;
  /** The longest that the event loop was held up meanwhile. */
  readonly heldUpMs: number;
}

/**
 * Does `work` up to five times and tells of the time in which it held the event loop up least: other processes take the
 * processor too, so one time alone says nothing.
 */
export async function leastHeldUp<T>(work: () => Promise<T>): Promise<Measured<T>> {
  let best: Measured<T> | null = null;
  for (let i = 0; i < 5 && (best === null || best.heldUpMs > 20); i++) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await sleep(5); // the first sample
    delay.reset();
    const started = performance.now();
    const result = await work();
    const ms = performance.now() - started;
    await sleep(5); // the sample of what came last
    delay.disable();
    if (best === null || delay.max / 1e6 < best.heldUpMs) best = { result, ms, heldUpMs: delay.max / 1e6 };
  }
  if (best === null) throw new Error("unreachable");
  return best;
}
