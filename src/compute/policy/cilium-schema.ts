/**
 * The fields of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2), once: the reader knows its fields, words and limits
 * from here, and the CustomResourceDefinitions are generated from it.
 *
 * What the schema refuses the reader refuses too (but for a null or an empty text where a field is meant to be left out), and never relies
 * on: a policy may come from a file, or through the definition of another installation. Fields that are not here the API server prunes
 * unless its client asks for strictness, as kubectl does; the reader, who sees them in files, refuses them.
 */
import type { Schema } from "../../lib/schema.ts";
import { boolean, described, fieldNames, integer, intOrText, list, map, object, text, word } from "../../lib/schema.ts";
import {
  authenticationSchema,
  cloudGroupSchema,
  dnsNameSchema,
  listenerSchema,
  requestsSchema,
  tlsSchema,
} from "./cilium-requests-schema.ts";

export const selectorOperators = ["In", "NotIn", "Exists", "DoesNotExist"] as const;
export const icmpFamilies = ["IPv4", "IPv6"] as const;
export const portProtocols = ["ANY", "TCP", "UDP", "SCTP"] as const;

export const entityNames = [
  "all",
  "cluster",
  "host",
  "remote-node",
  "world",
  "world-ipv4",
  "world-ipv6",
  "kube-apiserver",
  "health",
  "init",
  "unmanaged",
  "ingress",
  "none",
] as const;

/** Cilium's limit for `ports` of one entry and for ICMP `fields`. */
export const mostEntries = 40;

export const expressionSchema = object(
  {
    key: text({ description: "a label" }),
    operator: word(selectorOperators, { description: "what is asked of it" }),
    values: list(text(), { nullable: true, description: "values for In and NotIn" }),
  },
  { required: ["key", "operator"] },
);

export const selectorSchema = object({
  matchLabels: map(text({ nullable: true }), { nullable: true, description: "labels with these values" }),
  matchExpressions: list(expressionSchema, { nullable: true, description: "all of these hold" }),
});

const cidrText = (pattern: string, description: string) => text({ maxLength: 49, pattern, description });
const addressOrCidr = cidrText("^[0-9a-fA-F:.]+(/[0-9]{1,3})?$", "address, or address/length");
const cidr = cidrText("^[0-9a-fA-F:.]+/[0-9]{1,3}$", "address/length");

export const cidrSetSchema = object({
  cidr: cidrText("^([0-9a-fA-F:.]+/[0-9]{1,3})?$", "the block"),
  except: list(cidr, { nullable: true, description: "parts of it that are not meant" }),
  cidrGroupRef: text({ maxLength: 253, description: "a CiliumCIDRGroup by name" }),
  cidrGroupSelector: described(selectorSchema, "CiliumCIDRGroups by labels"),
});

const namespace = text({ description: "its namespace; left out: the policy's" });
export const serviceNameSchema = object(
  { serviceName: text({ minLength: 1, description: "name of a service" }), namespace },
  { required: ["serviceName"] },
);
export const serviceSelectorSchema = object(
  { selector: described(selectorSchema, "labels of services"), namespace },
  { required: ["selector"] },
);
export const serviceSchema = object({
  k8sService: described(serviceNameSchema, "a service by name"),
  k8sServiceSelector: described(serviceSelectorSchema, "services by labels"),
});

const portNumber =
  "[0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]|0[xX][0-9a-fA-F]{1,8}";
/** RFC 6335 section 5.1. */
const portName = "([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*";

export const portSchema = object(
  {
    port: text({
      maxLength: 15,
      pattern: `^(${portNumber}|${portName})$`,
      description: 'number as text, or name of a container\'s port; "0" is every port',
    }),
    endPort: integer(0, 65_535, { format: "int32", description: "last port of a range" }),
    protocol: word(portProtocols, { description: "left out: all that have ports" }),
  },
  { required: ["port"] },
);

export const icmpFieldSchema = object(
  {
    family: word(icmpFamilies, { description: "left out: IPv4" }),
    type: intOrText({ description: "number, or name as EchoRequest" }),
  },
  { required: ["type"] },
);

export const icmpSchema = object({
  fields: list(icmpFieldSchema, { maxItems: mostEntries, description: "any of these types" }),
});

const ports = list(portSchema, { nullable: true, maxItems: mostEntries, description: "any of these" });

