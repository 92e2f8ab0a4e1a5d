/** When what was applied runs, and when what was deleted is gone, as an API server tells it. */
import { setTimeout as sleep } from "node:timers/promises";
import {
  isRecord,
  isStatus,
  type KubeClient,
  type KubeKind,
  type KubeObject,
  kinds,
  type ObjectName,
} from "../../kube/index.ts";
import { LabError } from "../errors.ts";
import { nodeSchema } from "./placement.ts";

/** ms. */
const limitMs = 180_000;
const pollMs = 200;

export const deployments: KubeKind = {
  group: "apps",
  version: "v1",
  plural: "deployments",
  kind: "Deployment",
  namespaced: true,
};

type Reader = Pick<KubeClient, "get" | "listAll">;

/** Until its processes run, or it ended. */
export function podRuns(client: Reader, name: ObjectName): Promise<void> {
  return until(`Pod ${name.namespace}/${name.name}`, async () => {
    const pod = await client.get(kinds.pods, name);
    return isPending(pod) ? whyPending(pod) : null;
  });
}

export function nodeIsRegistered(client: Reader, name: string): Promise<void> {
  return until(`Node ${name}`, async () => {
    const found = await client.listAll(kinds.nodes, { fieldSelector: `metadata.name=${name}` });
    return found.length === 0 ? "its kubelet has not registered it" : null;
  });
}

/** Until it takes pods: its network is ready and the controller that watches nodes knows. */
export function nodeTakesPods(client: Reader, name: string): Promise<void> {
  return until(`Node ${name}`, async () => {
    const found = await client.listAll(kinds.nodes, { fieldSelector: `metadata.name=${name}` });
    const [node] = found.map((object) => nodeSchema.parse(object));
    if (node === undefined) return "its kubelet has not registered it";
    if (!node.status.conditions.some(({ type, status }) => type === "Ready" && status === "True"))
      return "it is not ready";
    const taint = node.spec.taints.find(({ key }) => key === "node.kubernetes.io/not-ready");
    return taint === undefined ? null : `it still has the taint ${taint.key}; does the node lifecycle controller run?`;
  });
}

/** Until all its pods are of its newest template, and run. */
export function deploymentRuns(client: Reader, name: ObjectName): Promise<void> {
  return until(`Deployment ${name.namespace}/${name.name}`, async () => {
    const { metadata, spec, status } = await client.get(deployments, name);
    const { replicas: wanted = 1 } = fields(spec);
    const { observedGeneration = 0, replicas = 0, updatedReplicas = 0 } = fields(status);
    if (Number(observedGeneration) < (metadata.generation ?? 0)) return "its controller has not seen it yet";
    if (updatedReplicas !== wanted || replicas !== wanted)
      return `${String(updatedReplicas)} of ${String(wanted)} pods are made, ${String(replicas)} are there`;
    const pending = (await podsOf(client, name, spec)).find(isPending);
    return pending === undefined ? null : `Pod ${pending.metadata.name}: ${whyPending(pending)}`;
  });
}

export function podsGone(client: Reader, name: ObjectName, spec: unknown): Promise<void> {
  return until(`Deployment ${name.namespace}/${name.name}`, async () => {
    const left = await podsOf(client, name, spec);
    return left.length === 0 ? null : `Pods ${left.map(({ metadata }) => metadata.name).join(", ")} are still there`;
  });
}

export function objectGone(client: Reader, kind: KubeKind, name: ObjectName, uid: string | null): Promise<void> {
  return until(`${kind.kind} ${name.name}`, async () => {
    try {
      const { metadata } = await client.get(kind, name);
      return metadata.uid === uid || uid === null ? "it is still there" : null;
    } catch (error) {
      if (isStatus(error, 404)) return null;
      throw error;
    }
  });
}

/** @param reason null: it is so; else why not yet */
export async function until(object: string, reason: () => Promise<string | null>): Promise<void> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const why = await reason();
    if (why === null) return;
    if (Date.now() > deadline)
      throw new LabError("LAB_TIMEOUT", object, `not within ${limitMs} ms: ${why}`, "tandem lab status");
    await sleep(pollMs);
  }
}

async function podsOf(
  client: Reader,
  { namespace = "default" }: ObjectName,
  spec: unknown,
): Promise<readonly KubeObject[]> {
  const { matchLabels } = fields(fields(spec).selector);
  const labelSelector = Object.entries(fields(matchLabels))
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(",");
  return client.listAll(kinds.pods, { namespace, labelSelector });
}

function isPending({ status }: KubeObject): boolean {
  return (fields(status).phase ?? "Pending") === "Pending";
}

function whyPending({ status, spec }: KubeObject): string {
  const { conditions, containerStatuses } = fields(status);
  const scheduled = list(conditions).find(({ type }) => type === "PodScheduled");
  if (scheduled?.status === "False") return String(scheduled.message);
  for (const container of list(containerStatuses)) {
    const { reason, message } = fields(fields(container.state).waiting);
    if (reason !== undefined) return message === undefined ? String(reason) : `${String(reason)}: ${String(message)}`;
  }
  return fields(spec).nodeName === undefined ? "no node is chosen yet" : "its kubelet has not begun yet";
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

function list(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}
