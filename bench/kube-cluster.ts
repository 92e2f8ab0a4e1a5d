/**
 * The cluster of `policy-cluster.ts` as the objects that an API server has of it, as large as real ones: the managed fields, annotations,
 * volumes, probes and conditions that an agent throws away are most of what it reads. One service and one slice for each deployment;
 * 100 pods on each node, none of them on the agent's own.
 */
import { parseAddress } from "../src/model/ip.ts";
import type { PodRow } from "../src/model/tables.ts";
import { nodeName, podRow, policyRow } from "./policy-cluster.ts";

export interface KubeClusterSize {
  readonly pods: number;
  readonly policies: number;
}

/** What the agent's own node is. */
export interface OwnNode {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
}

export interface StoredObject {
  /** As the store of the API server calls the kind: "pods", "networkpolicies.networking.k8s.io". */
  readonly storage: string;
  readonly key: string;
  readonly object: Readonly<Record<string, unknown>>;
}

const podsPerNode = 100;
const podsPerDeployment = 10;
/** Pod CIDRs of those before are the lab's. */
const firstRemote = 2;
export const servicePort = 80;
export const targetPort = 8080;
const created = "2026-11-02T08:15:30Z";

export const serviceIp = (service: number): string => `10.96.${service >> 8}.${service & 255}`;

/** 32 hexadecimal digits as a UUID, the same for the same number. */
function uid(kind: number, i: number): string {
  const hex = `${kind.toString(16)}${i.toString(16).padStart(11, "0")}`;
  return `5d1f${hex.slice(0, 4)}-${hex.slice(4, 8)}-4c1b-9a7e-${hex.padStart(12, "0")}`;
}

/** What the tracking of who wrote which field adds to an object. */
function managedFields(manager: string, apiVersion: string, fields: object, subresource?: string): object {
  return {
    manager,
    operation: "Update",
    apiVersion,
    time: created,
    fieldsType: "FieldsV1",
    fieldsV1: fields,
    ...(subresource === undefined ? {} : { subresource }),
  };
}

const own = (...names: readonly string[]): Record<string, object> =>
  Object.fromEntries(names.map((name) => [`f:${name}`, {}]));

