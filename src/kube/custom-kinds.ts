/**
 * Whether a kind is installed at all. An API server that starts answers 404 for objects of custom kinds before it has read their
 * definitions; who took that for "there are none" would take every policy out of force. The definitions themselves are of a built-in
 * kind: what the API server says of them is true.
 */
import type { KubeClient } from "./client.ts";
import { isStatus } from "./errors.ts";
import { kinds, type KubeKind, resourceName } from "./kinds.ts";

/** Groups without a dot, and those of Kubernetes itself, need no definition. */
function isBuiltIn({ group }: KubeKind): boolean {
  return !group.includes(".") || group === "k8s.io" || group.endsWith(".k8s.io");
}

/**
 * null: it cannot be known, as for kinds that are built in, and where the definition is there.
 * @throws KubeStatusError 403 without the right to read definitions, and all that `get` throws
 */
export async function isInstalled(
  client: Pick<KubeClient, "get">,
  kind: KubeKind,
  signal: AbortSignal,
): Promise<false | null> {
  if (isBuiltIn(kind)) return null;
  try {
    await client.get(kinds.customResourceDefinitions, { name: resourceName(kind) }, { signal, retry: false });
    return null;
  } catch (error) {
    if (isStatus(error, 404)) return false;
    throw error;
  }
}
