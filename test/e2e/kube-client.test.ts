/** The Kubernetes client and its reflector against an API server, through what clusters go through. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { parse, stringify } from "yaml";
import {
  connectKube,
  type KubeClient,
  type KubeKind,
  kinds,
  type KubeObject,
  KubeConnectionError,
  KubeStatusError,
  Reflector,
} from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/model/logging.ts";
import { type ApiServerProcess, freePorts, startApiServer } from "../support/api-server-process.ts";

const limitMs = 300_000;

interface Cluster {
  readonly folder: string;
  readonly port: number;
  server: ApiServerProcess;
}

let running: Cluster | null = null;

function cluster(): Cluster {
  if (running === null) throw new Error("no API server runs");
  return running;
}

function served(title: string, work: (t: ExecutionContext, client: KubeClient) => Promise<void>): void {
  test.serial(title, async (t) => {
    t.timeout(limitMs);
    const client = connect(cluster().server.kubeconfig);
    try {
      await work(t, client);
    } finally {
      await client.close();
    }
  });
}

function connect(kubeconfig: string): KubeClient {
  return connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
}

test.before(async (t) => {
  t.timeout(limitMs);
  const folder = await mkdtemp(join(tmpdir(), "tandem-kube-client-"));
  try {
    const port = await freePorts();
    running = { folder, port, server: await startApiServer(folder, port, { KCM: "0" }) };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
});
test.after.always(async () => {
  if (running === null) return;
  await running.server.stop();
  await rm(running.folder, { recursive: true, force: true });
});

function configMap(name: string, data: Readonly<Record<string, string>> = {}): KubeObject {
  return { metadata: { namespace: "default", name }, data };
}

/** Follows a kind into a map of names to `value`. */
function follow(
  t: ExecutionContext,
  client: KubeClient,
  kind: KubeKind,
  value: (object: KubeObject) => string,
): { readonly reflector: Reflector<string>; readonly rows: Map<string, string>; readonly signal: AbortSignal } {
  const rows = new Map<string, string>();
  const stop = new AbortController();
  const reflector = new Reflector<string>({
    client,
    kind,
    clock: systemClock,
    log: silentLogger,
    project: (object) => (object.metadata.name.startsWith("followed") ? value(object) : null),
    sink: ({ added, updated, deleted }) => {
      for (const [key, row] of [...added, ...updated]) rows.set(key, row);
      for (const key of deleted) rows.delete(key);
    },
  });
  const ended = reflector.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await ended;
  });
  return { reflector, rows, signal: stop.signal };
}

async function until(t: ExecutionContext, what: string, holds: () => boolean): Promise<void> {
  const began = performance.now();
  while (!holds()) {
    if (performance.now() - began > 120_000) throw new Error(`not within two minutes: ${what}`);
    await systemClock.sleep(50);
  }
  t.log(`${what} after ${Math.round(performance.now() - began)} ms`);
}

const dataOf = (object: KubeObject) => JSON.stringify(object.data ?? null);

served("objects are made, read, replaced, patched, applied and deleted", async (t, client) => {
  const made = await client.create(kinds.configMaps, configMap("verbs", { a: "1" }));
  t.is(made.kind, "ConfigMap");
  t.deepEqual((await client.get(kinds.configMaps, { namespace: "default", name: "verbs" })).data, { a: "1" });
  await t.throwsAsync(client.create(kinds.configMaps, configMap("verbs")), { code: "KUBE_EXISTS" });

  const second = await client.update(kinds.configMaps, { ...made, data: { a: "2" } });
  await t.throwsAsync(client.update(kinds.configMaps, { ...made, data: { a: "3" } }), { code: "KUBE_CONFLICT" });
  const name = { namespace: "default", name: "verbs" };
  const patched = await client.patch(kinds.configMaps, name, { data: { a: null, b: "4" } });
  t.deepEqual(patched.data, { b: "4" });

  const apply = (manager: string, force = false) =>
    client.apply(kinds.configMaps, configMap("verbs", { c: manager }), { fieldManager: manager, force });
  t.deepEqual((await apply("one")).data, { b: "4", c: "one" });
  await t.throwsAsync(apply("two"), { code: "KUBE_CONFLICT" });
  t.deepEqual((await apply("two", true)).data, { b: "4", c: "two" });

  await client.patch(kinds.configMaps, name, { data: { d: "5" } }, { dryRun: true });
  t.deepEqual((await client.get(kinds.configMaps, name)).data, { b: "4", c: "two" });
  const wrong = "00000000-0000-0000-0000-000000000000";
  await t.throwsAsync(client.delete(kinds.configMaps, name, { uid: wrong }), { code: "KUBE_CONFLICT" });
  t.true(await client.delete(kinds.configMaps, name, { uid: second.metadata.uid ?? wrong }));
  t.false(await client.delete(kinds.configMaps, name));
  const bad = configMap("No Name");
  const refused = await t.throwsAsync(client.create(kinds.configMaps, bad), { instanceOf: KubeStatusError });
  t.is(refused?.code, "KUBE_INVALID");
  t.regex(refused?.message ?? "", /metadata\.name/);
});

served("a status is a subresource: writing it leaves the rest, and writing the rest leaves it", async (t, client) => {
  await client.create(kinds.nodes, { metadata: { name: "n1" }, spec: { podCIDR: "10.244.1.0/24" } });
  const condition = { type: "NetworkUnavailable", status: "False", reason: "RouteCreated", message: "routed" };
  await client.patch(kinds.nodes, { name: "n1" }, { status: { conditions: [condition] } }, { subresource: "status" });
  const node = await client.patch(
    kinds.nodes,
    { name: "n1" },
    { status: { conditions: [] }, metadata: { labels: { a: "b" } } },
  );
  t.like(node, { metadata: { labels: { a: "b" } }, spec: { podCIDR: "10.244.1.0/24" } });
  t.like((node.status as { readonly conditions: readonly object[] }).conditions[0], condition);
});

