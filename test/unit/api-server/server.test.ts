/** The API server of the tests over real HTTP: what clients and fault tests rely on. */
import test, { type ExecutionContext } from "ava";
import { type ApiServerOptions, TestApiServer } from "../../support/api-server/server.ts";

const pods = "/api/v1/namespaces/default/pods";
const maps = "/api/v1/namespaces/default/configmaps";

async function started(t: ExecutionContext, options: ApiServerOptions = {}): Promise<TestApiServer> {
  const server = new TestApiServer(options);
  await server.start();
  t.teardown(() => server.stop());
  return server;
}

async function ask(server: TestApiServer, method: string, path: string, body?: unknown, type = "application/json") {
  const answer = await fetch(`${server.url}${path}`, {
    method,
    headers: { "content-type": type },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { code: answer.status, headers: answer.headers, body: JSON.parse(await answer.text()) };
}

async function events(server: TestApiServer, path: string): Promise<readonly { type: string; object: unknown }[]> {
  const text = await (await fetch(`${server.url}${path}`)).text();
  return text.trim() === ""
    ? []
    : text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
}

const named = (name: string, more = {}) => ({ metadata: { name, ...more } });

test("a name is taken once, and an update from an old version is a conflict", async (t) => {
  const server = await started(t);
  const made = await ask(server, "POST", maps, named("a"));
  t.is(made.code, 201);
  t.is((await ask(server, "POST", maps, named("a"))).body.reason, "AlreadyExists");
  const version = made.body.metadata.resourceVersion;
  t.is(
    (await ask(server, "PUT", `${maps}/a`, { ...named("a", { resourceVersion: version }), data: { x: "1" } })).code,
    200,
  );
  const late = await ask(server, "PUT", `${maps}/a`, { ...named("a", { resourceVersion: version }), data: { x: "2" } });
  t.is(late.code, 409);
  t.is(late.body.reason, "Conflict");
  t.is((await ask(server, "GET", `${maps}/b`)).body.reason, "NotFound");
});

test("pages are of one version, and a token whose version was compacted gets 410 with one to go on with", async (t) => {
  const server = await started(t);
  for (const name of ["a", "b", "c"]) await ask(server, "POST", maps, named(name));
  const first = await ask(server, "GET", `${maps}?limit=2`);
  const token = first.body.metadata.continue;
  await ask(server, "POST", maps, named("d"));
  const second = await ask(server, "GET", `${maps}?limit=2&continue=${token}`);
  t.is(second.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
  t.deepEqual(
    second.body.items.map((item: { metadata: { name: string } }) => item.metadata.name),
    ["c"],
  );
  server.store.compact();
  const gone = await ask(server, "GET", `${maps}?limit=2&continue=${token}`);
  t.is(gone.code, 410);
  const fresh = await ask(server, "GET", `${maps}?continue=${gone.body.metadata.continue}`);
  t.is(fresh.body.items.length, 2);
});

test("a watch tells what changed since its version, and of one that is too old 410 as an event", async (t) => {
  const server = await started(t);
  const since = server.store.revision;
  await ask(server, "POST", maps, named("a", { labels: { app: "x" } }));
  await ask(server, "PATCH", `${maps}/a`, { metadata: { labels: { app: "y" } } }, "application/merge-patch+json");
  const selected = await events(
    server,
    `${maps}?watch=1&resourceVersion=${since}&timeoutSeconds=1&labelSelector=app%3Dx`,
  );
  t.deepEqual(
    selected.map(({ type }) => type),
    ["ADDED", "DELETED"],
  );
  server.store.compact();
  const old = await events(server, `${maps}?watch=1&resourceVersion=${since}`);
  t.is(old[0]?.type, "ERROR");
  t.like(old[0]?.object, { code: 410, reason: "Expired" });
});

test("server-side apply keeps to its own fields, and conflicts with another owner unless forced", async (t) => {
  const server = await started(t);
  const type = "application/apply-patch+yaml";
  const body = { apiVersion: "v1", kind: "ConfigMap", ...named("a"), data: { x: "1", y: "1" } };
  t.is((await ask(server, "PATCH", `${maps}/a?fieldManager=me`, body, type)).code, 201);
  const other = { ...body, data: { x: "2" } };
  t.is((await ask(server, "PATCH", `${maps}/a?fieldManager=you`, other, type)).body.details.causes[0].field, ".data.x");
  t.is((await ask(server, "PATCH", `${maps}/a?fieldManager=you&force=true`, other, type)).code, 200);
  const less = await ask(server, "PATCH", `${maps}/a?fieldManager=me`, { ...body, data: undefined }, type);
  t.deepEqual(less.body.data, { x: "2" });
});

test("a pod on a node dies in two steps, and an object with a finalizer waits for it", async (t) => {
  const server = await started(t);
  await ask(server, "POST", pods, named("p"));
  t.is((await ask(server, "POST", `${pods}/p/binding`, { target: { name: "n1" } })).code, 201);
  t.is((await ask(server, "DELETE", `${pods}/p`)).body.metadata.deletionGracePeriodSeconds, 30);
  t.is((await ask(server, "DELETE", `${pods}/p?gracePeriodSeconds=0`)).code, 200);
  t.is((await ask(server, "GET", `${pods}/p`)).code, 404);
  await ask(server, "POST", maps, named("f", { finalizers: ["a.b/c"] }));
  t.truthy((await ask(server, "DELETE", `${maps}/f`)).body.metadata.deletionTimestamp);
  await ask(server, "PATCH", `${maps}/f`, { metadata: { finalizers: null } }, "application/merge-patch+json");
  t.is((await ask(server, "GET", `${maps}/f`)).code, 404);
});

test("a custom kind is served while its definition is there, its status only through the status", async (t) => {
  const server = await started(t);
  const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const foos = "/apis/t.io/v1/namespaces/default/foos";
  t.is((await ask(server, "GET", foos)).code, 404);
  const versions = [{ name: "v1", served: true, storage: true, subresources: { status: {} } }];
  const spec = { group: "t.io", scope: "Namespaced", names: { plural: "foos", kind: "Foo" }, versions };
  t.is((await ask(server, "POST", definitions, { ...named("foos.t.io"), spec })).code, 201);
  const foo = { apiVersion: "t.io/v1", kind: "Foo", ...named("f"), spec: { a: 1 }, status: { b: 1 } };
  t.is((await ask(server, "POST", foos, foo)).body.status, undefined);
  const merge = "application/merge-patch+json";
  const status = await ask(server, "PATCH", `${foos}/f/status`, { spec: { a: 2 }, status: { b: 2 } }, merge);
  t.like(status.body, { spec: { a: 1 }, status: { b: 2 }, metadata: { generation: 1 } });
  t.is((await ask(server, "PATCH", `${foos}/f`, { spec: { a: 2 } }, merge)).body.metadata.generation, 2);
  t.is((await ask(server, "DELETE", `${definitions}/foos.t.io`)).code, 200);
  t.is((await ask(server, "GET", foos)).code, 404);
});

test("faults meet the requests they are for, tokens are checked, and requests are counted", async (t) => {
  const server = await started(t, { tokens: ["good"] });
  t.is((await ask(server, "GET", maps)).code, 401);
  server.tokens?.add("");
  server.faults.add(
    { kind: "answer", code: 429, reason: "TooManyRequests", retryAfterSeconds: 2 },
    ({ verb }) => verb === "list",
  );
  const busy = await ask(server, "GET", maps);
  t.is(busy.code, 429);
  t.is(busy.headers.get("retry-after"), "2");
  t.is((await ask(server, "GET", maps)).code, 200);
  server.faults.add({ kind: "reset" });
  await t.throwsAsync(ask(server, "GET", maps));
  t.is(server.counts().get("list configmaps"), 3);
});

test("after a restart from an older state versions go back on the same port", async (t) => {
  const server = await started(t);
  const { url } = server;
  const backup = server.store.snapshot();
  await ask(server, "POST", maps, named("a"));
  await server.stop();
  server.restore(backup);
  await server.start();
  t.is(server.url, url);
  const listed = await ask(server, "GET", maps);
  t.is(listed.body.metadata.resourceVersion, String(backup.revision));
  t.deepEqual(listed.body.items, []);
});
