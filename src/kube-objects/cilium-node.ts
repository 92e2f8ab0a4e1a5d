/** CiliumNode: a node as its agent sees it, named as the Node and owned by it. */
import { described, integer, list, object, text, type TypeOf, word } from "../lib/schema.ts";
import { ageColumn, type CustomKind } from "./definition.ts";

const pair = { ipv4: text({ description: "IPv4 address" }), ipv6: text({ description: "IPv6 address" }) };

export const nodeSpecSchema = object({
  "instance-id": text({ description: "of the cloud's instance" }),
  bootid: text({ description: "changes with each boot" }),
  addresses: list(
    object({
      type: word(["Hostname", "InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "CiliumInternalIP"]),
      ip: text(),
    }),
    { description: "addresses of the node, and CiliumInternalIP: its own in the network of pods" },
  ),
  health: object(pair, { description: "where it answers questions about its health" }),
  ingress: object(pair, { description: "whence its proxy talks to pods" }),
  encryption: object({ key: integer(0, 255) }),
  ipam: object({ podCIDRs: list(text(), { description: "whence its pods have their addresses" }) }),
  nodeidentity: integer(0, 0xff_ff_ff, { format: "int64", description: "identity of the node" }),
});

export const nodeStatusSchema = object({
  ipam: object({ "operator-status": object({ error: text({ description: "why it has no blocks" }) }) }),
});

export type NodeSpec = TypeOf<typeof nodeSpecSchema>;
export type NodeStatus = TypeOf<typeof nodeStatusSchema>;

const address = (type: string) => `.spec.addresses[?(@.type=='${type}')].ip`;

export const nodeKind: CustomKind = {
  kind: "CiliumNode",
  plural: "ciliumnodes",
  shortNames: ["cn", "ciliumn"],
  scope: "Cluster",
  description: "A node as its agent sees it.",
  fields: {
    spec: described(nodeSpecSchema, "written by the agent of the node"),
    status: described(nodeStatusSchema, "written by the operator"),
  },
  required: ["spec"],
  columns: [
    {
      name: "CiliumInternalIP",
      type: "string",
      jsonPath: address("CiliumInternalIP"),
      description: "address of the node in the network of pods",
    },
    { name: "InternalIP", type: "string", jsonPath: address("InternalIP"), description: "address of the node" },
    ageColumn,
  ],
  statusSubresource: true,
};
