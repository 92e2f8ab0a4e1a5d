/** Key of what a name of DNS has given, and to whom: in the table of names, in the cache and in its file. */

/**
 * @param endpoint LocalEndpointRow.containerId of the pod that was answered; null: it counts for all pods
 * @param name as `dns-names.ts` writes names; on the wire they may have any byte, so they come last
 */
export function nameKey(endpoint: string | null, name: string): string {
  return `${endpoint ?? ""}/${name}`;
}

export function ofNameKey(key: string): { readonly endpoint: string | null; readonly name: string } {
  const at = key.indexOf("/");
  return { endpoint: at <= 0 ? null : key.slice(0, at), name: key.slice(at + 1) };
}
