/** One container under a clock of the test's: starts, pauses, probes. */
import test from "ava";
import { Container } from "../../../../src/lab/kubelet/container.ts";
import { kubeletPodSchema } from "../../../../src/lab/kubelet/pod.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { FakePodRuntime } from "../../../support/fake-pod-runtime.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

function setup(spec: object = {}, container: object = {}) {
  const pod = kubeletPodSchema.parse({
    metadata: { name: "web", namespace: "shop", uid: "u1" },
    spec: { nodeName: "node-1", ...spec, containers: [{ name: "main", ...container }] },
  });
  const [main] = pod.spec.containers;
  if (main === undefined) throw new Error("no container");
  const runtime = new FakePodRuntime();
  const clock = new ManualClock();
  const stop = new AbortController();
  const shared = { pod, container: main, ip: "127.0.0.1", runtime, clock, log: silentLogger, restarts: 0 };
  const subject = new Container({ ...shared, onChange: () => {} });
  const starts = () => runtime.calls.filter((call) => call.startsWith("start")).length;
  return { pod, runtime, clock, stop, subject, starts };
}

const exec = { exec: { command: ["check"] } };

test("a container that ends again and again starts at once, then after 10, 20, 40 s, and at once when it had run for 10 minutes", async (t) => {
  const { pod, runtime, clock, stop, subject, starts } = setup();
  const running = subject.run(stop.signal);
  await clock.advance(0);
  t.is(starts(), 1);
  let expected = 1;
  for (const pauseMs of [0, 10_000, 20_000, 40_000]) {
    runtime.exit(pod, "main", 1);
    if (pauseMs > 0) {
      await clock.advance(pauseMs - 1);
      t.is(starts(), expected);
      t.like(subject.view.state, { kind: "waiting", reason: "CrashLoopBackOff" });
      t.like(subject.view.last, { exitCode: 1 });
    }
    await clock.advance(1);
    t.is(starts(), ++expected);
    t.is(subject.view.restarts, expected - 1);
    t.is(subject.view.state.kind, "running");
  }
  await clock.advance(600_000);
  runtime.exit(pod, "main", 0);
  await clock.advance(0);
  t.is(starts(), expected + 1);
  stop.abort();
  await running;
});

test("restartPolicy decides by the exit code whether a container starts again", async (t) => {
  for (const [restartPolicy, code, again] of [
    ["Always", 0, true],
    ["OnFailure", 1, true],
    ["OnFailure", 0, false],
    ["Never", 1, false],
  ] as const) {
    const { pod, runtime, clock, stop, subject, starts } = setup({ restartPolicy });
    const running = subject.run(stop.signal);
    await clock.advance(0);
    runtime.exit(pod, "main", code);
    await clock.advance(0);
    t.is(starts(), again ? 2 : 1, `${restartPolicy} ${code}`);
    if (!again) t.like(subject.view.state, { kind: "terminated", exitCode: code });
    stop.abort();
    await running;
  }
});

test("one that cannot be started waits and is tried again, and its reason can be read", async (t) => {
  const { runtime, clock, stop, subject, starts } = setup();
  runtime.startFailures.push(new Error("no such program"), new Error("no such program"));
  const running = subject.run(stop.signal);
  await clock.advance(0);
  t.is(starts(), 2);
  t.like(subject.view.last, { reason: "StartError", message: "no such program" });
  await clock.advance(10_000);
  t.is(starts(), 3);
  t.is(subject.view.state.kind, "running");
  stop.abort();
  await running;
});

test("without a readiness probe it is ready when it runs; with one after its first success, and not after three failures", async (t) => {
  const plain = setup();
  const first = plain.subject.run(plain.stop.signal);
  await plain.clock.advance(0);
  t.true(plain.subject.view.ready);
  plain.stop.abort();
  await first;

  const { runtime, clock, stop, subject } = setup({}, { readinessProbe: { ...exec, initialDelaySeconds: 5 } });
  const running = subject.run(stop.signal);
  await clock.advance(4_999);
  t.false(subject.view.ready);
  await clock.advance(1);
  t.true(subject.view.ready);
  runtime.execCode = 1;
  await clock.advance(20_000);
  t.true(subject.view.ready);
  await clock.advance(10_000);
  t.false(subject.view.ready);
  t.is(subject.view.restarts, 0);
  stop.abort();
  await running;
});

test("a failed liveness probe ends the container with the pod's grace, and it starts anew", async (t) => {
  const { runtime, clock, stop, subject, starts } = setup(
    { terminationGracePeriodSeconds: 7 },
    { livenessProbe: { ...exec, periodSeconds: 1, failureThreshold: 2 } },
  );
  const running = subject.run(stop.signal);
  await clock.advance(10_000);
  t.is(starts(), 1);
  runtime.execCode = 1;
  await clock.advance(2_000);
  t.true(runtime.calls.includes("stop shop/web/main 7000"));
  t.is(starts(), 2);
  t.like(subject.view.last, { message: "liveness probe: exit code 1" });
  stop.abort();
  await running;
});

test("other probes wait for the start-up probe, which ends a container that never comes up", async (t) => {
  const probes = { startupProbe: { ...exec, periodSeconds: 1, failureThreshold: 3 }, livenessProbe: exec };
  const { runtime, clock, stop, subject, starts } = setup({}, probes);
  runtime.execCode = 1;
  const running = subject.run(stop.signal);
  await clock.advance(1_999);
  t.false(subject.view.started);
  t.is(starts(), 1);
  await clock.advance(1);
  t.is(starts(), 2);
  runtime.execCode = 0;
  await clock.advance(1_000);
  t.true(subject.view.started && subject.view.ready);
  stop.abort();
  await running;
});

test("a process of an earlier kubelet is taken over, not started", async (t) => {
  const { pod, runtime, clock, stop, subject, starts } = setup();
  runtime.run(pod, "main");
  const running = subject.run(stop.signal);
  await clock.advance(0);
  t.is(starts(), 0);
  t.is(subject.view.state.kind, "running");
  stop.abort();
  await running;
});
