/**
 * What a cluster adds to manifests before an agent sees them, so that the files of a repository can be judged as they are: pods of
 * workloads, a node, addresses of pods and services. Nothing that is written is changed, and the same objects give the same result.
 */
import { type Address, addressFromBytes, makePrefix, parseAddress, parsePrefix, type Prefix } from "../../model/ip.ts";

/** An object as it was decoded, with its place. */
export interface WrittenObject {
  readonly value: unknown;
  readonly file: string;
  readonly line: number;
}

export interface Completed<T extends WrittenObject> {
  readonly objects: readonly T[];
  /** What was made up, for people: "pods of 3 workloads". */
  readonly assumed: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

interface Written {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly metadata: Fields;
  readonly spec: Fields;
  readonly status: Fields;
}

const workloads: ReadonlySet<string> = new Set([
  "Deployment",
  "StatefulSet",
  "DaemonSet",
  "ReplicaSet",
  "ReplicationController",
  "Job",
  "CronJob",
]);

const podRanges = ["100.64.0.0/16", "fd64::/64"] as const;
const nodeRanges = ["100.65.0.0/16", "fd65::/64"] as const;
const serviceRanges = ["100.66.0.0/16", "fd66::/64"] as const;

export function completeObjects<T extends WrittenObject>(objects: readonly T[]): Completed<T> {
  const withPods = addPods(objects);
  const withNodes = addNode(withPods.objects);
  const withAddresses = addAddresses(withNodes.objects);
  return {
    objects: withAddresses.objects,
    assumed: [...withPods.assumed, ...withNodes.assumed, ...withAddresses.assumed],
  };
}

/** Pods of each workload that has none among the manifests: two where it has several, as more say nothing else. */
function addPods<T extends WrittenObject>(objects: readonly T[]): Completed<T> {
  const pods = objects.flatMap(({ value }) => {
    const written = read(value);
    return written?.kind === "Pod" ? [written] : [];
  });
  let made = 0;
  const added = objects.flatMap((object): T[] => {
    const workload = read(object.value);
    if (workload === null || !workloads.has(workload.kind) || isOwned(workload)) return [];
    const template = templateOf(workload);
    const labels = fieldsOf(fieldsOf(template.metadata).labels);
    const isOurs = (pod: Written): boolean =>
      pod.namespace === workload.namespace &&
      Object.entries(labels).every(([key, value]) => fieldsOf(pod.metadata.labels)[key] === value);
    if (pods.some(isOurs)) return [];
    made++;
    return podNames(workload).map((name, index) => ({ ...object, value: podOf(workload, template, name, index) }));
  });
  return { objects: [...objects, ...added], assumed: made === 0 ? [] : [`pods of ${count(made, "workload")}`] };
}

function podNames({ kind, name, spec }: Written): readonly string[] {
  const replicas = kind === "DaemonSet" ? 2 : typeof spec.replicas === "number" ? spec.replicas : 1;
  if (replicas < 1) return [];
  const second = replicas > 1;
  if (kind === "StatefulSet") return second ? [`${name}-0`, `${name}-1`] : [`${name}-0`];
  return second ? [name, `${name}-2`] : [name];
}

function podOf(workload: Written, template: Fields, name: string, index: number): Fields {
  const { labels, annotations } = fieldsOf(template.metadata);
  const own =
    workload.kind === "StatefulSet"
      ? { "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": String(index) }
      : {};
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: workload.namespace,
      labels: isFields(labels) || Object.keys(own).length > 0 ? { ...fieldsOf(labels), ...own } : (labels ?? {}),
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: template.spec ?? {},
  };
}

function templateOf({ kind, spec }: Written): Fields {
  if (kind !== "CronJob") return fieldsOf(spec.template);
  return fieldsOf(fieldsOf(fieldsOf(spec.jobTemplate).spec).template);
}

function isOwned({ metadata }: Written): boolean {
  return Array.isArray(metadata.ownerReferences) && metadata.ownerReferences.length > 0;
}

/** Pods that no scheduler has seen run on one node: the first by name, or one that is made up. */
function addNode<T extends WrittenObject>(objects: readonly T[]): Completed<T> {
  const nodes = objects.flatMap(({ value }) => {
    const written = read(value);
    return written?.kind === "Node" ? [written.name] : [];
  });
  const [first = "node-1"] = nodes.sort();
  let example: T | null = null;
  const placed = objects.map((object): T => {
    const pod = read(object.value);
    if (pod?.kind !== "Pod" || (pod.spec.nodeName !== undefined && pod.spec.nodeName !== "")) return object;
    example ??= object;
    return { ...object, value: { ...fieldsOf(object.value), spec: { ...pod.spec, nodeName: first } } };
  });
  if (example === null) return { objects, assumed: [] };
  if (nodes.length > 0) return { objects: placed, assumed: [`pods without a node are on ${first}`] };
  const node = { apiVersion: "v1", kind: "Node", metadata: { name: first }, status: { addresses: nodeAddresses() } };
  return { objects: [...placed, { ...(example as T), value: node }], assumed: [`the node ${first}`] };
}

