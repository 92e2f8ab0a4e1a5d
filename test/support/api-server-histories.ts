/** Random histories of one namespace: writes of all kinds and ways to a handful of names, so that they meet, and reads between them. */
import type { Json, Step } from "./api-server-history.ts";

/** Numbers below `limit` from a seed (mulberry32). */
export function numbersOf(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

interface Kind {
  readonly path: string;
  readonly apiVersion: string;
  readonly kind: string;
  readonly status: boolean;
  readonly custom: boolean;
  /** Content beside metadata, in variants that differ. */
  readonly contents: readonly Readonly<Record<string, Json>>[];
}

/** A custom kind with a schema that has something of everything. */
export const definition: Json = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "foos.history.tandem" },
  spec: {
    group: "history.tandem",
    scope: "Namespaced",
    names: { plural: "foos", kind: "Foo", shortNames: ["f"] },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              spec: {
                type: "object",
                required: ["size"],
                properties: {
                  size: { type: "integer", minimum: 1, maximum: 9 },
                  color: { type: "string", enum: ["red", "blue"], default: "red" },
                  name: { type: "string", pattern: "^[a-z]+$", maxLength: 5 },
                  port: { "x-kubernetes-int-or-string": true },
                  parts: {
                    type: "array",
                    maxItems: 3,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    items: {
                      type: "object",
                      required: ["id"],
                      properties: { id: { type: "string" }, value: { type: "string" } },
                    },
                  },
                },
              },
              status: { type: "object", properties: { state: { type: "string" } } },
            },
          },
        },
      },
    ],
  },
};

const container = (image: string): Json => ({ name: "c", image });

export function kindsIn(namespace: string): readonly Kind[] {
  const core = `/api/v1/namespaces/${namespace}`;
  return [
    {
      path: `${core}/configmaps`,
      apiVersion: "v1",
      kind: "ConfigMap",
      status: false,
      custom: false,
      contents: [{ data: { a: "1" } }, { data: { a: "2", b: "1" } }, {}, { data: { a: "1" }, immutable: false }],
    },
    {
      path: `${core}/pods`,
      apiVersion: "v1",
      kind: "Pod",
      status: true,
      custom: false,
      contents: [
        { spec: { containers: [container("x:1")] } },
        { spec: { containers: [container("x:2")] } },
        { spec: { containers: [container("y")], restartPolicy: "Never" } },
        { spec: { containers: [] } },
      ],
    },
    {
      path: `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`,
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      status: false,
      custom: false,
      contents: [
        { spec: { podSelector: {}, policyTypes: ["Ingress"] } },
        { spec: { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] } },
        { spec: { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }] } },
      ],
    },
    {
      path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      status: false,
      custom: false,
      contents: [{ spec: { holderIdentity: "a", leaseDurationSeconds: 10 } }, { spec: { holderIdentity: "b" } }],
    },
    {
      path: `/apis/history.tandem/v1/namespaces/${namespace}/foos`,
      apiVersion: "history.tandem/v1",
      kind: "Foo",
      status: true,
      custom: true,
      contents: [
        { spec: { size: 1 } },
        { spec: { size: 2, color: "blue", parts: [{ id: "a", value: "1" }] } },
        { spec: { size: 3, parts: [{ id: "b", value: "2" }], name: "abc", port: "http" } },
        { spec: { size: 10, name: "ABC" } },
        { spec: { color: "green", unknown: true } },
        { spec: { size: "1" } },
      ],
    },
  ];
}

/** Of new objects' metadata. */
const beginnings = [{}, {}, {}, { finalizers: ["t.io/x"] }, { generation: 7, uid: "x" }, { name: "A_" }];
const names = ["a", "b", "c"];
const labels: readonly Json[] = [{ x: "1" }, { x: "2", y: "1" }, {}];

/** @returns steps; the same for the same seed */
export function historyOf(seed: number, length: number, namespace: string): readonly Step[] {
  const next = numbersOf(seed);
  const pick = <T>(list: readonly T[]): T => list[next(list.length)] as T;
  const kinds = kindsIn(namespace);
  return Array.from({ length }, () => stepOf(pick(kinds), pick, next));
}

function stepOf(kind: Kind, pick: <T>(list: readonly T[]) => T, next: (limit: number) => number): Step {
  const { path, apiVersion, status, custom } = kind;
  const name = pick(names);
  const at = `${path}/${name}`;
  const content = pick(kind.contents);
  const object = (metadata: Readonly<Record<string, Json>>): Json => ({
    apiVersion,
    kind: kind.kind,
    metadata: { name, labels: pick(labels), ...metadata },
    ...content,
  });
  const dry = next(8) === 0 ? "dryRun=All" : "";
  switch (next(14)) {
    case 0:
      // Not for show: then real servers look later.
      return { method: "POST", path, body: object(next(2) === 0 ? { resourceVersion: "1" } : {}) };
    case 1:
    case 2:
      return { method: "POST", path: `${path}?${dry}`, body: object(pick<Readonly<Record<string, Json>>>(beginnings)) };
    case 3:
      // Of an update that would make an object real servers tell the version that was asked.
      return {
        method: "PUT",
        path: `${at}?${kind.kind === "Lease" ? "" : dry}`,
        body: object({ resourceVersion: "$version" }),
      };
    case 4:
      return { method: "PUT", path: at, body: object({ resourceVersion: "$first" }) };
    case 5:
      return { method: "PUT", path: at, body: object({}) };
    case 6: {
      const body = { metadata: { labels: { x: null, z: "1" }, ...(next(3) === 0 ? { finalizers: null } : {}) } };
      return { method: "PATCH", path: `${at}?${dry}`, body, type: "application/merge-patch+json" };
    }
    case 7: {
      const body = [
        { op: "test", path: "/metadata/labels/x", value: "1" },
        { op: "remove", path: "/metadata/labels/x" },
      ];
      return { method: "PATCH", path: at, body, type: "application/json-patch+json" };
    }
    case 8: {
      const manager = pick(["one", "two"]);
      const force = next(2) === 0 ? "&force=true" : "";
      return {
        method: "PATCH",
        path: `${at}?fieldManager=${manager}${force}${dry === "" ? "" : `&${dry}`}`,
        body: object({}),
        type: "application/apply-patch+yaml",
      };
    }
    case 9: {
      const body = status
        ? { status: custom ? { state: pick(["up", "down"]), unknown: 1 } : { phase: pick(["Running", "Pending"]) } }
        : { metadata: { annotations: { n: "1" } } };
      return { method: "PATCH", path: status ? `${at}/status` : at, body, type: "application/merge-patch+json" };
    }
    case 10:
      return { method: "GET", path: at };
    case 11: {
      const query = pick([
        "limit=1",
        "limit=1&continue=$continue",
        "labelSelector=x%3D1",
        "labelSelector=x%21%3D1",
        "",
      ]);
      return { method: "GET", path: `${path}?${query}` };
    }
    case 12:
      return { method: "DELETE", path: at, body: pick<Json>([{}, { preconditions: { uid: "no" } }]) };
    default:
      return next(6) === 0 ? { method: "DELETE", path: `${path}?labelSelector=x%3D2` } : { method: "DELETE", path: at };
  }
}