/** What an allow rule can demand of the traffic of its ports. */
const demands = {
  rules: described(requestsSchema, "what requests have to look like; one protocol for an entry"),
  terminatingTLS: described(tlsSchema, "TLS that the proxy ends"),
  originatingTLS: described(tlsSchema, "TLS that the proxy begins"),
  serverNames: list(text({ minLength: 1 }), { description: "TLS server names" }),
  listener: described(listenerSchema, "an Envoy listener"),
};

export const allowedPortsSchema = object({ ports, ...demands });
export const deniedPortsSchema = object({ ports });
export const demandFields = Object.keys(demands);

function peerFields<S extends "from" | "to">(side: S) {
  const whose = side === "from" ? "what comes from" : "what goes to";
  const peers = (items: Schema, description: string) =>
    list(items, { nullable: true, description: `${whose} ${description}` });
  return {
    [`${side}Endpoints`]: peers(
      selectorSchema,
      "pods with these labels, of the policy's namespace if no other is named",
    ),
    [`${side}CIDR`]: peers(addressOrCidr, "these addresses outside of the cluster"),
    [`${side}CIDRSet`]: peers(cidrSetSchema, "these blocks outside of the cluster"),
    [`${side}Entities`]: peers(word(entityNames), "whom these words stand for"),
    [`${side}Nodes`]: peers(selectorSchema, "other nodes with these labels"),
    [`${side}Groups`]: peers(cloudGroupSchema, "groups of a cloud"),
  };
}

const services = list(serviceSchema, { nullable: true, description: "what goes to what is behind these services" });
const names = list(dnsNameSchema, { nullable: true, description: "what goes to what these DNS names stand for" });
const icmps = list(icmpSchema, { nullable: true, description: "ICMP types" });
const authentication = described(authenticationSchema, "mutual authentication");

function ruleSchema(direction: "ingress" | "egress", denies: boolean) {
  const side = direction === "ingress" ? "from" : "to";
  const requirement = "labels that pods of the other rules must have too";
  return object({
    ...peerFields(side),
    ...(direction === "egress" ? { toServices: services } : {}),
    ...(direction === "egress" && !denies ? { toFQDNs: names } : {}),
    [`${side}Requires`]: list(selectorSchema, { nullable: true, description: requirement }),
    toPorts: list(denies ? deniedPortsSchema : allowedPortsSchema, { nullable: true, description: "ports" }),
    icmps,
    ...(denies ? {} : { authentication }),
  });
}

/** Rules by the field of a spec that holds them. */
export const ruleSchemas = {
  ingress: ruleSchema("ingress", false),
  egress: ruleSchema("egress", false),
  ingressDeny: ruleSchema("ingress", true),
  egressDeny: ruleSchema("egress", true),
} as const;

const besidePeers = new Set(["fromRequires", "toRequires", "toPorts", "icmps", "authentication"]);

/** Fields of a rule that name peers: those without ports, ICMP types and what is demanded. */
export function peerNames(rule: Schema): readonly string[] {
  return fieldNames(rule).filter((name) => !besidePeers.has(name));
}

export const defaultDenySchema = object({
  ingress: boolean({ description: "false: rules of ingress add up, nothing is closed" }),
  egress: boolean({ description: "the same at egress" }),
});

export const labelSchema = object({ key: text(), value: text(), source: text() });
export const logSchema = object({ value: text({ maxLength: 32, description: "note for verdicts" }) });

export const ciliumSpecSchema = object(
  {
    endpointSelector: described(selectorSchema, "the pods that it is about; {}: all"),
    nodeSelector: described(selectorSchema, "nodes that it is about, instead of pods; in clusterwide policies"),
    ingress: list(ruleSchemas.ingress, { nullable: true, description: "what may come in" }),
    egress: list(ruleSchemas.egress, { nullable: true, description: "what may go out" }),
    ingressDeny: list(ruleSchemas.ingressDeny, {
      nullable: true,
      description: "what must not come in, whatever allows it",
    }),
    egressDeny: list(ruleSchemas.egressDeny, {
      nullable: true,
      description: "what must not go out, whatever allows it",
    }),
    enableDefaultDeny: described(defaultDenySchema, "whether its rules close their direction"),
    labels: list(labelSchema, { nullable: true, description: "of the policy; not looked at" }),
    description: text({ description: "not looked at" }),
    log: described(logSchema, "note for verdicts; not looked at"),
  },
  { oneOf: [{ required: ["endpointSelector"] }, { required: ["nodeSelector"] }] },
);
