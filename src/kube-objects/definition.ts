/** CustomResourceDefinitions (apiextensions.k8s.io/v1) from the schemas of our kinds. */
import type { Schema } from "../lib/schema.ts";

/** A column of `kubectl get`. */
export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  /** As the API server takes it: dots of keys are escaped. */
  readonly jsonPath: string;
  readonly description: string;
  /** 1: only with -o wide. */
  readonly priority?: 1;
}

export interface CustomKind {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly scope: "Namespaced" | "Cluster";
  /** One sentence, for kubectl explain. */
  readonly description: string;
  /** Beside apiVersion, kind and metadata. */
  readonly fields: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly columns: readonly Column[];
  /** Whether status is written by a request of its own, and by nobody else. */
  readonly statusSubresource: boolean;
}

export const group = "cilium.io";
export const version = "v2";

export const ageColumn: Column = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "since it was made",
};

/** "ciliumnodes.cilium.io" */
export function definitionName({ plural }: Pick<CustomKind, "plural">): string {
  return `${plural}.${group}`;
}

export function customResourceDefinition(custom: CustomKind): object {
  const { kind, plural, shortNames, scope, description, fields, required, columns, statusSubresource } = custom;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: definitionName(custom), labels: { "app.kubernetes.io/part-of": "tandem" } },
    spec: {
      group,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames,
        categories: ["cilium"],
      },
      scope,
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          additionalPrinterColumns: columns,
          schema: {
            openAPIV3Schema: {
              description,
              type: "object",
              ...(required === undefined ? {} : { required }),
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: { type: "object" },
                ...fields,
              },
            },
          },
          ...(statusSubresource ? { subresources: { status: {} } } : {}),
        },
      ],
    },
  };
}
