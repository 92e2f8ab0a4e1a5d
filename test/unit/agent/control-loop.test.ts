import test from "ava";
import { ControlLoop } from "../../../src/agent/control-loop.ts";
import { type IdentityRecord, LocalIdentityAllocator } from "../../../src/agent/identity-allocator.ts";
import type { ComputeResult } from "../../../src/compute/result.ts";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";

/** The system's, but keeping the test's process alive. */
const clock: Clock = {
  ...systemClock,
  setTimer: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

function result(id: number): ComputeResult {
  return {
    desired: { identities: [], clusterPrefixes: [], endpoints: [], sets: [], frontends: [], uplinks: [] },
    identityOfPod: new Map(),
    identities: [{ id, labels: [], references: 1, reserved: false }],
    policies: [],
    problems: [],
  };
}

function setUp(apply: () => Promise<void>) {
  const store = new TableStore();
  const allocator = new LocalIdentityAllocator(null);
  const steps: string[] = [];
  const reports = new Map<string, readonly Problem[]>();
  const loop = new ControlLoop({
    store,
    allocator,
    compute: (snapshot) => {
      steps.push("compute");
      return result(allocator.numberFor(`namespaces=${snapshot.namespaces.size}`));
    },
    apply: async () => {
      steps.push("apply");
      await apply();
    },
    identityFile: {
      write: async (record: IdentityRecord) => void steps.push(`write ${Object.keys(record.numbers).join(" ")}`),
    },
    conditions: { report: (topic, problems) => void reports.set(topic, problems) },
    clock,
    log: silentLogger,
  });
  return { store, loop, steps, reports };
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
