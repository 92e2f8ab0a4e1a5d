/**
 * The cluster of a lab with an API server: manifests go there by server-side apply, and its controllers, the scheduler and the kubelets do
 * the rest. Policies and services are applied before the pods that they are about, as in the lab without one.
 */
import { TandemError } from "../../lib/errors.ts";
import {
  isStatus,
  type KubeClient,
  type KubeKind,
  type KubeObject as ApiObject,
  kinds,
  type ObjectName,
} from "../../kube/index.ts";
import type { LabCluster } from "../cluster-api.ts";
import { cordonOf } from "../controllers.ts";
import { LabError } from "../errors.ts";
import { type KubeObject, objectTitle, type Pod, podSchema, type Service, serviceSchema } from "../objects.ts";
import type { LabPlan } from "../plan.ts";
import { addressesAnnotation } from "../pods.ts";
import { connectLab } from "./api-server.ts";
import { Resources } from "./resources.ts";
import { deploymentRuns, nodeIsRegistered, nodeTakesPods, objectGone, podRuns, podsGone, until } from "./rollout.ts";

const fieldManager = "tandem-lab";
/** Objects that others need come first, what makes pods last. */
const first = ["Namespace", "CustomResourceDefinition"];
const last = ["ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"];

export class KubeCluster implements LabCluster {
  readonly #lab: LabPlan;
  readonly #client: KubeClient;
  readonly #resources: Resources;

  private constructor(lab: LabPlan, client: KubeClient) {
    this.#lab = lab;
    this.#client = client;
    this.#resources = new Resources(client);
  }

  static open(lab: LabPlan): KubeCluster {
    return new KubeCluster(lab, connectLab(lab));
  }

  /** Resolves when every node of the lab has its Node. @throws LabError */
  static whenRegistered(lab: LabPlan): Promise<void> {
    return KubeCluster.#eachNode(lab, nodeIsRegistered);
  }

  /** Resolves when every node of the lab takes pods. @throws LabError */
  static whenReady(lab: LabPlan): Promise<void> {
    return KubeCluster.#eachNode(lab, nodeTakesPods);
  }

