/**
 * The API server of the kube benchmarks, a process of its own in the node's namespace: the tests' server, filled beforehand with a cluster.
 * Asked by its parent over the channel that node gives them: what it was asked, and to hold another object.
 *
 *   node --import=tsx bench/kube-server.ts '{"size": {"pods": 10000, "policies": 1000}, "self": {…}}'
 */
import { customKinds, customResourceDefinition, definitionName } from "../src/kube-objects/index.ts";
import type { JsonObject } from "../test/support/api-server/json.ts";
import { TestApiServer } from "../test/support/api-server/server.ts";
import { clusterObjects, type KubeClusterSize, type OwnNode, type StoredObject } from "./kube-cluster.ts";
import { endpointObjects } from "./kube-endpoints.ts";

export interface ServerSettings {
  readonly size: KubeClusterSize;
  readonly self: OwnNode;
}

export type ServerAsk =
  | { readonly id: number; readonly ask: "counts" }
  | { readonly id: number; readonly ask: "put"; readonly objects: readonly StoredObject[] };

/** The first one, without an id, says that it listens. */
export interface ServerAnswer {
  readonly id: number | null;
  readonly url: string;
  /** Requests since the last asking, by "verb kind". */
  readonly counts: Readonly<Record<string, number>>;
}

const server = new TestApiServer({ historyLimit: 2_000 });

function put({ storage, key, object }: StoredObject): void {
  server.store.put(storage, key, object as JsonObject);
}

function fill({ size, self }: ServerSettings): void {
  for (const kind of customKinds) {
    const definition = customResourceDefinition(kind) as JsonObject;
    const status = { conditions: [{ type: "Established", status: "True" }] };
    const key = definitionName(kind);
    put({ storage: "customresourcedefinitions.apiextensions.k8s.io", key, object: { ...definition, status } });
  }
  for (const object of clusterObjects(size, self)) put(object);
  for (const object of endpointObjects(size.pods)) put(object);
  // What a server that has just started has in memory: no history.
  server.store.forgetChanges();
}

function answer(id: number | null): void {
  const counts = Object.fromEntries(server.counts());
  server.clearLog();
  const message: ServerAnswer = { id, url: server.url, counts };
  process.send?.(message);
}

process.on("message", (message) => {
  const asked = message as ServerAsk;
  if (asked.ask === "put") for (const object of asked.objects) put(object);
  answer(asked.id);
});
// Its parent is gone, however it ended.
process.on("disconnect", () => process.exit(0));

fill(JSON.parse(process.argv[2] ?? "") as ServerSettings);
await server.start();
answer(null);