served("1,100 objects are listed in pages, and in one answer from the server's memory", async (t, client) => {
  const names = Array.from({ length: 1_100 }, (_, at) => `page-${String(at).padStart(4, "0")}`);
  for (let from = 0; from < names.length; from += 20) {
    const some = names.slice(from, from + 20).map((name) => configMap(name, { text: '}],"items":[{' }));
    await Promise.all(some.map((object) => client.create(kinds.configMaps, object)));
  }
  const list = async (resourceVersion?: string) => {
    const seen: string[] = [];
    const options = { namespace: "default", ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    const listing = await client.list(kinds.configMaps, options, ({ metadata, kind }) => {
      if (kind === "ConfigMap" && metadata.name.startsWith("page-")) seen.push(metadata.name);
    });
    return { seen: seen.sort(), listing };
  };
  const paged = await list();
  t.deepEqual(paged.seen, names);
  t.is(paged.listing.pages, 3);
  const version = paged.listing.resourceVersion;
  const cached = await list(version);
  t.deepEqual(cached.seen, names);
});

served("a reflector sees what others do, through a restart of the API server", async (t, client) => {
  await client.create(kinds.configMaps, configMap("followed-a", { v: "1" }));
  const { reflector, rows, signal } = follow(t, client, kinds.configMaps, dataOf);
  await reflector.whenSynced(signal);
  t.deepEqual([...rows], [["default/followed-a", '{"v":"1"}']]);
  await client.create(kinds.configMaps, configMap("followed-b"));
  await client.patch(kinds.configMaps, { namespace: "default", name: "followed-a" }, { data: { v: "2" } });
  await until(
    t,
    "creation and change are seen",
    () => rows.get("default/followed-a") === '{"v":"2"}' && rows.size === 2,
  );
  await client.delete(kinds.configMaps, { namespace: "default", name: "followed-b" });
  await until(t, "deletion is seen", () => !rows.has("default/followed-b"));

  await cluster().server.stop();
  await until(t, "it is stale", () => reflector.status().stale !== null);
  t.is(rows.size, 1, "nothing is taken back");
  t.is((await t.throwsAsync(client.read("/version"), { instanceOf: KubeConnectionError }))?.code, "KUBE_UNREACHABLE");
  const { folder, port } = cluster();
  cluster().server = await startApiServer(folder, port, { KCM: "0" });
  await until(t, "it follows again", () => reflector.status().stale === null);
  await client.create(kinds.configMaps, configMap("followed-c"));
  await until(t, "what came after the restart is seen", () => rows.has("default/followed-c"));
  t.deepEqual([...rows.keys()].sort(), ["default/followed-a", "default/followed-c"]);
  t.log(JSON.stringify(reflector.status().counts));
});

served("a version that is no longer kept is 410, and a list mends it", async (t, client) => {
  // The server's memory is new since its restart.
  const watch = client.watch(kinds.configMaps, { resourceVersion: "1", timeoutSeconds: 30, silenceMs: 60_000 });
  const gone = await watch.then(
    async ({ events }) => {
      for await (const some of events) return some.find((event) => event.type === "ERROR");
      return undefined;
    },
    (error: unknown) => error,
  );
  if (gone instanceof KubeStatusError) t.is(gone.status, 410);
  else t.like(gone, { type: "ERROR", status: { code: 410 } });
});

served("a custom kind is followed from its definition's coming to its going", async (t, client) => {
  const { reflector, rows, signal } = follow(t, client, kinds.ciliumCidrGroups, ({ spec }) => JSON.stringify(spec));
  await reflector.whenSynced(signal);
  t.true(reflector.status().absent);
  const file = new URL("../../manifests/crds/ciliumcidrgroups.yaml", import.meta.url);
  const definition = parse(await readFile(file, "utf8")) as KubeObject;
  await client.apply(kinds.customResourceDefinitions, definition, { fieldManager: "test" });
  const group = { metadata: { name: "followed-group" }, spec: { externalCIDRs: ["192.0.2.0/24"] } };
  await until(t, "the kind is found", () => !reflector.status().absent);
  await client.apply(kinds.ciliumCidrGroups, group, { fieldManager: "test" });
  await until(t, "its object is seen", () => rows.has("followed-group"));
  await client.delete(kinds.customResourceDefinitions, { name: definition.metadata.name });
  await until(t, "all is gone with the definition", () => rows.size === 0 && reflector.status().absent);
});

served("a token that expired is replaced by the one that its file has now", async (t) => {
  const { folder } = cluster();
  const config = parse(await readFile(join(folder, "kubeconfig.token"), "utf8")) as {
    users: { user: { token?: string; tokenFile?: string } }[];
  };
  const [entry] = config.users;
  if (entry?.user.token === undefined) throw new Error("the kubeconfig has no token");
  const { token } = entry.user;
  const file = join(folder, "test-token");
  entry.user = { tokenFile: file };
  const kubeconfig = join(folder, "kubeconfig.token-file");
  await writeFile(kubeconfig, stringify(config));
  await writeFile(file, "expired");
  const client = connect(kubeconfig);
  try {
    await t.throwsAsync(client.get(kinds.namespaces, { name: "default" }), { code: "KUBE_UNAUTHORIZED" });
    await writeFile(file, token);
    t.is((await client.get(kinds.namespaces, { name: "default" })).metadata.name, "default");
  } finally {
    await client.close();
  }
});
