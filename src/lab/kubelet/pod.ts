/** A pod as its kubelet reads it from the API server: what the lab needs of it, with Kubernetes' defaults where a manifest says nothing. */
import { z } from "zod";
import { containerSchema, metadataSchema, podSchema } from "../objects.ts";
import { probeSchema } from "./probe-spec.ts";

export const kubeletContainerSchema = containerSchema.extend({
  image: z.string().default(""),
  livenessProbe: probeSchema.optional(),
  readinessProbe: probeSchema.optional(),
  startupProbe: probeSchema.optional(),
});

/** The parts of v1.Pod that are read; everything else passes through. */
export const kubeletPodSchema = podSchema.extend({
  kind: z.literal("Pod").default("Pod"),
  apiVersion: z.string().default("v1"),
  metadata: metadataSchema.extend({
    namespace: z.string(),
    uid: z.string(),
    /** Set: it is to be ended. */
    deletionTimestamp: z.string().optional(),
    /** s that its processes may take to end. */
    deletionGracePeriodSeconds: z.int().optional(),
  }),
  spec: z.looseObject({
    nodeName: z.string(),
    hostNetwork: z.boolean().optional(),
    restartPolicy: z.enum(["Always", "OnFailure", "Never"]).default("Always"),
    /** s. */
    terminationGracePeriodSeconds: z.int().min(0).default(30),
    containers: z.array(kubeletContainerSchema).min(1),
    initContainers: z.array(z.unknown()).optional(),
    readinessGates: z.array(z.looseObject({ conditionType: z.string() })).optional(),
  }),
  status: z
    .looseObject({
      phase: z.string().optional(),
      containerStatuses: z.array(z.looseObject({ name: z.string(), restartCount: z.int() })).optional(),
    })
    .optional(),
});

export type KubeletPod = z.infer<typeof kubeletPodSchema>;
export type KubeletContainer = z.infer<typeof kubeletContainerSchema>;

export function podTitle({ metadata }: Pick<KubeletPod, "metadata">): string {
  return `${metadata.namespace}/${metadata.name}`;
}