const podFields = [
  managedFields("kube-controller-manager", "v1", {
    "f:metadata": {
      "f:annotations": { ".": {}, ...own("checksum/config", "prometheus.io/port", "prometheus.io/scrape") },
      "f:generateName": {},
      "f:labels": { ".": {}, ...own("app", "tier", "pod-template-hash") },
      "f:ownerReferences": { ".": {}, 'k:{"uid":"0b1e7c52-8a55-4f0d-9f39-2d0c6c0f9f1e"}': {} },
    },
    "f:spec": {
      "f:containers": {
        'k:{"name":"main"}': {
          ".": {},
          ...own("env", "image", "imagePullPolicy", "name", "terminationMessagePath", "terminationMessagePolicy"),
          "f:livenessProbe": { ".": {}, ...own("failureThreshold", "httpGet", "periodSeconds", "timeoutSeconds") },
          "f:ports": { ".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': own("containerPort", "name", "protocol") },
          "f:readinessProbe": { ".": {}, ...own("failureThreshold", "httpGet", "periodSeconds", "timeoutSeconds") },
          "f:resources": { ".": {}, "f:limits": own("cpu", "memory"), "f:requests": own("cpu", "memory") },
        },
      },
      ...own("dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "securityContext"),
    },
  }),
  managedFields(
    "kubelet",
    "v1",
    {
      "f:status": {
        "f:conditions": Object.fromEntries(
          ["ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready"].map((type) => [
            `k:{"type":"${type}"}`,
            { ".": {}, ...own("lastProbeTime", "lastTransitionTime", "status", "type") },
          ]),
        ),
        ...own("containerStatuses", "hostIP", "hostIPs", "phase", "podIP", "podIPs", "startTime"),
      },
    },
    "status",
  ),
];

/** Pod `i`: of the deployment that `policy-cluster.ts` says, on a node that is not the agent's. */
export function remotePod(i: number, pods: number): PodRow {
  const node = firstRemote + Math.floor(i / podsPerNode);
  const host = 10 + (i % podsPerNode);
  const texts = [`10.${64 + (node >> 8)}.${node & 255}.${host}`, `fd00:64:${node.toString(16)}::${host.toString(16)}`];
  return { ...podRow(i, pods), node: nodeName(node), addresses: texts.flatMap((text) => parseAddress(text) ?? []) };
}

function podObject(i: number, pods: number): StoredObject {
  const row = remotePod(i, pods);
  const { namespace, name } = row;
  const condition = (type: string) => ({ type, status: "True", lastProbeTime: null, lastTransitionTime: created });
  const probe = (path: string) => ({
    httpGet: { path, port: "http", scheme: "HTTP" },
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
  });
  const image = `registry.example.com/${namespace}/${row.labels.app}:v1.${i % 40}.0`;
  return {
    storage: "pods",
    key: `${namespace}/${name}`,
    object: {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        generateName: `${row.labels.app}-`,
        namespace,
        uid: uid(1, i),
        creationTimestamp: created,
        labels: { ...row.labels, "pod-template-hash": "6d4b75cb6d" },
        annotations: {
          "checksum/config": uid(9, i).repeat(2),
          "prometheus.io/port": String(targetPort),
          "prometheus.io/scrape": "true",
        },
        ownerReferences: [
          {
            apiVersion: "apps/v1",
            kind: "ReplicaSet",
            name: `${row.labels.app}-6d4b75cb6d`,
            uid: "0b1e7c52-8a55-4f0d-9f39-2d0c6c0f9f1e",
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
        managedFields: podFields,
      },
      spec: {
        volumes: [
          {
            name: "kube-api-access-x7k2p",
            projected: {
              defaultMode: 420,
              sources: [
                { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
                { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
              ],
            },
          },
        ],
        containers: [
          {
            name: "main",
            image,
            ports: [{ name: "http", containerPort: targetPort, protocol: "TCP" }],
            env: [
              { name: "POD_NAME", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.name" } } },
              { name: "LOG_LEVEL", value: "info" },
            ],
            resources: { limits: { cpu: "500m", memory: "256Mi" }, requests: { cpu: "100m", memory: "128Mi" } },
            volumeMounts: [
              {
                name: "kube-api-access-x7k2p",
                readOnly: true,
                mountPath: "/var/run/secrets/kubernetes.io/serviceaccount",
              },
            ],
            livenessProbe: probe("/healthz"),
            readinessProbe: probe("/readyz"),
            terminationMessagePath: "/dev/termination-log",
            terminationMessagePolicy: "File",
            imagePullPolicy: "IfNotPresent",
          },
        ],
        restartPolicy: "Always",
        terminationGracePeriodSeconds: 30,
        dnsPolicy: "ClusterFirst",
        serviceAccountName: row.serviceAccount,
        serviceAccount: row.serviceAccount,
        nodeName: row.node,
        securityContext: {},
        schedulerName: "default-scheduler",
        tolerations: ["not-ready", "unreachable"].map((taint) => ({
          key: `node.kubernetes.io/${taint}`,
          operator: "Exists",
          effect: "NoExecute",
          tolerationSeconds: 300,
        })),
        priority: 0,
        enableServiceLinks: true,
        preemptionPolicy: "PreemptLowerPriority",
      },
      status: {
        phase: "Running",
        conditions: ["Initialized", "PodReadyToStartContainers", "Ready", "ContainersReady", "PodScheduled"].map(
          condition,
        ),
        hostIP: nodeAddress(row.node),
        hostIPs: [{ ip: nodeAddress(row.node) }],
        podIP: row.addresses[0]?.text,
        podIPs: row.addresses.map(({ text }) => ({ ip: text })),
        startTime: created,
        containerStatuses: [
          {
            name: "main",
            state: { running: { startedAt: created } },
            lastState: {},
            ready: true,
            restartCount: 0,
            image,
            imageID: `registry.example.com/${namespace}/${row.labels.app}@sha256:${uid(8, i).repeat(2)}`,
            containerID: `containerd://${uid(7, i).repeat(2)}`,
            started: true,
          },
        ],
        qosClass: "Burstable",
      },
    },
  };
}

export function nodeAddress(name: string): string {
  const node = Number(name.slice(name.lastIndexOf("-") + 1));
  return `192.0.${2 + (node >> 8)}.${node & 255}`;
}

function nodeObject(node: OwnNode): StoredObject {
  const { name, addresses, podCidrs } = node;
  return {
    storage: "nodes",
    key: name,
    object: {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name,
        creationTimestamp: created,
        labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "a" },
        annotations: { "node.alpha.kubernetes.io/ttl": "0" },
        managedFields: podFields.slice(1),
      },
      spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
      status: {
        addresses: [
          ...addresses.map((address) => ({ type: "InternalIP", address })),
          { type: "Hostname", address: name },
        ],
        // What kubelets report of images is most of a Node.
        images: Array.from({ length: 50 }, (_, i) => ({
          names: [`registry.example.com/library/image-${i}@sha256:${uid(6, i).repeat(2)}`],
          sizeBytes: 30_000_000 + i,
        })),
        nodeInfo: { kernelVersion: "6.12.0", kubeletVersion: "v1.33.0", operatingSystem: "linux" },
      },
    },
  };
}

function remoteNode(node: number): OwnNode {
  return {
    name: nodeName(node),
    addresses: [nodeAddress(nodeName(node))],
    podCidrs: [`10.${64 + (node >> 8)}.${node & 255}.0/24`, `fd00:64:${node.toString(16)}::/64`],
  };
}

function serviceObjects(service: number, pods: number): readonly StoredObject[] {
  const members = Array.from({ length: podsPerDeployment }, (_, i) =>
    remotePod(service + i * Math.floor(pods / podsPerDeployment), pods),
  );
  const { namespace, labels } = podRow(service, pods);
  const name = labels.app ?? "";
  const metadata = { namespace, creationTimestamp: created, managedFields: podFields.slice(1) };
  return [
    {
      storage: "services",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "v1",
        kind: "Service",
        metadata: { ...metadata, name, uid: uid(2, service), labels: { app: name } },
        spec: {
          ports: [{ name: "http", protocol: "TCP", port: servicePort, targetPort }],
          selector: { app: name },
          clusterIP: serviceIp(service + 1),
          clusterIPs: [serviceIp(service + 1)],
          type: "ClusterIP",
          sessionAffinity: "None",
          ipFamilies: ["IPv4"],
          ipFamilyPolicy: "SingleStack",
          internalTrafficPolicy: "Cluster",
        },
        status: { loadBalancer: {} },
      },
    },
    sliceObject(namespace, name, `${name}-x8k2f`, members),
  ];
}

function sliceObject(namespace: string, service: string, name: string, members: readonly PodRow[]): StoredObject {
  return {
    storage: "endpointslices.discovery.k8s.io",
    key: `${namespace}/${name}`,
    object: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        namespace,
        name,
        generation: 1,
        creationTimestamp: created,
        labels: {
          app: service,
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
          "kubernetes.io/service-name": service,
        },
        managedFields: podFields.slice(1),
      },
      addressType: "IPv4",
      endpoints: members.map((member) => ({
        addresses: member.addresses.filter(({ family }) => family === 4).map(({ text }) => text),
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: member.node,
        targetRef: { kind: "Pod", namespace, name: member.name, uid: member.uid },
        zone: "a",
      })),
      ports: [{ name: "http", protocol: "TCP", port: targetPort }],
    },
  };
}

function policyObject(i: number, pods: number): StoredObject {
  const { kind, namespace, name, generation, spec } = policyRow(i, pods);
  const cilium = kind !== "NetworkPolicy";
  return {
    storage: cilium ? "ciliumnetworkpolicies.cilium.io" : "networkpolicies.networking.k8s.io",
    key: `${namespace}/${name}`,
    object: {
      apiVersion: cilium ? "cilium.io/v2" : "networking.k8s.io/v1",
      kind,
      metadata: {
        namespace,
        name,
        uid: uid(3, i),
        generation,
        creationTimestamp: created,
        managedFields: podFields.slice(1),
      },
      spec,
    },
  };
}

export function remoteNodes(pods: number): readonly OwnNode[] {
  return Array.from({ length: Math.ceil(pods / podsPerNode) }, (_, node) => remoteNode(firstRemote + node));
}

/** Everything, in an order that a client may create it in. */
export function* clusterObjects({ pods, policies }: KubeClusterSize, self: OwnNode): Generator<StoredObject> {
  yield nodeObject(self);
  for (const node of remoteNodes(pods)) yield nodeObject(node);
  const deployments = Math.floor(pods / podsPerDeployment);
  const namespaces = new Set(
    Array.from({ length: deployments }, (_, i) => podRow(i, pods).namespace).concat("kube-node-lease"),
  );
  for (const name of namespaces) {
    const metadata = { name, creationTimestamp: created, labels: { "kubernetes.io/metadata.name": name } };
    const object = { apiVersion: "v1", kind: "Namespace", metadata, status: { phase: "Active" } };
    yield { storage: "namespaces", key: name, object };
  }
  for (let i = 0; i < pods; i++) yield podObject(i, pods);
  for (let i = 0; i < deployments; i++) yield* serviceObjects(i, pods);
  for (let i = 0; i < policies; i++) yield policyObject(i, pods);
}
