import test from "ava";
import { type ContainerView, waitingView } from "../../../../src/lab/kubelet/container.ts";
import { kubeletContainerSchema, kubeletPodSchema } from "../../../../src/lab/kubelet/pod.ts";
import {
  conditionsOf,
  podPhase,
  podStatus,
  type PodView,
  saysTheSame,
} from "../../../../src/lab/kubelet/pod-status.ts";

const waiting = waitingView(kubeletContainerSchema.parse({ name: "a" }), "ContainerCreating");
const running: ContainerView = { ...waiting, state: { kind: "running", startedAt: 0 }, started: true, ready: true };
const ended = (exitCode: number): ContainerView => ({
  ...waiting,
  state: { kind: "terminated", exitCode, reason: "Completed", message: "", startedAt: 0, finishedAt: 1_000 },
});

function pod(spec: object = {}, metadata: object = {}) {
  return kubeletPodSchema.parse({
    metadata: { name: "web", namespace: "shop", uid: "u1", ...metadata },
    spec: { nodeName: "node-1", containers: [{ name: "a" }], ...spec },
  });
}

function view(containers: readonly ContainerView[], more: Partial<PodView> = {}): PodView {
  return { containers, ips: ["10.64.1.2", "fd00::2"], hostIp: "172.30.0.1", startTime: 0, refused: null, ...more };
}

const stateOf = (status: Readonly<Record<string, unknown>>, type: string) =>
  conditionsOf(status).find((condition) => condition.type === type)?.status;

test("the phase follows from the containers and from what restartPolicy will do about them", (t) => {
  const again: ContainerView = { ...waiting, last: { ...ended(1).state } as ContainerView["last"] };
  for (const [restartPolicy, containers, phase] of [
    ["Always", [waiting], "Pending"],
    ["Always", [running, waiting], "Pending"],
    ["Always", [running, running], "Running"],
    ["Always", [again], "Running"],
    ["Always", [ended(0)], "Running"],
    ["OnFailure", [ended(1)], "Running"],
    ["OnFailure", [ended(0)], "Succeeded"],
    ["Never", [ended(0), running], "Running"],
    ["Never", [ended(0), ended(0)], "Succeeded"],
    ["Never", [ended(0), ended(2)], "Failed"],
  ] as const)
    t.is(podPhase(pod({ restartPolicy }), view(containers)), phase, `${restartPolicy} ${phase}`);
  t.is(podPhase(pod({}, { deletionTimestamp: "2026-01-01T00:00:00Z" }), view([ended(143)])), "Failed");
  t.is(podPhase(pod(), view([waiting], { refused: { reason: "No", message: "" } })), "Failed");
});

test("conditions of others stay, and a time is that of the last change", (t) => {
  const others = [
    { type: "PodScheduled", status: "True", lastTransitionTime: "2020-01-01T00:00:00Z" },
    { type: "example.com/gate", status: "False" },
  ];
  const first = podStatus(pod(), view([waiting]), { conditions: others }, 1_000_000);
  t.deepEqual(conditionsOf(first).slice(0, 2), others as never);
  t.is(stateOf(first, "Ready"), "False");
  const later = podStatus(pod(), view([waiting]), first, 9_000_000);
  t.true(saysTheSame(first, later));
  const ready = podStatus(pod(), view([running]), later, 9_000_000);
  t.is(stateOf(ready, "Ready"), "True");
  t.is(conditionsOf(ready).find(({ type }) => type === "Ready")?.lastTransitionTime, "1970-01-01T02:30:00Z");
  t.like(ready, { phase: "Running", podIP: "10.64.1.2", hostIP: "172.30.0.1" });
  t.deepEqual(ready.podIPs, [{ ip: "10.64.1.2" }, { ip: "fd00::2" }]);
});

test("a pod with readiness gates is ready when all its containers and its gates are", (t) => {
  const gated = pod({ readinessGates: [{ conditionType: "example.com/gate" }] });
  const closed = podStatus(gated, view([running]), {}, 0);
  t.is(stateOf(closed, "Ready"), "False");
  t.is(stateOf(closed, "ContainersReady"), "True");
  const open = podStatus(gated, view([running]), { conditions: [{ type: "example.com/gate", status: "True" }] }, 0);
  t.is(stateOf(open, "Ready"), "True");
});
