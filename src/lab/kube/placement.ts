/** Which nodes a pod may be bound to: node selector, required node affinity, taints and tolerations (v1.PodSpec), as a scheduler filters. Pure. */
import { z } from "zod";

const stringMap = z.record(z.string(), z.string());
const expressions = z
  .array(z.looseObject({ key: z.string(), operator: z.string(), values: z.array(z.string()).default([]) }))
  .default([]);

export const schedulablePodSchema = z.looseObject({
  nodeSelector: stringMap.default({}),
  schedulerName: z.string().default("default-scheduler"),
  tolerations: z
    .array(
      z.looseObject({
        key: z.string().default(""),
        operator: z.enum(["Exists", "Equal"]).default("Equal"),
        value: z.string().default(""),
        effect: z.string().default(""),
      }),
    )
    .default([]),
  affinity: z
    .looseObject({
      nodeAffinity: z
        .looseObject({
          requiredDuringSchedulingIgnoredDuringExecution: z
            .looseObject({
              nodeSelectorTerms: z.array(z.looseObject({ matchExpressions: expressions, matchFields: expressions })),
            })
            .optional(),
        })
        .optional(),
    })
    .optional(),
});

const taintSchema = z.looseObject({ key: z.string(), value: z.string().default(""), effect: z.string() });

export const nodeSchema = z.looseObject({
  metadata: z.looseObject({ name: z.string(), labels: stringMap.default({}) }),
  spec: z
    .looseObject({ unschedulable: z.boolean().default(false), taints: z.array(taintSchema).default([]) })
    .prefault({}),
  status: z
    .looseObject({ conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).default([]) })
    .prefault({}),
});

export type SchedulablePod = z.infer<typeof schedulablePodSchema>;
export type SchedulableNode = z.infer<typeof nodeSchema>;
type Taint = z.infer<typeof taintSchema>;
type Expression = z.infer<typeof expressions>[number];

/** Why this pod must not go to that node, in the words of kube-scheduler; null: it may. */
export function whyNot(pod: SchedulablePod, node: SchedulableNode): string | null {
  const { name, labels } = node.metadata;
  const selected = Object.entries(pod.nodeSelector).every(([key, value]) => labels[key] === value);
  const terms = pod.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const wanted =
    terms?.some(
      ({ matchExpressions, matchFields }) =>
        matchExpressions.length + matchFields.length > 0 &&
        matchExpressions.every((expression) => matches(expression, labels)) &&
        matchFields.every((expression) => matches(expression, { "metadata.name": name })),
    ) ?? true;
  if (!selected || !wanted) return "didn't match node selector";
  const taint = taintsOf(node).find((each) => each.effect !== "PreferNoSchedule" && !isTolerated(each, pod));
  return taint === undefined ? null : `had taint {${taint.key}: ${taint.value}}, that the pod didn't tolerate`;
}

/** With those that its state implies, whether a controller has put them there yet or not. */
function taintsOf({ spec, status }: SchedulableNode): readonly Taint[] {
  const implied = (key: string): Taint => ({ key: `node.kubernetes.io/${key}`, value: "", effect: "NoSchedule" });
  const ready = status.conditions.some(({ type, status: holds }) => type === "Ready" && holds === "True");
  return [
    ...spec.taints,
    ...(ready ? [] : [implied("not-ready")]),
    ...(spec.unschedulable ? [implied("unschedulable")] : []),
  ];
}

function isTolerated(taint: Taint, { tolerations }: SchedulablePod): boolean {
  return tolerations.some(
    ({ key, operator, value, effect }) =>
      (effect === "" || effect === taint.effect) &&
      (key === taint.key || (key === "" && operator === "Exists")) &&
      (operator === "Exists" || value === taint.value),
  );
}

function matches({ key, operator, values }: Expression, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[key];
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return false;
  }
}