  static #eachNode(lab: LabPlan, wait: (client: KubeClient, name: string) => Promise<void>): Promise<void> {
    return explained(async () => {
      const client = connectLab(lab);
      try {
        for (const { name } of lab.nodes) await wait(client, name);
      } finally {
        await client.close();
      }
    });
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  /** Those on the lab's nodes, and those that are on none yet. */
  pods(): Promise<readonly Pod[]> {
    return explained(async () => {
      const nodes = new Set<unknown>(this.#lab.nodes.map(({ name }) => name));
      const pods = (await this.#client.listAll(kinds.pods)).map((object) => podSchema.parse(object));
      return pods.filter(({ spec }) => spec.nodeName === undefined || nodes.has(spec.nodeName));
    });
  }

  services(): Promise<readonly Service[]> {
    return explained(async () =>
      (await this.#client.listAll(kinds.services)).map((object) => serviceSchema.parse(object)),
    );
  }

  apply(objects: readonly KubeObject[]): Promise<void> {
    return explained(async () => {
      const sorted = [...objects].sort((a, b) => rank(a) - rank(b));
      await this.#ensureNamespaces(objects);
      for (const object of sorted) await this.#applyOne(object);
      for (const { kind, metadata } of sorted) {
        const name = nameOf(metadata);
        if (kind === "Deployment") await deploymentRuns(this.#client, name);
        if (kind === "Pod") await podRuns(this.#client, name);
      }
    });
  }

  delete(objects: readonly KubeObject[]): Promise<void> {
    return explained(async () => {
      const missing: string[] = [];
      const waits: (() => Promise<void>)[] = [];
      for (const given of objects) {
        if (given.kind === "Node") continue;
        const kind = await this.#resources.kindOf(given);
        const object = placed(kind, given);
        const name = nameOf(object.metadata);
        const uid = await this.#uidOf(kind, name);
        if (uid === null || !(await this.#client.delete(kind, name, { propagation: "Background" }))) {
          missing.push(objectTitle(object));
          continue;
        }
        waits.push(() => objectGone(this.#client, kind, name, uid));
        if (object.kind === "Deployment") waits.push(() => podsGone(this.#client, name, object.spec));
      }
      for (const wait of waits) await wait();
      if (missing.length > 0)
        throw new LabError("LAB_UNKNOWN", missing.join(", "), "not in the lab", "tandem lab status");
    });
  }

  async #applyOne(given: KubeObject): Promise<void> {
    const kind = await this.#resources.kindOf(given);
    const object = placed(kind, given);
    const name = nameOf(object.metadata);
    if (object.kind === "Node") {
      // Addresses and CIDRs are the lab's; labels may be anybody's, and what keeps pods away from a node (kubectl cordon).
      await this.#client.patch(kind, name, {
        metadata: { labels: object.metadata.labels ?? {} },
        spec: cordonOf(object),
      });
      return;
    }
    const wanted = object.kind === "Pod" ? withAddresses(object as Pod) : object;
    const put = () => this.#client.apply(kind, asSent(wanted), { fieldManager, force: true });
    try {
      await put();
    } catch (error) {
      // What a running pod is cannot be changed: it is made anew.
      const uid = object.kind === "Pod" && isStatus(error, 422) ? await this.#uidOf(kind, name) : null;
      if (uid === null) throw error;
      await this.#client.delete(kind, name, { uid });
      await objectGone(this.#client, kind, name, uid);
      await put();
    }
    if (object.kind === "CustomResourceDefinition") await this.#established(kind, name);
  }

  async #ensureNamespaces(objects: readonly KubeObject[]): Promise<void> {
    const names = new Set(objects.flatMap(({ metadata: { namespace } }) => namespace ?? []));
    for (const { kind, metadata } of objects) if (kind === "Namespace") names.add(metadata.name);
    for (const name of names) {
      const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
      if ((await this.#uidOf(kinds.namespaces, { name })) === null) {
        await this.#client.apply(kinds.namespaces, namespace, { fieldManager });
        const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default", namespace: name } };
        const kind = await this.#resources.kindOf(account);
        // Pods are refused before it is there.
        await until(objectTitle(account), async () =>
          (await this.#uidOf(kind, nameOf(account.metadata))) === null ? "its controller has not made it yet" : null,
        );
      }
    }
  }

  #established(kind: KubeKind, name: ObjectName): Promise<void> {
    return until(`CustomResourceDefinition ${name.name}`, async () => {
      const { status } = await this.#client.get(kind, name);
      // null until its controller has seen it.
      const { conditions } = (status ?? {}) as {
        readonly conditions?: readonly Readonly<Record<string, string>>[] | null;
      };
      const done = conditions?.some(({ type, status: holds }) => type === "Established" && holds === "True") ?? false;
      return done ? null : "it is not established yet";
    });
  }

  async #uidOf(kind: KubeKind, name: ObjectName): Promise<string | null> {
    try {
      return (await this.#client.get(kind, name)).metadata.uid ?? "";
    } catch (error) {
      if (isStatus(error, 404)) return null;
      throw error;
    }
  }
}

function rank({ kind }: KubeObject): number {
  return first.includes(kind) ? first.indexOf(kind) : first.length + last.indexOf(kind) + 1;
}

/** Whether a kind has namespaces only the API server knows: manifests without one were taken for those of `default`. */
function placed({ namespaced }: KubeKind, object: KubeObject): KubeObject {
  if (namespaced) return object;
  const { namespace: _namespace, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function nameOf({ namespace, name }: KubeObject["metadata"]): ObjectName {
  return namespace === undefined ? { name } : { namespace, name };
}

/** As it goes over the wire: a field is there or not. */
function asSent(object: KubeObject): ApiObject {
  return JSON.parse(JSON.stringify(object)) as ApiObject;
}

/** A status is not a wish to an API server; an annotation is. */
function withAddresses({ status, ...pod }: Pod): KubeObject {
  const wanted = (status?.podIPs ?? []).map(({ ip }) => ip).join(",");
  if (wanted === "") return pod;
  const annotations = { ...pod.metadata.annotations, [addressesAnnotation]: wanted };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

/** The lab's commands print what is explained, in one form. */
async function explained<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof TandemError) throw new LabError(error.code, error.object, error.message, error.remedy);
    throw error;
  }
}
