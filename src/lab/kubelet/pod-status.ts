/** A pod's status (v1.PodStatus) from what its kubelet sees, as kubelet computes it. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { ContainerView } from "./container.ts";
import type { KubeletPod } from "./pod.ts";

export interface PodView {
  readonly containers: readonly ContainerView[];
  /** Without length; empty: no sandbox yet. */
  readonly ips: readonly string[];
  readonly hostIp: string;
  /** ms since the epoch. */
  readonly startTime: number;
  /** Why the pod cannot run here at all; null: it can. */
  readonly refused: { readonly reason: string; readonly message: string } | null;
}

export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
  readonly lastProbeTime?: string | null;
}

type Phase = "Pending" | "Running" | "Succeeded" | "Failed";

/** Whether nothing of it will ever run again. */
export function isOver(phase: string): boolean {
  return phase === "Succeeded" || phase === "Failed";
}

export function podPhase(pod: KubeletPod, { containers, refused }: PodView): Phase {
  if (refused !== null) return "Failed";
  // One that was there before and waits for its next start has run.
  const began = containers.every(({ state, last }) => state.kind !== "waiting" || last !== null);
  if (!began) return "Pending";
  const codes = containers.flatMap(({ state }) => (state.kind === "terminated" ? [state.exitCode] : []));
  const again = (code: number) =>
    pod.metadata.deletionTimestamp === undefined &&
    (pod.spec.restartPolicy === "Always" || (pod.spec.restartPolicy === "OnFailure" && code !== 0));
  if (codes.length < containers.length || codes.some(again)) return "Running";
  return codes.every((code) => code === 0) ? "Succeeded" : "Failed";
}

/**
 * The status to write over `current`: conditions of others (PodScheduled, readiness gates) stay, and the time of a condition that says the
 * same as before, too.
 */
export function podStatus(
  pod: KubeletPod,
  view: PodView,
  current: Readonly<Record<string, unknown>>,
  now: number,
): Readonly<Record<string, unknown>> {
  const phase = podPhase(pod, view);
  const others = conditionsOf(current);
  const isTrue = (type: string) => others.some((c) => c.type === type && c.status === "True");
  const unready = view.containers.filter(({ ready }) => !ready).map(({ name }) => name);
  const gates = (pod.spec.readinessGates ?? []).map((gate) => gate.conditionType).filter((type) => !isTrue(type));
  const completed = phase === "Succeeded" ? "PodCompleted" : "";
  const containersReady = condition("ContainersReady", unready.length === 0, {
    reason: completed || "ContainersNotReady",
    message: `containers with unready status: [${unready.join(" ")}]`,
  });
  const ready =
    containersReady.status === "True" && gates.length > 0
      ? condition("Ready", false, {
          reason: "ReadinessGatesNotReady",
          message: gates.map((gate) => `the status of pod readiness gate "${gate}" is not "True"`).join(", "),
        })
      : { ...containersReady, type: "Ready" };
  const own = [condition("Initialized", true, { reason: completed }), ready, containersReady];
  const scheduled = isTrue("PodScheduled") ? [] : [condition("PodScheduled", true, {})];
  return {
    phase,
    reason: view.refused?.reason ?? null,
    message: view.refused?.message ?? null,
    hostIP: view.hostIp,
    podIP: view.ips[0] ?? null,
    podIPs: view.ips.length === 0 ? null : view.ips.map((ip) => ({ ip })),
    startTime: timestamp(view.startTime),
    conditions: mergeConditions(others, [...own, ...scheduled], now),
    containerStatuses: view.containers.map((container) => containerStatus(pod, container)),
  };
}

/** Of any object's status. */
export function conditionsOf(status: Readonly<Record<string, unknown>>): readonly Condition[] {
  return Array.isArray(status.conditions) ? (status.conditions as readonly Condition[]) : [];
}

/** `own` over `current`, by type. The time of a transition is that of the last change of `status`. */
export function mergeConditions(
  current: readonly Condition[],
  own: readonly Condition[],
  now: number,
): readonly Condition[] {
  const types = new Set(own.map(({ type }) => type));
  const next = own.map((condition) => {
    const old = current.find(({ type }) => type === condition.type);
    const since = old?.status === condition.status ? old.lastTransitionTime : undefined;
    return { ...condition, lastTransitionTime: since ?? timestamp(now) };
  });
  return [...current.filter(({ type }) => !types.has(type)), ...next];
}

/** Whether writing `next` would change anything: null means that a field is not there. */
export function saysTheSame(
  current: Readonly<Record<string, unknown>>,
  next: Readonly<Record<string, unknown>>,
): boolean {
  return Object.entries(next).every(([key, value]) => isDeepStrictEqual(tidy(current[key]), tidy(value)));
}

/** metav1.Time. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Without what an API server leaves out, and in its JSON form. */
function tidy(value: unknown): unknown {
  if (value === null || value === undefined) return null;
  return JSON.parse(JSON.stringify(value, (_, each: unknown) => (each === null || each === "" ? undefined : each)));
}

function condition(
  type: string,
  holds: boolean,
  { reason = "", message = "" }: { readonly reason?: string; readonly message?: string },
): Condition {
  if (!holds) return { type, status: "False", reason, message };
  return { type, status: "True", ...(reason === "PodCompleted" && { reason }) };
}

function containerStatus(pod: KubeletPod, container: ContainerView): Readonly<Record<string, unknown>> {
  const { name, image, state, last, restarts, started, ready } = container;
  const id = `tandem-lab://${pod.metadata.uid}/${name}/${restarts}`;
  return {
    name,
    image,
    imageID: "",
    restartCount: restarts,
    ready,
    started,
    state: stateOf(state),
    lastState: last === null ? {} : stateOf(last),
    ...(state.kind === "waiting" && last === null ? {} : { containerID: id }),
  };
}

function stateOf(state: ContainerView["state"]): Readonly<Record<string, unknown>> {
  switch (state.kind) {
    case "waiting":
      return { waiting: { reason: state.reason, ...(state.message !== "" && { message: state.message }) } };
    case "running":
      return { running: { startedAt: timestamp(state.startedAt) } };
    case "terminated":
      return {
        terminated: {
          exitCode: state.exitCode,
          reason: state.reason,
          ...(state.message !== "" && { message: state.message }),
          startedAt: timestamp(state.startedAt),
          finishedAt: timestamp(state.finishedAt),
        },
      };
  }
}
