/** The two ends of a question about a service, as people write them: shop/web-0, node/worker-1, 192.0.2.7; 10.96.0.1:80, [fd00::1]:53/UDP. */
import { ApiError } from "../api/errors.ts";
import { parseFlow } from "../compute/offline/flow-text.ts";
import { nearest } from "../lib/nearest.ts";
import { type Address, parseAddress } from "../model/ip.ts";
import type { TableSnapshot } from "../model/store.ts";

export interface Client {
  /** pod, node: of the agent's node; outside: whoever comes by an uplink. */
  readonly kind: "pod" | "node" | "outside";
  readonly name: string;
  readonly address: Address;
  /** Path of its network namespace; null: the node's own. */
  readonly netns: string | null;
}

type Tables = Pick<TableSnapshot, "pods" | "nodes" | "localEndpoints">;

const mistake = (message: string, remedy: string) => new ApiError(400, "TRACE_END", message, remedy);

/** @throws ApiError TRACE_END */
export function readClient(text: string, family: 4 | 6, tables: Tables, nodeName: string): Client {
  const literal = parseAddress(text);
  if (literal !== null) return ofAddress(literal, family, tables, nodeName);
  if (text.startsWith("node/")) return ofNode(text.slice("node/".length), family, tables, nodeName);
  const pod = tables.pods.get(text);
  if (pod === undefined) {
    const near = nearest(text, tables.pods.keys());
    const remedy = near === null ? "write NAMESPACE/POD, node/NAME or an address" : `did you mean ${near}?`;
    throw mistake(`client ${text}: there is no such pod`, remedy);
  }
  if (pod.hostNetwork) return ofNode(pod.node, family, tables, nodeName);
  if (pod.node !== nodeName) throw elsewhere(text, pod.node);
  const address = pod.addresses.find((each) => each.family === family);
  if (address === undefined)
    throw mistake(`client ${text} has no IPv${family} address`, "ask for an address of its family");
  const rows = [...tables.localEndpoints.values()].filter((row) => row.pod === text);
  // Of several of one name the newest.
  const netns = rows.sort((a, b) => b.id - a.id)[0]?.netns ?? null;
  return { kind: "pod", name: text, address, netns };
}

function ofAddress(address: Address, family: 4 | 6, tables: Tables, nodeName: string): Client {
  if (address.family !== family) {
    throw mistake(`client ${address.text} is not of the service address's family`, `name an IPv${family} address`);
  }
  const has = ({ addresses }: { readonly addresses: readonly Address[] }) =>
    addresses.some(({ text }) => text === address.text);
  const node = [...tables.nodes.values()].find(has);
  if (node !== undefined) return { ...ofNode(node.name, family, tables, nodeName), address };
  for (const [name, pod] of tables.pods) {
    if (has(pod) && !pod.hostNetwork && pod.phase === "Running") return readClient(name, family, tables, nodeName);
  }
  return { kind: "outside", name: address.text, address, netns: null };
}

function ofNode(name: string, family: 4 | 6, tables: Tables, nodeName: string): Client {
  const node = tables.nodes.get(name);
  if (node === undefined) throw mistake(`client node/${name}: there is no such node`, "kubectl get nodes lists them");
  if (name !== nodeName) throw elsewhere(`node/${name}`, name);
  const address = node.addresses.find((each) => each.family === family);
  if (address === undefined)
    throw mistake(`client node/${name} has no IPv${family} address`, "ask for an address of its family");
  return { kind: "node", name: `node/${name}`, address, netns: null };
}

function elsewhere(client: string, node: string): ApiError {
  const where = node === "" ? "no node" : node;
  return mistake(`client ${client} is on ${where}, where services are translated for it`, `ask the agent of ${where}`);
}

export interface Destination {
  readonly address: Address;
  readonly port: number;
  /** IANA number. */
  readonly protocol: number;
}

/** @throws ApiError TRACE_END, TRACE_FLOW */
export function readDestination(text: string): Destination {
  const [, bracketed, bare, flowText = ""] = /^(?:\[([^\]]+)\]|([^:/[\]]+)):(.+)$/.exec(text) ?? [];
  const address = parseAddress(bracketed ?? bare ?? "");
  if (address === null) {
    throw mistake(
      `${JSON.stringify(text)} is no address with a port`,
      "write 10.96.0.1:80, [fd00::1]:80 or 10.96.0.10:53/UDP",
    );
  }
  const flow = parseFlow({ port: flowText });
  if ("message" in flow) throw new ApiError(400, "TRACE_FLOW", flow.message, flow.remedy);
  return { address, port: flow.port, protocol: flow.protocol };
}
