/** What every namespace has: the account `default` and the authority by which its pods know the API server. */
import type { Controller } from "./manager.ts";
import { isEnding, nameOf } from "./owned.ts";

/** @param ca PEM */
export function accountControllers(ca: string): readonly Controller[] {
  const account = { apiVersion: "v1", kind: "ServiceAccount" };
  const authority = { apiVersion: "v1", kind: "ConfigMap", data: { "ca.crt": ca } };
  const each = (name: string, storage: string, objectName: string, object: typeof account): Controller => ({
    name,
    watches: ["namespaces", storage],
    sync: (cluster) => {
      for (const namespace of cluster.all("namespaces").filter((candidate) => !isEnding(candidate))) {
        const metadata = { namespace: nameOf(namespace), name: objectName };
        if (cluster.get(storage, metadata.namespace, objectName) === null)
          cluster.create(storage, { ...object, metadata });
      }
    },
  });
  return [
    each("serviceaccount", "serviceaccounts", "default", account),
    each("root-ca-cert-publisher", "configmaps", "kube-root-ca.crt", authority),
  ];
}
