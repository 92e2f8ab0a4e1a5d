/** What an API server fills in where manifests of built-in kinds say nothing, as far as clients and kubelets build on it. Pure. */
import { at, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";

type Fill = (object: JsonObject) => JsonObject;

const fills: Readonly<Record<string, Fill>> = {
  namespaces: (object) => inSpec(object, (spec) => ({ finalizers: ["kubernetes"], ...spec })),
  pods: (object) => inSpec(object, podSpec),
  services: (object) => ({ ...inSpec(object, serviceSpec), status: object.status ?? { loadBalancer: {} } }),
  "deployments.apps": (object) => inSpec(object, deploymentSpec),
  "replicasets.apps": (object) => inSpec(object, (spec) => ({ replicas: 1, ...withTemplate(spec) })),
  "daemonsets.apps": (object) => inSpec(object, withTemplate),
  "networkpolicies.networking.k8s.io": (object) => inSpec(object, policySpec),
  "endpointslices.discovery.k8s.io": (object) => ({
    ...object,
    endpoints: object.endpoints ?? [],
    ports: listAt(object, "ports").map((port) => ({ name: "", protocol: "TCP", ...asObject(port) })),
  }),
};

/** @param storage Resource.storage */
export function withDefaults(storage: string, object: JsonObject): JsonObject {
  return fills[storage]?.(object) ?? object;
}

function inSpec(object: JsonObject, fill: Fill): JsonObject {
  return { ...object, spec: fill(objectAt(object, "spec")) };
}

function asObject(value: Json): JsonObject {
  return isObject(value) ? value : {};
}

function each(object: JsonObject, field: string, fill: Fill): JsonObject {
  return field in object ? { ...object, [field]: listAt(object, field).map((item) => fill(asObject(item))) } : object;
}

function podSpec(given: JsonObject): JsonObject {
  const account = textAt(given, "serviceAccountName") || textAt(given, "serviceAccount");
  const spec = {
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 30,
    dnsPolicy: "ClusterFirst",
    schedulerName: "default-scheduler",
    securityContext: {},
    enableServiceLinks: true,
    ...given,
    ...(account === "" ? {} : { serviceAccountName: account, serviceAccount: account }),
  };
  return each(
    each(spec, "containers", (c) => container(c, spec)),
    "initContainers",
    (c) => container(c, spec),
  );
}

function container(given: JsonObject, pod: JsonObject): JsonObject {
  const image = textAt(given, "image");
  const latest = !image.includes("@") && (!/:[^/]*$/.test(image) || image.endsWith(":latest"));
  const filled = each(
    {
      terminationMessagePath: "/dev/termination-log",
      terminationMessagePolicy: "File",
      imagePullPolicy: latest ? "Always" : "IfNotPresent",
      resources: {},
      ...given,
    },
    "ports",
    (port) => ({
      protocol: "TCP",
      ...(pod.hostNetwork === true ? { hostPort: port.containerPort ?? 0 } : {}),
      ...port,
    }),
  );
  const probes = ["livenessProbe", "readinessProbe", "startupProbe"].filter((name) => name in given);
  return { ...filled, ...Object.fromEntries(probes.map((name) => [name, probe(objectAt(given, name))])) };
}

function probe(given: JsonObject): JsonObject {
  const times = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 };
  const httpGet = at(given, "httpGet");
  return {
    ...times,
    ...given,
    ...(isObject(httpGet) ? { httpGet: { path: "/", scheme: "HTTP", ...httpGet } } : {}),
  };
}

function serviceSpec(given: JsonObject): JsonObject {
  const type = textAt(given, "type") || "ClusterIP";
  const outside = type === "NodePort" || type === "LoadBalancer";
  const spec = {
    sessionAffinity: "None",
    ...(type === "ExternalName" ? {} : { internalTrafficPolicy: "Cluster" }),
    ...(outside ? { externalTrafficPolicy: "Cluster" } : {}),
    ...given,
    type,
  };
  return each(spec, "ports", (port) => ({ protocol: "TCP", targetPort: port.port ?? 0, ...port }));
}

function withTemplate(spec: JsonObject): JsonObject {
  const template = objectAt(spec, "template");
  return { ...spec, template: { ...template, spec: podSpec(objectAt(template, "spec")) } };
}

function deploymentSpec(given: JsonObject): JsonObject {
  const type = textAt(given, "strategy", "type") || "RollingUpdate";
  const rollingUpdate = { maxUnavailable: "25%", maxSurge: "25%", ...objectAt(given, "strategy", "rollingUpdate") };
  return {
    replicas: 1,
    revisionHistoryLimit: 10,
    progressDeadlineSeconds: 600,
    ...withTemplate(given),
    strategy: type === "RollingUpdate" ? { type, rollingUpdate } : { type },
  };
}

function policySpec(given: JsonObject): JsonObject {
  const types = "egress" in given ? ["Ingress", "Egress"] : ["Ingress"];
  const ports = (rule: JsonObject) => each(rule, "ports", (port) => ({ protocol: "TCP", ...port }));
  return each(each({ policyTypes: types, ...given }, "ingress", ports), "egress", ports);
}
