/**
 * The Node object of a lab's node, and what keeps it alive: registered with the lab's addresses and CIDRs, ready once its network is,
 * with a lease renewed every 10 s as kubelet does it. Labels, taints and conditions of others are theirs.
 */
import { arch, cpus, release, totalmem } from "node:os";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { isStatus, type KubeClient, type KubeObject, kinds, type Lease } from "../../kube/index.ts";
import type { Logger } from "../../model/logging.ts";
import type { NodePlan } from "../plan.ts";
import { type Condition, conditionsOf, mergeConditions } from "./pod-status.ts";
import { writeStatus } from "./write-status.ts";

const leaseNamespace = "kube-node-lease";
/** s; kubelet's nodeLeaseDurationSeconds. */
const leaseDurationSeconds = 40;
const renewMs = 10_000;
/** ms between looks at whether the network is ready, as long as it is not. */
const networkPollMs = 500;
/** Which lab a node belongs to. */
export const labLabel = "tandem-lab/name";

export interface NodeStatusOptions {
  readonly lab: string;
  readonly node: Pick<NodePlan, "name" | "ipv4" | "ipv6" | "podCidr4" | "podCidr6">;
  /** That the Node has to have, of kube-router. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly client: Pick<KubeClient, "get" | "create" | "patch">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether pods can be given a network: what a CNI configuration in place means to a kubelet. Once true it is not asked again. */
  readonly networkReady: () => Promise<boolean>;
}

export class NodeStatus {
  readonly #options: NodeStatusOptions;
  #networkReady = false;

  constructor(options: NodeStatusOptions) {
    this.#options = options;
  }

  /** Once: of a node that has no kubelet. */
  async put(signal: AbortSignal): Promise<void> {
    this.#networkReady = await this.#options.networkReady();
    await this.#writeStatus(await this.#register(signal), signal);
  }

  /** Until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let written: boolean | null = null;
    let renewed = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      try {
        this.#networkReady ||= await this.#options.networkReady();
        const due = clock.monotonicMs() - renewed >= renewMs;
        if (due || written !== this.#networkReady) {
          const node = await this.#register(signal);
          await this.#writeStatus(node, signal);
          written = this.#networkReady;
        }
        if (due) {
          await this.#renewLease(signal);
          renewed = clock.monotonicMs();
        }
      } catch (error) {
        if (!signal.aborted) log.warn({ error: messageOf(error) }, "the node's status cannot be written");
      }
      await clock.sleep(this.#networkReady ? renewMs / 10 : networkPollMs, signal).catch(() => undefined);
    }
  }

  /** Makes the Node, or gives one that was made by others what it lacks. */
  async #register(signal: AbortSignal): Promise<KubeObject> {
    const { client, lab, node, annotations = {}, log } = this.#options;
    const labels = {
      "kubernetes.io/hostname": node.name,
      "kubernetes.io/os": "linux",
      "kubernetes.io/arch": goArch(arch()),
      [labLabel]: lab,
    };
    const spec = { podCIDR: node.podCidr4, podCIDRs: [node.podCidr4, node.podCidr6] };
    const found = await client.get(kinds.nodes, { name: node.name }, { signal }).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    if (found === null) {
      log.info({ node: node.name, ...spec }, "registered");
      return client.create(kinds.nodes, { metadata: { name: node.name, labels, annotations }, spec }, { signal });
    }
    const { podCIDRs } = found.spec as { readonly podCIDRs?: unknown };
    const missing = differing(labels, found.metadata.labels);
    const unnoted = differing(annotations, found.metadata.annotations);
    if (missing.length + unnoted.length === 0 && podCIDRs !== undefined) return found;
    const metadata = { labels: Object.fromEntries(missing), annotations: Object.fromEntries(unnoted) };
    const patch = { metadata, ...(podCIDRs === undefined && { spec }) };
    return client.patch(kinds.nodes, { name: node.name }, patch, { signal });
  }

  async #writeStatus(registered: KubeObject, signal: AbortSignal): Promise<void> {
    const { client, clock, node, log } = this.#options;
    const { name, uid = "" } = registered.metadata;
    const ready = this.#networkReady;
    const written = await writeStatus(
      client,
      kinds.nodes,
      { name },
      uid,
      (status) => ({
        addresses: [
          { type: "InternalIP", address: node.ipv4 },
          { type: "InternalIP", address: node.ipv6 },
          { type: "Hostname", address: name },
        ],
        capacity: capacity(),
        allocatable: capacity(),
        nodeInfo: nodeInfo(name),
        conditions: mergeConditions(conditionsOf(status), nodeConditions(ready), clock.now()),
      }),
      signal,
      registered,
    );
    if (written === null) log.warn({ node: name }, "the Node was deleted while its status was written");
  }

  async #renewLease(signal: AbortSignal): Promise<void> {
    const { client, clock, node } = this.#options;
    const name = { namespace: leaseNamespace, name: node.name };
    // metav1.MicroTime.
    const renewTime = `${new Date(clock.now()).toISOString().slice(0, -1)}000Z`;
    const spec: NonNullable<Lease["spec"]> = { holderIdentity: node.name, leaseDurationSeconds, renewTime };
    try {
      await client.patch(kinds.leases, name, { spec }, { signal });
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
      await client.create(kinds.leases, { metadata: name, spec }, { signal });
    }
  }
}

type Texts = Readonly<Record<string, string>>;

function differing(wanted: Texts, there: Texts = {}): readonly (readonly [string, string])[] {
  return Object.entries(wanted).filter(([key, value]) => there[key] !== value);
}

function nodeConditions(networkReady: boolean): readonly Condition[] {
  const fine = (type: string, reason: string): Condition => ({ type, status: "False", reason });
  return [
    fine("MemoryPressure", "KubeletHasSufficientMemory"),
    fine("DiskPressure", "KubeletHasNoDiskPressure"),
    fine("PIDPressure", "KubeletHasSufficientPID"),
    networkReady
      ? { type: "Ready", status: "True", reason: "KubeletReady" }
      : { type: "Ready", status: "False", reason: "KubeletNotReady", message: "the agent of this node is not ready" },
  ];
}

/** Rounded, so that it stays as it is. */
function capacity(): Readonly<Record<string, string>> {
  return { cpu: String(cpus().length), memory: `${Math.floor(totalmem() / 2 ** 20)}Mi`, pods: "250" };
}

function nodeInfo(name: string): Readonly<Record<string, string>> {
  return {
    architecture: goArch(arch()),
    operatingSystem: "linux",
    osImage: "tandem lab",
    kernelVersion: release(),
    containerRuntimeVersion: "tandem-lab://1",
    kubeletVersion: "v1.20.0+tandem-lab",
    kubeProxyVersion: "",
    machineID: name,
    systemUUID: name,
    bootID: name,
  };
}

function goArch(node: string): string {
  return node === "x64" ? "amd64" : node;
}
