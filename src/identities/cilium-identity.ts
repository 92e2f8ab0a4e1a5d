/** Sets of labels as CiliumIdentity objects and back: the name is the number, `security-labels` is the set. */
import type { SecurityLabels } from "../kube-objects/index.ts";
import { isRecord, type KubeObject } from "../kube/index.ts";
import { compareText } from "../model/labels.ts";

/** The operator's mark on an identity that it saw nobody use: when, RFC 3339. Cilium's name, so that its operator and ours agree. */
export const unusedSince = "io.cilium.heartbeat";

/** What is kept of an object. */
export interface ClusterIdentity {
  readonly number: number;
  /** As `numberFor` is asked for it. */
  readonly key: string;
  /** RFC 3339; null: it is not marked as unused. */
  readonly unusedSince: string | null;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

/** null: its name is no number that could be an identity. */
export function readIdentity({ metadata, ...fields }: KubeObject): ClusterIdentity | null {
  const { name, annotations, uid, resourceVersion } = metadata;
  const number = /^[1-9]\d{0,7}$/.test(name) ? Number(name) : 0;
  if (number === 0 || number > 0xff_ff_ff) return null;
  const labels = isRecord(fields["security-labels"]) ? fields["security-labels"] : {};
  return { number, key: keyOf(labels), unusedSince: annotations?.[unusedSince] ?? null, uid, resourceVersion };
}

export function identityObject(
  number: number,
  key: string,
): KubeObject & { readonly "security-labels": SecurityLabels } {
  const labels = securityLabels(key);
  return { metadata: { name: String(number), labels: objectLabels(labels) }, "security-labels": labels };
}

/** "k8s:app=web\nk8s:…" -> { "k8s:app": "web", … } */
export function securityLabels(key: string): SecurityLabels {
  return Object.fromEntries(
    key.split("\n").map((text) => {
      const at = text.indexOf("=");
      return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function keyOf(labels: Readonly<Record<string, unknown>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${String(value)}`)
    .sort(compareText)
    .join("\n");
}

const source = "k8s:";
const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelPrefix = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Those of Kubernetes that may be labels of an object: with a namespace's label in it, a key can become too long for one. */
function objectLabels(labels: SecurityLabels): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(labels)
      .filter(([name]) => name.startsWith(source))
      .map(([name, value]) => [name.slice(source.length), value] as const)
      .filter(([name, value]) => isLabelKey(name) && labelValue.test(value)),
  );
}

function isLabelKey(key: string): boolean {
  const slash = key.indexOf("/");
  return labelName.test(key.slice(slash + 1)) && (slash < 0 || labelPrefix.test(key.slice(0, slash)));
}
