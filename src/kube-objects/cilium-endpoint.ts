/**
 * CiliumEndpoint: what a node says of one of its pods. Everything is status, and there is no status subresource, as with Cilium: one
 * request makes an object with all that is known, and whoever may write it may write nothing else.
 */
import { anyObject, boolean, described, integer, list, object, text, type TypeOf, word } from "../lib/schema.ts";
import { ageColumn, type CustomKind } from "./definition.ts";

/** Identities are 24 bits, reserved ones included. */
const identityNumber = (description: string) => integer(0, 0xff_ff_ff, { format: "int64", description });

const allowedIdentity = object({
  identity: identityNumber("peer"),
  "identity-labels": anyObject({ description: "its labels" }),
  "dest-port": integer(0, 65_535, { description: "port; 0: any" }),
  protocol: integer(0, 255, { description: "protocol number; 0: any" }),
});

const directionPolicy = object(
  {
    enforcing: boolean({ description: "whether a policy closes this direction" }),
    allowed: list(allowedIdentity, { nullable: true }),
    denied: list(allowedIdentity, { nullable: true }),
    state: text({ description: "of the enforcement" }),
  },
  { required: ["enforcing"] },
);

export const endpointStatusSchema = object({
  id: integer(0, 65_535, { format: "int64", description: "number of the endpoint on its node" }),
  "external-identifiers": object({
    "cni-attachment-id": text(),
    "container-id": text(),
    "k8s-namespace": text(),
    "k8s-pod-name": text(),
    "pod-name": text({ description: "namespace/name" }),
  }),
  identity: object({
    id: identityNumber("identity of its labels"),
    labels: list(text(), { description: "source:key=value" }),
  }),
  networking: object(
    {
      addressing: list(object({ ipv4: text(), ipv6: text() }), { description: "addresses of the pod" }),
      node: text({ description: "address of its node" }),
    },
    { required: ["addressing"] },
  ),
  encryption: object({ key: integer(0, 255) }),
  policy: object({ ingress: directionPolicy, egress: directionPolicy }),
  state: word(
    [
      "creating",
      "waiting-for-identity",
      "not-ready",
      "waiting-to-regenerate",
      "regenerating",
      "restoring",
      "ready",
      "disconnecting",
      "disconnected",
      "invalid",
    ],
    { description: "ready: its policy is in the kernel" },
  ),
  "named-ports": list(
    object({ name: text(), port: integer(0, 65_535), protocol: text() }, { description: "a port of its containers" }),
  ),
  "service-account": text(),
});

/** `status` of a CiliumEndpoint, named as its pod and owned by it. */
export type EndpointStatus = TypeOf<typeof endpointStatusSchema>;

export const endpointKind: CustomKind = {
  kind: "CiliumEndpoint",
  plural: "ciliumendpoints",
  shortNames: ["cep", "ciliumep"],
  scope: "Namespaced",
  description: "A pod as its node sees it.",
  fields: { status: described(endpointStatusSchema, "written by the agent of its node") },
  columns: [
    {
      name: "Security Identity",
      type: "integer",
      jsonPath: ".status.identity.id",
      description: "identity of its labels",
    },
    { name: "Endpoint State", type: "string", jsonPath: ".status.state", description: "how far it is" },
    {
      name: "IPv4",
      type: "string",
      jsonPath: ".status.networking.addressing[0].ipv4",
      description: "IPv4 address of the pod",
    },
    {
      name: "IPv6",
      type: "string",
      jsonPath: ".status.networking.addressing[0].ipv6",
      description: "IPv6 address of the pod",
    },
    { ...ageColumn, priority: 1 },
  ],
  statusSubresource: false,
};
