/** Kubernetes objects as they come over the wire: what all of them have is typed, the rest is the reader's to check. */

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  /** Opaque, but decimal in every server since etcd 3. */
  readonly resourceVersion?: string;
  readonly generation?: number;
  /** RFC 3339. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/** coordination.k8s.io/v1. Times are RFC 3339 with microseconds. */
export interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number | null;
    readonly acquireTime?: string | null;
    readonly renewTime?: string | null;
    readonly leaseTransitions?: number | null;
  };
}

/** What the API server answers instead of an object (meta/v1 Status). */
export interface Status {
  readonly message?: string;
  /** As NotFound, AlreadyExists, Conflict, Expired. */
  readonly reason?: string;
  readonly code?: number;
  readonly details?: {
    readonly retryAfterSeconds?: number;
    readonly causes?: readonly { readonly message?: string }[];
  };
}

export type WatchEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: KubeObject }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string }
  | { readonly type: "ERROR"; readonly status: Status };

/** "namespace/name", or "name" without a namespace: how tables and reflectors call an object. */
export function objectKey({ metadata: { namespace, name } }: Pick<KubeObject, "metadata">): string {
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

/** Whether a decoded value has what everything here relies on. */
export function isKubeObject(value: unknown): value is KubeObject {
  const metadata = isRecord(value) ? value.metadata : null;
  return isRecord(metadata) && typeof metadata.name === "string" && isTextOrAbsent(metadata.namespace);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

/** Whether a version is older than another; false where they cannot be compared (they are opaque if not decimal). */
export function isOlder(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return false;
  return version.length === than.length ? version < than : version.length < than.length;
}
