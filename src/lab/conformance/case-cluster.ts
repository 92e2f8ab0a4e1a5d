/**
 * Makes a lab be the cluster of a case, from whatever case it was before: objects as the case has them, pods with exactly their
 * addresses and a prober in each. What two cases share stays as it is, so a later case is an update of the one before.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { ObjectStore } from "../object-store.ts";
import { type KubeObject, objectTitle, type Pod } from "../objects.ts";
import type { LabPlan } from "../plan.ts";
import { addressesAnnotation, createSandbox, destroySandbox, podPlace } from "../pods.ts";
import { systemCgroup } from "../topology.ts";
import type { ConformanceCase } from "./case.ts";
import { eachOf, groupBy } from "./groups.ts";
import { type ProbeEvent, Prober } from "./prober.ts";
import type { Barrier } from "./settled.ts";
import { isInside } from "./site.ts";
import { addressesOf, familyOf, livePods, outside, podTitle, Who } from "./who.ts";

/** Sandboxes made at the same time. */
const podsAtOnce = 4;

interface RunningPod {
  readonly pod: Pod;
  /** Another one is another pod. */
  readonly shape: string;
}

export class CaseCluster {
  readonly #lab: LabPlan;
  readonly #store: ObjectStore;
  readonly #barrier: Barrier;
  readonly #onEvent: (event: ProbeEvent) => void;
  readonly #pods = new Map<string, RunningPod>();
  readonly #probers = new Map<string, Prober>();

  private constructor(lab: LabPlan, store: ObjectStore, barrier: Barrier, onEvent: (event: ProbeEvent) => void) {
    this.#lab = lab;
    this.#store = store;
    this.#barrier = barrier;
    this.#onEvent = onEvent;
  }

  /** With the probers of nodes and of the outside. */
  static async open(lab: LabPlan, barrier: Barrier, onEvent: (event: ProbeEvent) => void): Promise<CaseCluster> {
    const store = await ObjectStore.open(lab.manifests, join(lab.folder, "objects"));
    const cluster = new CaseCluster(lab, store, barrier, onEvent);
    for (const node of lab.nodes) {
      await cluster.#startProber(`node/${node.name}`, { netns: node.netns, cgroup: systemCgroup(node) });
    }
    for (const host of lab.externals) if (host.name === outside) await cluster.#startProber(outside, host);
    return cluster;
  }

  get probers(): ReadonlyMap<string, Prober> {
    return this.#probers;
  }

  /** Resolves when every agent has it all in the kernel. */
  async become({ cluster, policies, probes }: ConformanceCase): Promise<void> {
    const wanted = new Map(livePods(cluster).map((pod) => [podTitle(pod), pod]));
    const leaving = [...this.#pods.values()].filter(({ pod, shape }) => {
      const next = wanted.get(podTitle(pod));
      const whole = this.#probers.has(podTitle(pod));
      return !whole || next === undefined || shapeOf(next) !== shape;
    });
    await eachOf(leaving, podsAtOnce, ({ pod }) => this.#remove(pod));
    const current = new Map([...wanted].map(([title, pod]) => [title, asRunning(pod, this.#pods.get(title)?.pod)]));
    const objects = [...cluster, ...policies].map((object) => {
      // The address of a finished pod may be another's now; its object stays as it is.
      const takesPart = object.kind === "Pod" && wanted.get(podTitle(object)) === object;
      return takesPart ? (current.get(podTitle(object)) ?? object) : object;
    });
    await this.#make(
      objects,
      [...current.values()].filter((pod) => !this.#pods.has(podTitle(pod))),
    );
    const outsideAddresses = new Who({ cluster }).outsideAddresses(probes);
    await this.#put(objects, familiesOf([...wanted.values()]), outsideAddresses);
    await this.#barrier.pass();
  }

  /** A pod gets an address of each family that its node has a CIDR of: so pods of equal families are made together. */
  async #make(objects: readonly KubeObject[], pods: readonly Pod[]): Promise<void> {
    for (const [, wave] of groupBy(pods, (pod) => familiesOf([pod]).join())) {
      await this.#put(objects, familiesOf(wave));
      await this.#barrier.pass();
      await eachOf(wave, podsAtOnce, (pod) => this.#add(pod));
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#probers.values()].map((prober) => prober.stop()));
  }

  /**
   * The manifests hold exactly these objects. Pod CIDRs are the lab's: the cases leave them to the cluster. One in which
   * an outside host lives is none: an agent takes an address of a pod CIDR for a pod's, known or not.
   */
  async #put(
    objects: readonly KubeObject[],
    families: readonly (4 | 6)[],
    outsideAddresses: readonly string[] = [],
  ): Promise<void> {
    const usable = (cidr: string) => !outsideAddresses.some((address) => isInside(cidr, address));
    const next = objects.map((object) =>
      object.kind === "Node" ? this.#withPodCidrs(object, families, usable) : object,
    );
    const titles = new Set(next.map(objectTitle));
    for (const old of this.#store.all()) if (!titles.has(objectTitle(old))) this.#store.remove(old);
    for (const object of next) {
      if (JSON.stringify(this.#store.get(object)) !== JSON.stringify(object)) this.#store.put(object);
    }
    await this.#store.flush();
  }

  #withPodCidrs(node: KubeObject, families: readonly (4 | 6)[], usable: (cidr: string) => boolean): KubeObject {
    const plan = this.#lab.nodes.find(({ name }) => name === node.metadata.name);
    if (plan === undefined) return node;
    const podCIDRs = families.map((family) => (family === 4 ? plan.podCidr4 : plan.podCidr6)).filter(usable);
    const [podCIDR] = podCIDRs;
    return { ...node, spec: { ...(node.spec as object | undefined), ...(podCIDR && { podCIDR }), podCIDRs } };
  }

  async #add(pod: Pod): Promise<void> {
    const title = podTitle(pod);
    // Known before it is made: what failed half way is taken away by the next case.
    this.#pods.set(title, { pod, shape: shapeOf(pod) });
    await createSandbox(this.#lab, pod);
    await this.#startProber(title, podPlace(this.#lab, pod));
  }

  async #remove(pod: Pod): Promise<void> {
    const title = podTitle(pod);
    const prober = this.#probers.get(title);
    this.#probers.delete(title);
    this.#pods.delete(title);
    await prober?.stop();
    await destroySandbox(this.#lab, pod);
  }

  async #startProber(place: string, where: { readonly netns: string; readonly cgroup: string }): Promise<void> {
    this.#probers.set(place, await Prober.start(place, where, this.#onEvent));
  }
}

/** Labels, ports and accounts of a running pod may change; these may not. */
function shapeOf(pod: Pod): string {
  return JSON.stringify([pod.spec.nodeName, pod.spec.hostNetwork === true, addressesOf(pod)]);
}

/** With what its sandbox was made with, or will be. */
function asRunning(pod: Pod, known: Pod | undefined): Pod {
  const uid = known?.metadata.uid ?? randomUUID();
  const annotations = { ...pod.metadata.annotations, [addressesAnnotation]: addressesOf(pod).join(",") };
  return { ...pod, metadata: { ...pod.metadata, uid, annotations } };
}

function familiesOf(pods: readonly Pod[]): readonly (4 | 6)[] {
  const found = new Set(
    pods.filter(({ spec }) => spec.hostNetwork !== true).flatMap((pod) => addressesOf(pod).map(familyOf)),
  );
  const families = ([4, 6] as const).filter((family) => found.has(family));
  return families.length === 0 ? [4, 6] : families;
}
