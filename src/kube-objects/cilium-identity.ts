/** CiliumIdentity: a set of labels under a number. The number is the object's name, so the API server keeps two sets from having one. */
import { map, text, type TypeOf } from "../lib/schema.ts";
import { ageColumn, type CustomKind } from "./definition.ts";

export const securityLabelsSchema = map(text(), {
  description:
    "all labels of the identity, source:key to value; the object's own labels are those of Kubernetes among them",
});

/** `security-labels`: source:key to value. */
export type SecurityLabels = TypeOf<typeof securityLabelsSchema>;

export const identityKind: CustomKind = {
  kind: "CiliumIdentity",
  plural: "ciliumidentities",
  shortNames: ["ciliumid"],
  scope: "Cluster",
  description: "A set of labels, and by its name the number that stands for it.",
  fields: { "security-labels": securityLabelsSchema },
  required: ["security-labels"],
  columns: [
    {
      name: "Namespace",
      type: "string",
      jsonPath: ".metadata.labels.io\\.kubernetes\\.pod\\.namespace",
      description: "namespace of its pods",
    },
    ageColumn,
  ],
  statusSubresource: false,
};