function nodeAddresses(): readonly Fields[] {
  return nodeRanges.flatMap((text) => {
    const range = parsePrefix(text);
    return range === null ? [] : [{ type: "InternalIP", address: addressIn(range, 1).text }];
  });
}

function addAddresses<T extends WrittenObject>(objects: readonly T[]): Completed<T> {
  const pool = new AddressPool(objects);
  const podCidrs = new Map<string, readonly Prefix[]>();
  for (const { value } of objects) {
    const node = read(value);
    if (node?.kind === "Node") podCidrs.set(node.name, cidrsOf(node.spec));
  }
  let pods = 0;
  let services = 0;
  const completed = objects.map((object): T => {
    const written = read(object.value);
    if (written?.kind === "Pod" && needsAddress(written)) {
      pods++;
      const own = podCidrs.get(String(written.spec.nodeName)) ?? [];
      const ranges = own.length > 0 ? own : podRanges.flatMap((text) => parsePrefix(text) ?? []);
      const podIPs = ranges.map((range) => ({ ip: pool.take(range).text }));
      return { ...object, value: { ...fieldsOf(object.value), status: { ...written.status, podIPs } } };
    }
    if (written?.kind === "Service" && needsClusterIp(written)) {
      services++;
      const clusterIPs = serviceRanges.flatMap((text) => {
        const range = parsePrefix(text);
        return range === null ? [] : [pool.take(range).text];
      });
      return {
        ...object,
        value: { ...fieldsOf(object.value), spec: { ...written.spec, clusterIP: clusterIPs[0], clusterIPs } },
      };
    }
    return object;
  });
  const assumed = [
    ...(pods === 0 ? [] : [`addresses of ${count(pods, "pod")}`]),
    ...(services === 0 ? [] : [`addresses of ${count(services, "service")}`]),
  ];
  return { objects: completed, assumed };
}

function needsAddress({ spec, status }: Written): boolean {
  if (spec.hostNetwork === true || status.phase === "Succeeded" || status.phase === "Failed") return false;
  return (status.podIP ?? "") === "" && (!Array.isArray(status.podIPs) || status.podIPs.length === 0);
}

function needsClusterIp({ spec }: Written): boolean {
  return spec.type !== "ExternalName" && spec.clusterIP === undefined && spec.clusterIPs === undefined;
}

function cidrsOf({ podCIDRs, podCIDR }: Fields): readonly Prefix[] {
  const texts = Array.isArray(podCIDRs) ? podCIDRs : [podCIDR];
  return texts.flatMap((text) => (typeof text === "string" ? (parsePrefix(text) ?? []) : []));
}

/** Addresses that nobody among the objects has. */
class AddressPool {
  readonly #used = new Set<string>();
  readonly #next = new Map<string, number>();

  constructor(objects: readonly WrittenObject[]) {
    for (const { value } of objects) {
      const written = read(value);
      if (written === null) continue;
      const { podIPs, podIP } = written.status;
      const { clusterIP, clusterIPs } = written.spec;
      const several = (list: unknown) => (Array.isArray(list) ? list : []);
      const texts = [podIP, clusterIP, ...several(clusterIPs), ...several(podIPs).map((each) => fieldsOf(each).ip)];
      for (const text of texts) {
        const address = typeof text === "string" ? parseAddress(text) : null;
        if (address !== null) this.#used.add(address.text);
      }
    }
  }

  take(range: Prefix): Address {
    // The first of a range is usually a gateway.
    for (let number = this.#next.get(range.text) ?? 2; ; number++) {
      const address = addressIn(range, number);
      if (this.#used.has(address.text)) continue;
      this.#used.add(address.text);
      this.#next.set(range.text, number + 1);
      return address;
    }
  }
}

/** The address number `number` of a range; past its end those behind it. */
function addressIn({ address }: Prefix, number: number): Address {
  const bytes = Uint8Array.from(address.bytes);
  let carry = number;
  for (let index = bytes.length - 1; index >= 0 && carry > 0; index--) {
    const sum = (bytes[index] ?? 0) + (carry & 255);
    bytes[index] = sum & 255;
    carry = (carry >> 8) + (sum >> 8);
  }
  return makePrefix(addressFromBytes(bytes), bytes.length * 8).address;
}

/** Null: no object of Kubernetes. */
function read(value: unknown): Written | null {
  if (!isFields(value) || typeof value.kind !== "string") return null;
  const metadata = fieldsOf(value.metadata);
  if (typeof metadata.name !== "string") return null;
  const namespace =
    typeof metadata.namespace === "string" && metadata.namespace !== "" ? metadata.namespace : "default";
  return {
    kind: value.kind,
    namespace,
    name: metadata.name,
    metadata,
    spec: fieldsOf(value.spec),
    status: fieldsOf(value.status),
  };
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function count(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? "" : "s"}`;
}
