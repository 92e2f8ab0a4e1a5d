import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Attachments } from "../../../src/datapath/attachments.ts";
import { Datapath } from "../../../src/datapath/index.ts";
import { Periodic } from "../../../src/datapath/periodic.ts";
import { Pins } from "../../../src/datapath/pins.ts";
import { configSchema } from "../../../src/config/schema.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { NativeBinding } from "../../../src/native/contract.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";

async function pinsOf(t: ExecutionContext): Promise<Pins> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-attachments-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const pins = new Pins(folder);
  await pins.prepare({ mountBpffs: async () => "present" });
  return pins;
}

/** Links as files, as they are on bpffs. */
function attachments(kernel: FakeKernel, pins: Pins): Attachments {
  const native = {
    ...kernel.native,
    attachTc: async (...args: Parameters<NativeBinding["attachTc"]>) => {
      const done = await kernel.native.attachTc(...args);
      if (args[4] !== null) await writeFile(args[4], "");
      return done;
    },
    detachTc: async (...args: Parameters<NativeBinding["detachTc"]>) => rm(args[3] ?? "", { force: true }),
    unpin: async (path: string) => rm(path, { force: true }),
  };
  return new Attachments({ native, pins, mode: "tcx", program: (name) => ({ name, handle: 1, id: 1 }) });
}

const pod = (ifindex: number) => ({ kind: "pod", ifindex, name: `Pod ${ifindex}` }) as const;
const uplink = (ifindex: number) => ({ kind: "uplink", ifindex, name: `eth${ifindex}` }) as const;

test("a pod's device keeps its programs while it exists, an uplink only while it is one", async (t) => {
  const kernel = new FakeKernel();
  for (const index of [1, 2, 3]) kernel.devices.add(index);
  const pins = await pinsOf(t);
  const made = attachments(kernel, pins);
  t.deepEqual(await made.attach([pod(1), uplink(2), uplink(3)]), []);
  t.true(made.isAttached("pod", 1) && made.isAttached("uplink", 2));
  await made.settle();
  await made.attach([uplink(3)]);
  await made.detach();
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_network-3", "from_pod-1", "to_network-3", "to_pod-1"]);
  kernel.devices.delete(1);
  await made.detach();
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_network-3", "to_network-3"]);
});

test("a new pod has filters at once and links in a quiet moment, one device at a time; what comes with a crash is replaced in place", async (t) => {
  const kernel = new FakeKernel();
  for (const index of [1, 2]) kernel.devices.add(index);
  const pins = await pinsOf(t);
  const made = attachments(kernel, pins);
  await made.attach([pod(1), pod(2)]);
  t.deepEqual([...(await pins.linkNames())], []);
  t.true(made.isAttached("pod", 1) && made.isAttached("pod", 2));
  t.is(made.unsettledCount, 4);
  t.is(await made.verify(), 0, "no link is missing yet");

  await made.settle();
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_pod-1", "to_pod-1"]);
  kernel.devices.delete(2);
  await made.settle();
  t.is(made.unsettledCount, 0, "a device that is gone needs none");
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_pod-1", "to_pod-1"]);
  t.is(await made.verify(), 0);
});

test("one device that cannot have its programs is a problem of its own", async (t) => {
  const kernel = new FakeKernel();
  kernel.devices.add(1);
  const made = attachments(kernel, await pinsOf(t));
  const problems = await made.attach([pod(1), pod(9)]);
  t.deepEqual(
    problems.map(({ code, object, severity }) => [code, object, severity]),
    [
      ["ATTACH_FAILED", "Pod 9", "warning"],
      ["ATTACH_FAILED", "Pod 9", "warning"],
    ],
  );
  t.true(made.isAttached("pod", 1));
  t.false(made.isAttached("pod", 9));
  kernel.devices.add(9);
  t.deepEqual(await made.attach([pod(1), pod(9)]), [], "it is tried again");
});

