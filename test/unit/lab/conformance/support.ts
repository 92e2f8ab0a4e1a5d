/** A small cluster for tests of the conformance runner. */
import { parseAllDocuments } from "yaml";
import type { CaseProbe, ConformanceCase } from "../../../../src/lab/conformance/case.ts";
import { checkObject, type KubeObject } from "../../../../src/lab/objects.ts";

export function objects(yaml: string): readonly KubeObject[] {
  const documents = parseAllDocuments(yaml);
  return "empty" in documents ? [] : documents.map((document, i) => checkObject(document.toJS(), `object ${i + 1}`));
}

export const node = (name: string, ...addresses: readonly string[]) =>
  objects(
    `{apiVersion: v1, kind: Node, metadata: {name: ${name}}, status: {addresses: [${addresses
      .map((address) => `{type: InternalIP, address: "${address}"}`)
      .join(", ")}]}}`,
  );

export const pod = (title: string, on: string, addresses: readonly string[], more = "", phase = "Running") => {
  const [namespace, name] = title.split("/");
  const ips = addresses.map((ip) => `{ip: "${ip}"}`).join(", ");
  return objects(`
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}}
spec: {nodeName: ${on}, containers: [{name: main}]${more}}
status: {phase: ${phase}, podIPs: [${ips}]}`);
};

export const service = (title: string, clusterIP: string, backends: readonly (readonly [string, boolean])[]) => {
  const [namespace, name] = title.split("/");
  const endpoints = backends.map(([ip, ready]) => `{addresses: ["${ip}"], conditions: {ready: ${ready}}}`).join(", ");
  return objects(`
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {clusterIP: ${clusterIP}, ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: ${namespace}, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
endpoints: [${endpoints}]
ports: [{name: http, port: 8080, protocol: TCP}]`);
};

export const shop: readonly KubeObject[] = [
  ...node("worker-1", "192.168.10.11", "fd00:10::11"),
  ...node("worker-2", "192.168.10.12"),
  ...pod("shop/front", "worker-1", ["10.244.1.11"]),
  ...pod("shop/cart", "worker-2", ["10.244.2.12", "fd00:244:2::12"]),
  ...pod("shop/six", "worker-1", ["fd00:244:1::66"]),
  ...pod("shop/agent", "worker-2", ["192.168.10.12"], ", hostNetwork: true"),
  ...pod("shop/done", "worker-1", ["10.244.1.110"], "", "Succeeded"),
  ...service("shop/both", "10.96.0.50", [
    ["10.244.1.11", true],
    ["10.244.2.12", true],
    ["203.0.113.80", true],
    ["10.244.9.9", false],
  ]),
  ...service("shop/empty", "10.96.0.51", [["10.244.1.11", false]]),
];

export function probe(from: string, to: string, more: Partial<CaseProbe> = {}): CaseProbe {
  return {
    number: 1,
    from,
    to,
    protocol: "TCP",
    port: 80,
    family: null,
    request: null,
    resolved: [],
    expect: "allow",
    ...more,
  };
}

export function conformanceCase(
  cluster: readonly KubeObject[],
  more: Partial<Omit<ConformanceCase, "cluster">> = {},
): ConformanceCase {
  return { name: "case", description: "", policies: [], probes: [probe("shop/front", "shop/cart")], ...more, cluster };
}
