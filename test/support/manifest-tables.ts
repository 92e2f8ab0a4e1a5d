/** Manifests of the conformance cases as tables, without the checks that the files source makes. */
import { parseAllDocuments } from "yaml";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../src/model/ip.ts";
import { TableStore } from "../../src/model/store.ts";
import type { ContainerPort, Labels, PolicyRow, Protocol, ServiceRow } from "../../src/model/tables.ts";

interface Written {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Labels };
  // biome-ignore lint/suspicious/noExplicitAny: manifests are what they are
  readonly [field: string]: any;
}

function addresses(texts: readonly string[]): readonly Address[] {
  return [...new Set(texts)].map((text) => {
    const address = parseAddress(text);
    if (address === null) throw new Error(`${text} is not an address`);
    return address;
  });
}

function prefixes(texts: readonly string[]): readonly Prefix[] {
  return texts.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === null) throw new Error(`${text} is not a prefix`);
    return prefix;
  });
}

export function readManifests(...texts: readonly string[]): TableStore {
  const store = new TableStore();
  for (const text of texts) {
    for (const document of parseAllDocuments(text)) {
      const object = document.toJS() as Written | null;
      if (object !== null) read(store, object);
    }
  }
  return store;
}

function read(store: TableStore, object: Written): void {
  const { name, labels = {} } = object.metadata;
  const namespace = object.metadata.namespace ?? "default";
  const key = `${namespace}/${name}`;
  switch (object.kind) {
    case "Namespace":
      store.upsert("namespaces", name, { name, labels: { ...labels, "kubernetes.io/metadata.name": name } });
      return;
    case "Node":
      store.upsert("nodes", name, {
        name,
        labels,
        addresses: addresses(
          object.status.addresses
            .filter(({ type }: { readonly type: string }) => type.endsWith("IP"))
            .map(({ address }: { readonly address: string }) => address),
        ),
        podCidrs: prefixes(object.spec?.podCIDRs ?? []),
      });
      return;
    case "Pod":
      store.upsert("pods", key, {
        namespace,
        name,
        uid: "",
        labels,
        node: object.spec.nodeName,
        serviceAccount: object.spec.serviceAccountName ?? "default",
        hostNetwork: object.spec.hostNetwork ?? false,
        addresses: addresses((object.status?.podIPs ?? []).map(({ ip }: { readonly ip: string }) => ip)),
        ports: object.spec.containers.flatMap(({ ports }: { readonly ports?: readonly Written[] }) =>
          (ports ?? []).map(
            (port): ContainerPort => ({
              name: (port.name as string | undefined) ?? null,
              port: port.containerPort,
              protocol: port.protocol ?? "TCP",
            }),
          ),
        ),
        phase: object.status?.phase ?? "Running",
        ready: true,
      });
      return;
    case "Service":
      store.upsert("services", key, {
        namespace,
        name,
        type: object.spec.type ?? "ClusterIP",
        clusterIps: object.spec.clusterIP === "None" ? [] : addresses([object.spec.clusterIP ?? "10.96.9.9"]),
        externalIps: [],
        loadBalancerIps: [],
        ports: object.spec.ports.map((port: Written): ServiceRow["ports"][number] => ({
          name: (port.name as string | undefined) ?? "",
          protocol: port.protocol ?? "TCP",
          port: port.port,
          targetPort: port.targetPort ?? port.port,
          nodePort: null,
        })),
        selector: object.spec.selector ?? null,
        affinitySeconds: null,
        publishNotReady: false,
        labels,
      });
      return;
    case "EndpointSlice":
      store.upsert("endpointSlices", key, {
        namespace,
        name,
        service: labels["kubernetes.io/service-name"] ?? "",
        family: object.addressType === "IPv6" ? 6 : 4,
        endpoints: object.endpoints.map((endpoint: Written) => ({
          addresses: addresses(endpoint.addresses),
          ready: endpoint.conditions?.ready ?? true,
          serving: endpoint.conditions?.ready ?? true,
          terminating: false,
          node: endpoint.nodeName ?? null,
        })),
        ports: object.ports.map((port: Written) => ({
          name: (port.name as string | undefined) ?? "",
          protocol: (port.protocol ?? "TCP") as Protocol,
          port: port.port,
        })),
      });
      return;
    case "NetworkPolicy":
    case "CiliumNetworkPolicy":
    case "CiliumClusterwideNetworkPolicy": {
      const kind: PolicyRow["kind"] = object.kind;
      const within = kind === "CiliumClusterwideNetworkPolicy" ? "" : namespace;
      store.upsert("policies", `${kind}/${within}/${name}`, {
        kind,
        namespace: within,
        name,
        uid: "",
        generation: 1,
        spec: object.spec,
        specs: object.specs ?? null,
      });
      return;
    }
    default:
      throw new Error(`${object.kind} is not read`);
  }
}
