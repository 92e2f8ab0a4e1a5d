/**
 * Applying and deleting objects: the lab's stand-in for the API server, scheduler, controllers and kubelets. Facts reach the
 * agents as files, policies before the pods they select, and a pod before its CNI ADD, which waits for its policy.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import * as controllers from "./controllers.ts";
import { LabError } from "./errors.ts";
import type { LabCluster } from "./cluster-api.ts";
import { ObjectStore } from "./object-store.ts";
import { type Deployment, type KubeObject, objectTitle, type Pod, type Service } from "./objects.ts";
import type { LabPlan } from "./plan.ts";
import { addressesAnnotation, createSandbox, destroySandbox, nodeOf, startProcesses } from "./pods.ts";

/** Namespaces first, services last; pods are treated apart. */
const order = ["Namespace", "Node"];
/** Pods made at the same time: their processes are what takes long, and cores are few. */
const podsAtOnce = 4;

export class Cluster implements LabCluster {
  readonly #lab: LabPlan;
  readonly #store: ObjectStore;

  private constructor(lab: LabPlan, store: ObjectStore) {
    this.#lab = lab;
    this.#store = store;
  }

  static async open(lab: LabPlan): Promise<Cluster> {
    return new Cluster(lab, await ObjectStore.open(lab.manifests, join(lab.folder, "objects")));
  }

  async putNodes(): Promise<void> {
    for (const node of this.#lab.nodes) this.#store.put(controllers.nodeObject(node));
    await this.#store.flush();
  }

  async close(): Promise<void> {}

  pods(): readonly Pod[] {
    return this.#store.list<Pod>("Pod");
  }

  services(): readonly Service[] {
    return this.#store.list<Service>("Service");
  }

  /** Makes the cluster hold these objects. A pod whose spec changed is made anew, one whose labels changed is not. */
  async apply(objects: readonly KubeObject[]): Promise<void> {
    const plain = objects.filter(({ kind }) => kind !== "Pod" && kind !== "Deployment");
    const rank = ({ kind }: KubeObject) => (order.includes(kind) ? order.indexOf(kind) : order.length);
    this.#ensureNamespaces(objects);
    for (const object of [...plain].sort((a, b) => rank(a) - rank(b))) this.#putPlain(object);
    await this.#store.flush();
    const pods = objects.filter((object): object is Pod => object.kind === "Pod");
    for (const deployment of objects.filter((object): object is Deployment => object.kind === "Deployment")) {
      this.#store.put(deployment);
      const wanted = controllers.podsOf(deployment);
      const names = new Set(wanted.map(({ metadata }) => metadata.name));
      const surplus = this.pods().filter(
        (pod) => controllers.ownedBy(pod, deployment) && !names.has(pod.metadata.name),
      );
      await this.#removePods(surplus);
      pods.push(...wanted);
    }
    await this.#applyPods(pods);
    await this.#syncSlices();
  }

  /** @throws LabError LAB_UNKNOWN after deleting the others when one was not there */
  async delete(objects: readonly KubeObject[]): Promise<void> {
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    const namespaces = new Set(objects.filter(({ kind }) => kind === "Namespace").map(({ metadata }) => metadata.name));
    const named = new Set(objects.map(objectTitle));
    const goes = (object: KubeObject) =>
      named.has(objectTitle(object)) || namespaces.has(object.metadata.namespace ?? "");
    const missing = objects.filter((object) => this.#store.get(object) === undefined).map(objectTitle);
    await this.#removePods(
      this.pods().filter((pod) => goes(pod) || deployments.some((d) => controllers.ownedBy(pod, d))),
    );
    for (const object of this.#store.all().filter(goes)) if (object.kind !== "Node") this.#store.remove(object);
    await this.#syncSlices();
    if (missing.length > 0)
      throw new LabError("LAB_UNKNOWN", missing.join(", "), "not in the lab", "tandem lab status");
  }

  #putPlain(object: KubeObject): void {
    const old = this.#store.get(object);
    if (object.kind === "Node") {
      // Addresses and CIDRs are the lab's; labels may be anybody's, and what keeps pods away from a node (kubectl cordon).
      if (old === undefined)
        throw new LabError("LAB_NODE", objectTitle(object), "no such node", "tandem lab up --nodes N");
      const labels = { ...old.metadata.labels, ...object.metadata.labels };
      const spec = { ...(old.spec as object), ...controllers.cordonOf(object) };
      this.#store.put({ ...old, metadata: { ...old.metadata, labels }, spec });
      return;
    }
    const uid = old?.metadata.uid ?? object.metadata.uid ?? randomUUID();
    const next = { ...object, metadata: { ...object.metadata, uid } };
    this.#store.put(next.kind === "Service" ? this.#withAddresses(next as Service, old as Service | undefined) : next);
  }

  #withAddresses(service: Service, old: Service | undefined): Service {
    const { clusterIP, clusterIPs, ipFamilies } = old?.spec ?? {};
    const kept = {
      ...(clusterIP && { clusterIP }),
      ...(clusterIPs && { clusterIPs }),
      ...(ipFamilies && { ipFamilies }),
    };
    return controllers.withClusterIps({ ...service, spec: { ...kept, ...service.spec } }, this.#lab, () =>
      this.#usedServiceIps(),
    );
  }