test("a start replaces the programs of what exists and removes the pins of what does not; strangers' pins stay", async (t) => {
  const kernel = new FakeKernel();
  kernel.devices.add(1);
  const pins = await pinsOf(t);
  for (const name of ["from_pod-1", "to_pod-1", "from_pod-7", "other-1", "sock_connect4-c5"]) {
    await writeFile(pins.linkPath(name), "");
  }
  const made = attachments(kernel, pins);
  t.deepEqual(await made.replaceAll([]), []);
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_pod-1", "other-1", "sock_connect4-c5", "to_pod-1"]);
  t.true(made.isAttached("pod", 1));
  await made.attach([pod(1)]);
  t.is(made.counters.writes, 0);
});

test("a link that somebody removed is missed and put back", async (t) => {
  const kernel = new FakeKernel();
  kernel.devices.add(1);
  const pins = await pinsOf(t);
  const made = attachments(kernel, pins);
  await made.attach([pod(1)]);
  await made.settle();
  await rm(pins.linkPath("to_pod-1"));
  t.is(await made.verify(), 1);
  await made.attach([pod(1)]);
  await made.settle();
  t.true((await pins.linkNames()).has("to_pod-1"));
  t.is(await made.verify(), 0);
});

test("an update before the start is refused in words", async (t) => {
  const datapath = new Datapath({
    native: {} as NativeBinding,
    config: configSchema.parse({ nodeName: "n" }),
    log: silentLogger,
    clock: systemClock,
    conditions: { report: () => undefined },
    demands: { known: () => null, highest: 0, publish: async () => undefined },
    run: async () => null,
  });
  const nothing = { identities: new Map(), clusterPrefixes: [], endpoints: [], sets: [], frontends: [], uplinks: [] };
  await t.throwsAsync(datapath.apply(nothing), { code: "DATAPATH_NOT_STARTED" });
  t.deepEqual((await datapath.report()).maps, []);
  t.deepEqual(datapath.traffic(), []);
  t.is(datapath.endpointState(1), null);
  t.deepEqual(await datapath.conntrack(), []);
  await datapath.close();
});

test("bpffs that cannot be mounted is told with the folder and a remedy", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-attachments-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const refuse = async () => {
    throw failure("EPERM", 1, "mount bpffs on", folder);
  };
  await t.throwsAsync(new Pins(folder).prepare({ mountBpffs: refuse }), {
    code: "BPFFS_UNAVAILABLE",
    message: /EPERM/,
  });
});

test("bpffs is not mounted where it would end with the container", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-attachments-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  let mounted = 0;
  const native = {
    mountBpffs: async () => {
      mounted++;
      return "mounted" as const;
    },
  };
  const mounts = (propagation: string) => async () =>
    `40 27 8:1 / ${folder} rw,relatime ${propagation}- ext4 /dev/sda1 rw\n`;
  await t.throwsAsync(new Pins(join(folder, "a"), { mounts: mounts("master:7 ") }).prepare(native), {
    code: "BPFFS_UNAVAILABLE",
    message: /would end with it/,
  });
  t.is(mounted, 0);
  await new Pins(join(folder, "b"), { mounts: mounts("shared:9 master:7 ") }).prepare(native);
  await new Pins(join(folder, "c"), { mounts: mounts("") }).prepare(native);
  t.is(mounted, 2);
});

test("what is periodic goes on until it is stopped, one at a time", async (t) => {
  const callbacks: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    setTimer: (_ms, callback) => {
      callbacks.push(callback);
      return { cancel: () => void callbacks.splice(callbacks.indexOf(callback), 1) };
    },
  };
  let runs = 0;
  const periodic = new Periodic(clock, 1000, async () => void runs++);
  periodic.start();
  for (const expected of [1, 2, 3]) {
    t.is(callbacks.length, 1);
    callbacks.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    t.is(runs, expected);
  }
  await periodic.stop();
  t.is(callbacks.length, 0);
});
