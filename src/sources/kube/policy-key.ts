/** Policies of all kinds share a table. */
import type { KubeKind } from "../../kube/index.ts";

/**
 * As manifests' policies are called: "NetworkPolicy/shop/web", "CiliumClusterwideNetworkPolicy//all".
 * @param key "namespace/name", or "name" of a kind without namespaces
 */
export function policyKey({ kind, namespaced }: Pick<KubeKind, "kind" | "namespaced">, key: string): string {
  return `${kind}/${namespaced ? key : `/${key}`}`;
}
