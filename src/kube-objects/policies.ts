/** CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and the CiliumCIDRGroups that both name, as kinds; and what is written back to policies. */
import { ciliumSpecSchema } from "../compute/policy/cilium-schema.ts";
import { described, integer, list, object, text, type TypeOf, word } from "../lib/schema.ts";
import { cidrGroupSpecSchema } from "../model/cidr-group-schema.ts";
import { ageColumn, type Column, type CustomKind } from "./definition.ts";

const mostNodes = 2 ** 31 - 1;

/** As meta/v1 has them. */
export const conditionSchema = object(
  {
    type: word(["Valid", "Enforced"], {
      description: "Valid: it was understood; Enforced: every node that it concerns has it in its kernel",
    }),
    status: word(["True", "False", "Unknown"]),
    observedGeneration: integer(0, Number.MAX_SAFE_INTEGER, { format: "int64", description: "of which it is said" }),
    lastTransitionTime: text({ format: "date-time", description: "since when it has this status" }),
    reason: text({ maxLength: 1_024, description: "code, for programs" }),
    message: text({ maxLength: 32_768, description: "for people: fields and remedies, or how many nodes" }),
  },
  { required: ["type", "status"] },
);

const nodeCount = (description: string) => integer(0, mostNodes, { format: "int32", description });

export const policyStatusSchema = object({
  conditions: list(conditionSchema, { "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }),
  enforcement: object(
    {
      wanted: nodeCount("nodes that it concerns"),
      enforcing: nodeCount("those of them that have this generation in their kernel"),
      failing: nodeCount("those of them that could not take it and go on with the last one that they could"),
    },
    { required: ["wanted", "enforcing", "failing"], description: "how far it has come, in nodes" },
  ),
});

export type PolicyCondition = TypeOf<typeof conditionSchema>;
export type PolicyStatus = TypeOf<typeof policyStatusSchema>;

const columns: readonly Column[] = [
  ageColumn,
  {
    name: "Valid",
    type: "string",
    jsonPath: ".status.conditions[?(@.type=='Valid')].status",
    description: "whether it was understood",
  },
  {
    name: "Enforced",
    type: "string",
    jsonPath: ".status.conditions[?(@.type=='Enforced')].status",
    description: "whether every node that it concerns has it",
    priority: 1,
  },
];

/** That one of spec and specs has to be there only the reader says: beside a status the API server takes no alternatives at the root. */
const policyFields = {
  spec: described(ciliumSpecSchema, "one subject with its rules"),
  specs: list(ciliumSpecSchema, { nullable: true, description: "several of them" }),
  status: described(policyStatusSchema, "written by Tandem"),
};

export const networkPolicyKind: CustomKind = {
  kind: "CiliumNetworkPolicy",
  plural: "ciliumnetworkpolicies",
  shortNames: ["cnp", "ciliumnp"],
  scope: "Namespaced",
  description: "What pods of a namespace may send and receive.",
  fields: policyFields,
  columns,
  statusSubresource: true,
};

export const clusterwideNetworkPolicyKind: CustomKind = {
  ...networkPolicyKind,
  kind: "CiliumClusterwideNetworkPolicy",
  plural: "ciliumclusterwidenetworkpolicies",
  shortNames: ["ccnp"],
  scope: "Cluster",
  description: "What pods of all namespaces, or nodes, may send and receive.",
};

export const cidrGroupKind: CustomKind = {
  kind: "CiliumCIDRGroup",
  plural: "ciliumcidrgroups",
  shortNames: ["ccg"],
  scope: "Cluster",
  description: "Blocks outside of the cluster that policies name together.",
  fields: { spec: described(cidrGroupSpecSchema, "its blocks") },
  required: ["spec"],
  columns: [ageColumn],
  statusSubresource: false,
};