  #usedServiceIps(): Set<string> {
    return new Set(this.services().flatMap(({ spec }) => [spec.clusterIP ?? "", ...(spec.clusterIPs ?? [])]));
  }

  #ensureNamespaces(objects: readonly KubeObject[]): void {
    const given = new Set(objects.filter(({ kind }) => kind === "Namespace").map(({ metadata }) => metadata.name));
    for (const name of new Set(objects.map(({ metadata }) => metadata.namespace))) {
      if (name === undefined || given.has(name)) continue;
      const object = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
      if (this.#store.get(object) === undefined) this.#putPlain(object);
    }
  }

  async #applyPods(pods: readonly Pod[]): Promise<void> {
    const fresh: Pod[] = [];
    for (const pod of pods) {
      const old = this.#store.get<Pod>(pod);
      const hash = controllers.specHash(pod);
      const wanted = controllers.podIps(pod).join(",");
      const annotations = {
        ...pod.metadata.annotations,
        ...(wanted !== "" && { [addressesAnnotation]: wanted }),
        [controllers.hashAnnotation]: hash,
      };
      // One whose ADD or processes failed is tried again.
      const runs = old?.status?.phase === "Running" && controllers.podReady(old);
      if (old !== undefined && runs && old.metadata.annotations?.[controllers.hashAnnotation] === hash) {
        this.#store.put({ ...old, metadata: { ...pod.metadata, uid: old.metadata.uid, annotations } });
        continue;
      }
      if (old !== undefined) await this.#removePods([old]);
      const nodeName = pod.spec.nodeName ?? controllers.chooseNode(this.#lab, this.pods());
      const scheduled: Pod = {
        ...pod,
        metadata: { ...pod.metadata, uid: randomUUID(), annotations },
        spec: { ...pod.spec, nodeName },
        status: { phase: "Pending" },
      };
      nodeOf(this.#lab, scheduled);
      this.#store.put(scheduled);
      fresh.push(scheduled);
    }
    // Before ADD, which waits until the pod's policy is in the kernel.
    await this.#store.flush();
    await eachOf(fresh, podsAtOnce, (pod) => this.#start(pod));
  }

  async #start(pod: Pod): Promise<void> {
    const ips = await createSandbox(this.#lab, pod);
    const running = (ready: "True" | "False"): Pod => ({
      ...pod,
      status: {
        phase: "Running",
        podIP: ips[0],
        podIPs: ips.map((ip) => ({ ip })),
        conditions: [{ type: "Ready", status: ready }],
      },
    });
    this.#store.put(running("False"));
    await this.#store.flush();
    await startProcesses(this.#lab, pod);
    // Nobody here fulfils a gate: who wants a pod that runs and is not ready has one.
    this.#store.put(running((pod.spec.readinessGates ?? []).length === 0 ? "True" : "False"));
    await this.#store.flush();
  }

  async #removePods(pods: readonly Pod[]): Promise<void> {
    await eachOf(pods, podsAtOnce, async (pod) => {
      await destroySandbox(this.#lab, pod);
      this.#store.remove(pod);
      await this.#store.flush();
    });
  }

  async #syncSlices(): Promise<void> {
    const pods = this.pods();
    const wanted = this.services().flatMap((service) => controllers.endpointSlices(service, pods));
    const titles = new Set(wanted.map(objectTitle));
    for (const slice of wanted) {
      if (JSON.stringify(this.#store.get(slice)) !== JSON.stringify(slice)) this.#store.put(slice);
    }
    for (const slice of this.#store.list("EndpointSlice")) {
      if (controllers.isManagedSlice(slice) && !titles.has(objectTitle(slice))) this.#store.remove(slice);
    }
    await this.#store.flush();
  }
}

/** Every item, a few at a time; all are tried, then the first failure is thrown. */
async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const failures: unknown[] = [];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) {
      await work(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failures.length > 0) throw failures[0];
}
