/** Rows as the sources would write them, with what a test does not care about filled in. */
import type { FrontendResult, ServiceTables } from "../../../../src/compute/services/index.ts";
import { type Address, parseAddress } from "../../../../src/model/ip.ts";
import type { EndpointSliceRow, NodeRow, PodRow, ServicePort, ServiceRow } from "../../../../src/model/tables.ts";

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

export function servicePort(port: Partial<ServicePort> = {}): ServicePort {
  return { name: "", protocol: "TCP", port: 80, targetPort: 8080, nodePort: null, ...port };
}

export function service(name: string, fields: Partial<ServiceRow> = {}): ServiceRow {
  return {
    namespace: "shop",
    name,
    type: "ClusterIP",
    clusterIps: [address("10.96.0.1")],
    externalIps: [],
    loadBalancerIps: [],
    ports: [servicePort()],
    selector: { app: name },
    affinitySeconds: null,
    publishNotReady: false,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    healthCheckNodePort: null,
    sourceRanges: null,
    labels: {},
    ...fields,
  };
}

export function pod(name: string, addresses: readonly string[], fields: Partial<PodRow> = {}): PodRow {
  return {
    namespace: "shop",
    name,
    uid: "",
    labels: { app: "web" },
    node: "node-1",
    serviceAccount: "default",
    hostNetwork: false,
    addresses: addresses.map(address),
    ports: [],
    phase: "Running",
    ready: true,
    ...fields,
  };
}

type Endpoint = EndpointSliceRow["endpoints"][number];

export function endpoint(text: string, fields: Partial<Endpoint> = {}): Endpoint {
  return {
    addresses: [address(text)],
    ready: true,
    serving: true,
    terminating: false,
    node: null,
    hints: null,
    ...fields,
  };
}

export function slice(
  name: string,
  endpoints: readonly Endpoint[],
  fields: Partial<EndpointSliceRow> = {},
): EndpointSliceRow {
  return {
    namespace: "shop",
    name,
    service: "web",
    family: 4,
    endpoints,
    ports: [{ name: "", protocol: "TCP", port: 8080 }],
    ...fields,
  };
}

export function node(name: string, addresses: readonly string[], labels: NodeRow["labels"] = {}): NodeRow {
  return { name, labels, addresses: addresses.map(address), podCidrs: [] };
}

const keyed = <T extends { readonly namespace: string; readonly name: string }>(rows: readonly T[]) =>
  new Map(rows.map((row) => [`${row.namespace}/${row.name}`, row]));

export function tables(rows: {
  readonly services?: readonly ServiceRow[];
  readonly endpointSlices?: readonly EndpointSliceRow[];
  readonly pods?: readonly PodRow[];
  readonly nodes?: readonly NodeRow[];
}): ServiceTables {
  return {
    services: keyed(rows.services ?? []),
    endpointSlices: keyed(rows.endpointSlices ?? []),
    pods: keyed(rows.pods ?? []),
    nodes: new Map((rows.nodes ?? []).map((row) => [row.name, row])),
  };
}

/** "10.96.0.1 80/6 -> 10.1.0.1:8080 10.1.0.2:8080", a line per frontend. */
export function lines({ frontends }: FrontendResult): readonly string[] {
  return frontends.map(
    (frontend) =>
      `${frontend.address.text} ${frontend.port}/${frontend.protocol} ->${frontend.backends
        .map((one) => ` ${one.address.text}:${one.port}`)
        .join("")}`,
  );
}
