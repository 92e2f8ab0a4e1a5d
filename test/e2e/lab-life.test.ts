import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { Lab } from "../../src/lab/lab.ts";
import { cgroupProcesses } from "../../src/lab/processes.ts";
import { readStoredLab } from "../../src/lab/records.ts";
import { program } from "../../src/lab/runtime.ts";
import { remains } from "../../src/lab/teardown.ts";
import { labName, pod, testLab, withLab } from "../support/lab.ts";

test("two labs run side by side, and one of them goes without the other noticing", async (t) => {
  t.timeout(240_000);
  const names = [labName(), labName()] as const;
  t.teardown(() => Promise.all(names.map((name) => Lab.down(name))));
  const [first, second] = await Promise.all(names.map((name) => testLab(t, { name, agents: false })));
  if (first === undefined || second === undefined) throw new Error("no labs");
  const ranges = (lab: Lab) => [
    ...lab.plan.nodes.flatMap((n) => [n.podCidr4, n.podCidr6, n.ipv4, n.ipv6, n.netns, n.cgroup]),
    lab.plan.externalPrefix4,
    lab.plan.externalPrefix6,
    lab.plan.servicePrefix4,
    lab.plan.servicePrefix6,
  ];
  t.deepEqual(
    ranges(first).filter((range) => ranges(second).includes(range)),
    [],
  );

  await Lab.down(first.name);
  t.deepEqual(await remains(first.name), []);
  await second.waitForRoutes();
  t.is((await second.exec("external/client", ["ping", "-c", "1", "-W", "10", second.node("node-2").ipv4])).code, 0);
});

test("a second lab of the same name is refused with what to do", (t) =>
  withLab(t, { nodes: 1, agents: false }, async (lab) => {
    const error = await t.throwsAsync(Lab.up({ name: lab.name, nodes: 1, agents: false }));
    t.like(error, { code: "LAB_EXISTS", object: `lab ${lab.name}` });
  }));

test("lab down after kill -9 of everything leaves nothing", (t) =>
  withLab(t, { nodes: 2, agents: false, objects: [pod("web", { hostNetwork: true })] }, async (lab) => {
    const pids = await cgroupProcesses(lab.plan.cgroup);
    t.true(pids.length >= 6, `${pids.length} processes`);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    // A shell that somebody left in a node, outside of the lab's cgroups, keeps the namespace in use but not its name.
    const shell = spawn("nsenter", [`--net=/run/netns/${lab.node("node-1").netns}`, "sleep", "60"]);
    t.teardown(() => shell.kill("SIGKILL"));
    await once(shell, "spawn");
    await Lab.down(lab.name);
    t.deepEqual(await remains(lab.name), []);
    await Lab.down(lab.name);
  }));

test("lab down cleans up after a lab up that was killed half way", async (t) => {
  t.timeout(240_000);
  for (const afterMs of [0, 450, 1050]) {
    const name = labName();
    t.teardown(() => Lab.down(name));
    const [file = "", ...words] = program("cli");
    const child = spawn(file, [...words, "lab", "up", "--name", name, "--no-agents"], { stdio: "ignore" });
    while ((await readStoredLab(name)) === null && child.exitCode === null) await sleep(5);
    await sleep(afterMs);
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "close");
    t.is(child.signalCode, "SIGKILL", "it was half way");
    t.not((await remains(name)).length, 0);
    await Lab.down(name);
    t.deepEqual(await remains(name), [], `killed after ${afterMs} ms`);
  }
});

test("lab exec runs in the target's namespace and cgroup and passes exit code, input and output on", (t) =>
  withLab(t, { nodes: 2, agents: false, objects: [pod("web", { hostNetwork: true, node: "node-2" })] }, async (lab) => {
    const inPod = await lab.exec("default/web", [
      "sh",
      "-c",
      "tail -n 1 /proc/self/cgroup; ip -4 -o addr show eth0; exit 7",
    ]);
    t.is(inPod.code, 7);
    t.regex(inPod.stdout, new RegExp(`/tandem-${lab.name}/node-2/default_web\n`));
    t.true(inPod.stdout.includes(lab.node("node-2").ipv4));
    const onNode = await lab.exec("node/node-1", ["cat"], { input: "through" });
    t.deepEqual(onNode, { code: 0, stdout: "through", stderr: "" });
    const outside = await lab.exec("external/client", ["sh", "-c", "kill -9 $$"]);
    t.is(outside.code, 137);
    await t.throwsAsync(lab.exec("default/nobody", ["true"]), { message: /LAB_UNKNOWN: default\/nobody/ });
  }));
