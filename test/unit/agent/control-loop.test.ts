import test from "ava";
import { ControlLoop, type ControlLoopOptions } from "../../../src/agent/control-loop.ts";
import { type IdentityRecord, LocalIdentityAllocator } from "../../../src/identities/index.ts";
import type { ComputeResult } from "../../../src/compute/result.ts";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import { parsePrefix } from "../../../src/model/ip.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { PolicyRow } from "../../../src/model/tables.ts";

/** The system's, but keeping the test's process alive. */
const clock: Clock = {
  ...systemClock,
  setTimer: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

function result(id: number, key: string): ComputeResult {
  return {
    desired: { identities: new Map(), clusterPrefixes: [], endpoints: [], sets: [], frontends: [], uplinks: [] },
    identityOfPod: new Map(),
    identitiesInUse: new Map([[id, { key, texts: [key] }]]),
    identities: [{ id, labels: [], references: 1, reserved: false }],
    policies: [],
    lastValid: new Map(),
    problems: [],
  };
}

/** @param computeMs how long a computation blocks */
function setUp(
  apply: () => Promise<void>,
  computeMs = 0,
  write = async () => true,
  time: Clock = clock,
  durations?: ControlLoopOptions["durations"],
) {
  const store = new TableStore();
  const allocator = new LocalIdentityAllocator(null);
  const steps: string[] = [];
  const kept: number[] = [];
  const reports = new Map<string, readonly Problem[]>();
  const loop = new ControlLoop({
    store,
    allocator,
    compute: (snapshot) => {
      steps.push("compute");
      const end = performance.now() + computeMs;
      while (performance.now() < end);
      const key = `namespaces=${snapshot.namespaces.size}`;
      return result(allocator.numberFor(key), key);
    },
    apply: async () => {
      steps.push("apply");
      await apply();
    },
    identityFile: {
      write: async (record: IdentityRecord) => {
        steps.push(`write ${Object.keys(record.numbers).join(" ")}`);
        return write();
      },
    },
    lastValid: { keep: (versions) => void kept.push(versions.size) },
    conditions: { report: (topic, problems) => void reports.set(topic, problems) },
    clock: time,
    log: silentLogger,
    ...(durations && { durations }),
  });
  return { store, loop, steps, kept, reports };
}

test("new identity numbers are written down before the kernel learns of them; changes that come together are one computation", async (t) => {
  let applied = () => {};
  const { store, loop, steps } = setUp(async () => applied());
  await loop.start();
  t.deepEqual(steps.splice(0), ["compute", "write namespaces=0", "apply"]);

  const again = new Promise<void>((resolve) => {
    applied = resolve;
  });
  for (const name of ["a", "b", "c"]) store.upsert("namespaces", name, { name, labels: {} });
  await again;
  await loop.stop();
  t.deepEqual(steps, ["compute", "write namespaces=0 namespaces=3", "apply"]);
});

test("an apply that fails is a condition until a later one succeeds, and only then the loop has started", async (t) => {
  let failures = 2;
  const { loop, reports, steps } = setUp(async () => {
    t.not(loop.result, null);
    if (failures-- > 0) throw new Error("map is full");
  });
  const started = loop.start();
  while (reports.get("control")?.length !== 1) await new Promise((resolve) => setTimeout(resolve, 2));
  t.like(reports.get("control")?.[0], { code: "APPLY_FAILED", message: "map is full" });
  await started;
  await loop.stop();
  t.deepEqual(reports.get("control"), []);
  t.is(steps.filter((step) => step === "apply").length, 3);
});

test("changes that are long on their way are pending until they are in the kernel", async (t) => {
  let passedMs = 0;
  const time = { ...clock, monotonicMs: () => clock.monotonicMs() + passedMs };
  let write = () => {};
  let hold = false;
  const held = () =>
    new Promise<void>((resolve) => {
      write = resolve;
    });
  const apply = async () => (hold ? held() : undefined);
  const { store, loop, steps } = setUp(apply, 0, undefined, time);
  await loop.start();
  t.is(loop.pending, "none");
  passedMs += 60_000;
  t.is(loop.pending, "none", "nothing waits, however long nothing came");
  hold = true;
  steps.splice(0);
  store.upsert("namespaces", "a", { name: "a", labels: {} });
  while (!steps.includes("apply")) await new Promise((resolve) => setTimeout(resolve, 2));
  passedMs += 60_000;
  t.is(loop.pending, "running");
  hold = false;
  const { facts } = loop.revision;
  write();
  while (loop.revision.applied < facts) await new Promise((resolve) => setTimeout(resolve, 2));
  t.is(loop.pending, "none");
  await loop.stop();
});

test("after a dear computation the loop rests as long: changes that never end do not take the event loop", async (t) => {
  const { store, loop, steps } = setUp(async () => undefined, 30);
  await loop.start();
  const start = performance.now();
  const runs = () => steps.filter((step) => step === "compute").length;
  for (let i = 0; performance.now() - start < 400 || runs() < 3; i++) {
    store.upsert("namespaces", "a", { name: "a", labels: { i: String(i) } });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const passed = performance.now() - start;
  // The first was before, and one may just have begun.
  const most = 1 + passed / 60 + 1;
  t.true(runs() <= most, `${runs()} in ${passed} ms`);
  await loop.stop();
});

test("routes that change are a reason to compute: pods' sources depend on them", async (t) => {
  const { store, loop, steps } = setUp(async () => undefined);
  await loop.start();
  const destination = parsePrefix("10.0.0.0/24");
  if (destination === null) return t.fail();
  store.upsert("routes", "10.0.0.0/24", { destination, protocol: 17, nextHops: [], metric: 0, mtu: null, since: 0 });
  const { facts } = loop.revision;
  while (loop.revision.applied < facts) await new Promise((resolve) => setTimeout(resolve, 1));
  await loop.stop();
  t.is(steps.filter((step) => step === "compute").length, 2);
});

test("the revision that is applied follows that of the facts when the kernel has it", async (t) => {
  let finish = () => {};
  const gate = () => new Promise<void>((resolve) => (finish = resolve));
  let waiting = Promise.resolve();
  const { store, loop } = setUp(() => waiting);
  await loop.start();
  const { facts, applied } = loop.revision;
  t.is(facts, applied);
  waiting = gate();
  store.upsert("namespaces", "shop", { name: "shop", labels: {} });
  t.deepEqual(loop.revision, { facts: facts + 1, applied });
  finish();
  while (loop.revision.applied < facts + 1) await new Promise((resolve) => setTimeout(resolve, 1));
  t.is(loop.revision.facts, facts + 1);
  await loop.stop();
});

test("numbers that could not be written down are kept from the kernel until they are", async (t) => {
  let failures = 2;
  const { loop, reports, steps } = setUp(
    async () => undefined,
    0,
    async () => {
      if (failures-- > 0) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
      return true;
    },
  );
  const started = loop.start();
  while (reports.get("control")?.length !== 1) await new Promise((resolve) => setTimeout(resolve, 2));
  t.like(reports.get("control")?.[0], { code: "ENOSPC" });
  await started;
  await loop.stop();
  t.deepEqual(
    steps.filter((step) => step !== "compute"),
    ["write namespaces=0", "write namespaces=0", "write namespaces=0", "apply"],
  );
});

test("numbers that others hold too do not wait to be written down: the kernel has them, and they are written the next time", async (t) => {
  const answers = [false, true];
  const { store, loop, steps } = setUp(
    async () => undefined,
    0,
    async () => answers.shift() ?? true,
  );
  await loop.start();
  t.deepEqual(steps.splice(0), ["compute", "write namespaces=0", "apply"]);
  for (const name of ["a", "b"]) {
    store.upsert("namespaces", name, { name, labels: {} });
    while (loop.revision.applied < loop.revision.facts) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await loop.stop();
  t.deepEqual(
    steps.filter((step) => step !== "compute"),
    ["write namespaces=0 namespaces=1", "apply", "write namespaces=0 namespaces=1 namespaces=2", "apply"],
  );
});

test("what computing asks for may change without any table: then it is computed again, but never before the start", async (t) => {
  let applied = () => {};
  const { loop, steps } = setUp(async () => applied());
  loop.recompute();
  const first = new Promise<void>((resolve) => {
    applied = resolve;
  });
  t.deepEqual(steps, []);
  await loop.start();
  await first;
  const before = steps.length;
  const again = new Promise<void>((resolve) => {
    applied = resolve;
  });
  loop.recompute();
  await again;
  await loop.stop();
  t.deepEqual(steps.slice(before), ["compute", "apply"]);
});

test("each changed policy is told once, with the time from when it was seen until the kernel had it; other changes are not", async (t) => {
  const times: number[] = [];
  const rounds: string[] = [];
  let failures = 1;
  let now = 0;
  const { store, loop } = setUp(
    async () => {
      now += 100;
      if (store.table("policies").size > 0 && failures-- > 0) throw new Error("map is full");
    },
    0,
    async () => true,
    { ...clock, monotonicMs: () => now },
    { round: (name) => void rounds.push(name), policyChange: (ms) => void times.push(ms) },
  );
  await loop.start();
  store.upsert("namespaces", "a", { name: "a", labels: {} });
  await until(() => loop.revision.applied === store.revision);
  t.deepEqual(times, []);
  t.deepEqual(rounds.slice(0, 4), ["compute", "apply", "compute", "apply"]);
  for (const name of ["p", "q"]) store.upsert("policies", name, policy(name));
  await until(() => loop.revision.applied === store.revision);
  await loop.stop();
  // The first try failed.
  t.deepEqual(times, [200, 200]);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const policy = (name: string): PolicyRow => ({
  ...{ kind: "NetworkPolicy", namespace: "shop", name, uid: name, generation: 1, spec: {}, specs: null },
});
