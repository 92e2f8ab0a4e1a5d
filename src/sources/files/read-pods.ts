/** Pods as rows. A manifest that says nothing of the pod's state is taken for a pod that runs and is ready. */
import type { ContainerPort, PodRow } from "../../model/tables.ts";
import type { Metadata } from "./read-metadata.ts";
import {
  at,
  distinct,
  type Fields,
  isAbsent,
  type Place,
  readAddress,
  readEach,
  readFields,
  readFlag,
  readPort,
  readProtocol,
  readText,
  readWord,
  refuse,
} from "./read-values.ts";
import { readVisibility, visibilityAnnotation } from "./read-visibility.ts";

/** PodSpec of core/v1. */
const podSpec: ReadonlySet<string> = new Set([
  "activeDeadlineSeconds",
  "affinity",
  "automountServiceAccountToken",
  "containers",
  "dnsConfig",
  "dnsPolicy",
  "enableServiceLinks",
  "ephemeralContainers",
  "hostAliases",
  "hostIPC",
  "hostNetwork",
  "hostPID",
  "hostUsers",
  "hostname",
  "hostnameOverride",
  "imagePullSecrets",
  "initContainers",
  "nodeName",
  "nodeSelector",
  "os",
  "overhead",
  "preemptionPolicy",
  "priority",
  "priorityClassName",
  "readinessGates",
  "resourceClaims",
  "resources",
  "restartPolicy",
  "runtimeClassName",
  "schedulerName",
  "schedulingGates",
  "securityContext",
  "serviceAccount",
  "serviceAccountName",
  "setHostnameAsFQDN",
  "shareProcessNamespace",
  "subdomain",
  "terminationGracePeriodSeconds",
  "tolerations",
  "topologySpreadConstraints",
  "volumes",
  "workloadRef",
]);
const podIp: ReadonlySet<string> = new Set(["ip"]);
const containerPort: ReadonlySet<string> = new Set(["containerPort", "hostIP", "hostPort", "name", "protocol"]);

/** What the CNI plugin `bandwidth` reads (kubelet passes it on). */
const bandwidthAnnotations = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"] as const;

const phases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"] as const;

export function readPod(object: Fields, metadata: Metadata, place: Place): PodRow {
  const specPlace = at(place, "spec");
  const spec = readFields(object.spec, specPlace, podSpec);
  const statusPlace = at(place, "status");
  const status = readFields(object.status, statusPlace, null);
  const account = spec.serviceAccountName ?? spec.serviceAccount;
  const annotationsPlace = at(at(place, "metadata"), "annotations");
  const annotations = readAnnotations(object, place);
  const bandwidth = bandwidthAnnotations.filter((name) => !isAbsent(annotations[name]));
  const visible = readText(annotations[visibilityAnnotation], at(annotationsPlace, visibilityAnnotation)) ?? "";
  const visibility = visible === "" ? [] : readVisibility(visible, at(annotationsPlace, visibilityAnnotation));
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    labels: metadata.labels,
    node: readText(spec.nodeName, at(specPlace, "nodeName")) ?? "",
    serviceAccount: readText(account, at(specPlace, "serviceAccountName")) || "default",
    hostNetwork: readFlag(spec.hostNetwork, at(specPlace, "hostNetwork")) ?? false,
    addresses: readPodAddresses(status, statusPlace),
    ports: [
      ...readContainers(spec.containers, at(specPlace, "containers"), false),
      ...readContainers(spec.initContainers, at(specPlace, "initContainers"), true),
    ],
    phase: readWord(status.phase, at(statusPlace, "phase"), phases, "Running"),
    ready: readReady(status, statusPlace) && !metadata.deleting,
    ...(visibility.length > 0 && { visibility }),
    ...(bandwidth.length > 0 && { bandwidth }),
  };
}

function readAnnotations(object: Fields, place: Place): Fields {
  const metadataPlace = at(place, "metadata");
  const { annotations } = readFields(object.metadata, metadataPlace, null);
  return readFields(annotations, at(metadataPlace, "annotations"), null);
}

function readPodAddresses(status: Fields, place: Place): PodRow["addresses"] {
  const several = readEach(status.podIPs, at(place, "podIPs"), (entry, entryPlace) =>
    readAddress(readFields(entry, entryPlace, podIp).ip, at(entryPlace, "ip")),
  );
  const single = readAddress(status.podIP || null, at(place, "podIP"));
  return several.length > 0 || single === null ? distinct(several) : [single];
}

/** @param sidecarsOnly of init containers only those serve that go on running (restartPolicy: Always) */
function readContainers(value: unknown, place: Place, sidecarsOnly: boolean): readonly ContainerPort[] {
  return readEach(value, place, (entry, entryPlace) => {
    const container = readFields(entry, entryPlace, null);
    const ports = readEach(container.ports, at(entryPlace, "ports"), readContainerPort);
    return sidecarsOnly && container.restartPolicy !== "Always" ? null : ports;
  }).flat();
}

function readContainerPort(value: unknown, place: Place): ContainerPort | null {
  const fields = readFields(value, place, containerPort);
  const port = readPort(fields.containerPort, at(place, "containerPort"));
  if (isAbsent(fields.containerPort)) {
    refuse(at(place, "containerPort"), "MANIFEST_MISSING", "the port has no number", "write containerPort");
  }
  const protocol = readProtocol(fields.protocol, at(place, "protocol"));
  const name = readText(fields.name, at(place, "name")) || null;
  return port === null ? null : { name, port, protocol };
}

function readReady(status: Fields, place: Place): boolean {
  const conditions = readEach(status.conditions, at(place, "conditions"), (entry, entryPlace) =>
    readFields(entry, entryPlace, null),
  );
  const ready = conditions.find(({ type }) => type === "Ready");
  return ready === undefined || ready.status === "True";
}
