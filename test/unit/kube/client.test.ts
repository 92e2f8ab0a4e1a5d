import test, { type ExecutionContext } from "ava";

import { AccessReader } from "../../../src/kube/access.ts";
import type { AccessPlan } from "../../../src/kube/access-plan.ts";
import { KubeClient } from "../../../src/kube/client.ts";
import { KubeAnswerError, KubeConnectionError, KubeStatusError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/kinds.ts";
import type { KubeObject, WatchEvent } from "../../../src/kube/objects.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type Answerer, failure, json, plain, podList, ScriptedServer } from "./scripted-server.ts";

interface Setting {
  readonly server: ScriptedServer;
  readonly client: KubeClient;
  readonly clock: ManualClock;
  /** What is in the token's file. */
  token: string;
}

async function connected(t: ExecutionContext): Promise<Setting> {
  const server = new ScriptedServer();
  const address = await server.start(t);
  const clock = new ManualClock();
  const plan: AccessPlan = {
    origin: "test",
    server: `http://${address}/prefix`,
    serverName: null,
    insecure: false,
    ca: null,
    certificate: null,
    key: null,
    token: { path: "token" },
    exec: null,
    namespace: { text: "shop" },
  };
  const access = new AccessReader({
    plan: async () => plan,
    readFile: async () => setting.token,
    plugin: async () => t.fail() as never,
    clock,
  });
  const client = new KubeClient({ access, clock, userAgent: "tandem-test/1", random: () => 0 });
  const setting: Setting = { server, client, clock, token: "one\n" };
  t.teardown(() => client.close());
  return setting;
}

/** Lets the clock go on while the world needs its own time. */
async function passing<T>(clock: ManualClock, result: Promise<T>, stepMs = 500): Promise<T> {
  let done = false;
  const end = () => {
    done = true;
  };
  result.then(end, end);
  while (!done) {
    await clock.advance(stepMs);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return result;
}

const shop = { namespace: "shop", name: "web-0" };
const web: KubeObject = { metadata: { ...shop, resourceVersion: "7" } };

test("each verb is one request with the path, query and body that the API knows", async (t) => {
  const { server, client } = await connected(t);
  server.will(json(web));
  await client.get(kinds.pods, shop);
  await client.create(kinds.pods, web, { fieldManager: "me", dryRun: true });
  await client.update(kinds.ciliumNodes, { metadata: { name: "n/1" } }, { subresource: "status" });
  await client.patch(kinds.pods, shop, { metadata: { labels: { a: null } } });
  await client.apply(kinds.ciliumNodes, { metadata: { name: "n1" } }, { fieldManager: "me", force: true });
  t.true(await client.delete(kinds.pods, shop, { uid: "u1", gracePeriodSeconds: 0 }));
  const pods = "/prefix/api/v1/namespaces/shop/pods";
  const nodes = "/prefix/apis/cilium.io/v2/ciliumnodes";
  t.deepEqual(
    server.asked.map(({ method, url, headers }) => [method, url, headers["content-type"] ?? ""]),
    [
      ["GET", `${pods}/web-0`, ""],
      ["POST", `${pods}?fieldManager=me&dryRun=All`, "application/json"],
      ["PUT", `${nodes}/n%2F1/status`, "application/json"],
      ["PATCH", `${pods}/web-0`, "application/merge-patch+json"],
      ["PATCH", `${nodes}/n1?fieldManager=me&force=true`, "application/apply-patch+yaml"],
      ["DELETE", `${pods}/web-0`, "application/json"],
    ],
  );
  t.is(server.asked[0]?.headers["user-agent"], "tandem-test/1");
  t.is(server.asked[0]?.headers.authorization, "Bearer one");
  t.deepEqual(JSON.parse(server.asked[1]?.body ?? ""), { apiVersion: "v1", kind: "Pod", ...web });
  t.deepEqual(JSON.parse(server.asked[5]?.body ?? ""), {
    kind: "DeleteOptions",
    apiVersion: "v1",
    preconditions: { uid: "u1" },
    gracePeriodSeconds: 0,
  });
  t.true(server.connections < server.asked.length, "connections are used again");
});

test("a list is read page after page; each object has its type", async (t) => {
  const { server, client } = await connected(t);
  server.will(
    podList(["a", "b"], { resourceVersion: "40", continue: "next&page" }),
    podList(["c"], { resourceVersion: "40" }),
  );
  const seen: KubeObject[] = [];
  const listing = await client.list(kinds.pods, { resourceVersion: "0", labelSelector: "app=web" }, (pod) =>
    seen.push(pod),
  );
  t.deepEqual(listing, { resourceVersion: "40", objects: 3, pages: 2 });
  t.deepEqual(
    seen.map(({ apiVersion, kind, metadata }) => `${apiVersion} ${kind} ${metadata.name}`),
    ["v1 Pod a", "v1 Pod b", "v1 Pod c"],
  );
  t.deepEqual(
    server.asked.map(({ url }) => url.slice(url.indexOf("?"))),
    ["?limit=500&labelSelector=app%3Dweb&resourceVersion=0", "?limit=500&labelSelector=app%3Dweb&continue=next%26page"],
    "a page says by its token of which version it is",
  );
});

test("pages that expired while they were read are a failure, not a list", async (t) => {
  const { server, client } = await connected(t);
  server.will(podList(["a"], { resourceVersion: "40", continue: "x" }), failure(410, "Expired"));
  const error = await t.throwsAsync(client.listAll(kinds.pods), { instanceOf: KubeStatusError, code: "KUBE_GONE" });
  t.is(error?.status, 410);
});

const noLists: readonly (readonly [string, Answerer])[] = [
  ["an object", json(web)],
  ["a page of a proxy", plain("<html>Welcome</html>")],
  ["a list that breaks off", plain('{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{')],
  ["items that are no objects", json({ metadata: { resourceVersion: "1" }, items: [1, "x"] })],
  ["items without names", json({ metadata: { resourceVersion: "1" }, items: [{ metadata: {} }] })],
  ["a list without a version", json({ metadata: {}, items: [] })],
  ["nothing", plain("")],
];

for (const [what, answer] of noLists) {
  test(`${what} is no list`, async (t) => {
    const { server, client } = await connected(t);
    server.will(answer);
    await t.throwsAsync(client.listAll(kinds.pods), { instanceOf: KubeAnswerError, code: "KUBE_ANSWER" });
  });
}

test("401: the token is read again, and the request sent once more with it", async (t) => {
  const setting = await connected(t);
  const { server, client } = setting;
  server.will(json(web));
  await client.get(kinds.pods, shop);
  setting.token = "two";
  server.will((response, asked) =>
    (asked.headers.authorization === "Bearer two" ? json(web) : failure(401, "Unauthorized"))(response, asked),
  );
  server.will((response, asked) => json(web)(response, asked));
  await client.get(kinds.pods, shop);
  await client.get(kinds.pods, shop);
  t.is(server.asked.at(-1)?.headers.authorization, "Bearer two");
});

test("401 with the only token there is is a failure, after one more try", async (t) => {
  const { server, client } = await connected(t);
  server.will(failure(401, "Unauthorized"));
  const error = await t.throwsAsync(client.get(kinds.pods, shop), { instanceOf: KubeStatusError });
  t.is(error?.code, "KUBE_UNAUTHORIZED");
  t.is(error?.object, "Pod shop/web-0");
  t.is(server.asked.length, 2);
});

test("a busy API server is asked again when it said so; whoever waits himself is told at once", async (t) => {
  const { server, client, clock } = await connected(t);
  server.will(
    failure(429, "TooManyRequests", { "retry-after": "3" }),
    failure(503, "ServiceUnavailable", { "retry-after": "1" }),
    json(web),
  );
  const began = clock.monotonicMs();
  await passing(clock, client.create(kinds.pods, web), 100);
  t.true(clock.monotonicMs() - began >= 4_000);
  t.is(server.asked.length, 3);
  server.will(failure(429, "TooManyRequests", { "retry-after": "3" }));
  server.will(failure(429, "TooManyRequests", { "retry-after": "3" }));
  await client.get(kinds.pods, shop);
  const error = await t.throwsAsync(client.get(kinds.pods, shop, { retry: false }), { instanceOf: KubeStatusError });
  t.is(error?.retryAfterMs, 3_000);
});

test("one that stays busy is given up", async (t) => {
  const { server, client, clock } = await connected(t);
  server.will(failure(429, "TooManyRequests"));
  await t.throwsAsync(passing(clock, client.get(kinds.pods, shop)), { code: "KUBE_BUSY" });
  t.is(server.asked.length, 5);
});

const refusals: readonly (readonly [number, string, string])[] = [
  [403, "Forbidden", "KUBE_FORBIDDEN"],
  [404, "NotFound", "KUBE_NOT_FOUND"],
  [409, "Conflict", "KUBE_CONFLICT"],
  [409, "AlreadyExists", "KUBE_EXISTS"],
  [422, "Invalid", "KUBE_INVALID"],
  [500, "InternalError", "KUBE_SERVER"],
  [503, "ServiceUnavailable", "KUBE_BUSY"],
];

for (const [status, reason, code] of refusals) {
  test(`${status} ${reason} is ${code}, told once and with the server's words`, async (t) => {
    const { server, client } = await connected(t);
    server.will(failure(status, reason));
    const error = await t.throwsAsync(client.create(kinds.pods, web), { instanceOf: KubeStatusError, code });
    t.is(error?.message, `the API server answered ${status} ${reason}: it is ${reason}`);
    t.is(server.asked.length, 1);
  });
}

test("a refusal by something that is no API server keeps its status and some of its text", async (t) => {
  const { server, client } = await connected(t);
  server.will(plain(`no route ${"x".repeat(1_000)}`, 502));
  const error = await t.throwsAsync(client.get(kinds.pods, shop), { instanceOf: KubeStatusError });
  t.is(error?.status, 502);
  t.regex(error?.message ?? "", /no route x{100,250}$/);
});

test("deleting what is not there is no failure", async (t) => {
  const { server, client } = await connected(t);
  server.will(failure(404, "NotFound"));
  t.false(await client.delete(kinds.pods, shop));
});

test("an answer that takes 5 s is waited for, one that never begins is not", async (t) => {
  const { server, client, clock } = await connected(t);
  server.will((response, asked) => clock.setTimer(5_000, () => json(web)(response, asked)));
  await passing(clock, client.get(kinds.pods, shop), 100);
  server.will(() => undefined);
  server.will(() => undefined);
  await passing(clock, client.get(kinds.pods, shop), 100);
  const error = await t.throwsAsync(passing(clock, client.get(kinds.pods, shop)), { instanceOf: KubeConnectionError });
  t.is(error?.code, "KUBE_TIMEOUT");
});

test("an answer that stops in the middle is a failure", async (t) => {
  const { server, client, clock } = await connected(t);
  server.will((response) => {
    response.writeHead(200);
    response.write('{"metadata":');
  });
  await t.throwsAsync(passing(clock, client.get(kinds.pods, shop)), { code: "KUBE_TIMEOUT" });
});

test("a connection that the server closed while it idled is no failure of a read", async (t) => {
  const { server, client } = await connected(t);
  server.will(json(web), (response) => response.destroy(), json(web));
  await client.get(kinds.pods, shop);
  await client.get(kinds.pods, shop);
  t.is(server.asked.length, 3);
  server.will((response) => response.destroy());
  server.will((response) => response.destroy());
  await client.get(kinds.pods, shop);
  await t.throwsAsync(client.create(kinds.pods, web), { code: "KUBE_CUT" }, "a write may have been done");
});

test("nobody listens: unreachable, at once", async (t) => {
  const { server, client } = await connected(t);
  await server.stop();
  await t.throwsAsync(client.get(kinds.pods, shop), { instanceOf: KubeConnectionError, code: "KUBE_UNREACHABLE" });
});

test("the signal ends a request with its reason", async (t) => {
  const { server, client } = await connected(t);
  const stop = new AbortController();
  const reason = new Error("enough");
  server.will(() => stop.abort(reason));
  t.is(await t.throwsAsync(client.get(kinds.pods, shop, { signal: stop.signal })), reason);
  t.is(await t.throwsAsync(client.get(kinds.pods, shop, { signal: stop.signal })), reason);
  t.is(server.asked.length, 1);
});

const watching = { resourceVersion: "7", timeoutSeconds: 40, silenceMs: 55_000 } as const;
const line = (type: string, object: unknown) => `${JSON.stringify({ type, object })}\n`;

async function events(watch: AsyncIterable<readonly WatchEvent[]>): Promise<readonly WatchEvent[]> {
  const seen: WatchEvent[] = [];
  for await (const some of watch) seen.push(...some);
  return seen;
}

test("a watch asks for bookmarks and an end, and hands over its events", async (t) => {
  const { server, client } = await connected(t);
  server.will((response) => {
    response.write(line("ADDED", web));
    response.write(line("BOOKMARK", { metadata: { resourceVersion: "9" } }));
    response.end(line("ERROR", { kind: "Status", code: 410 }));
  });
  const watch = await client.watch(kinds.pods, { ...watching, fieldSelector: "spec.nodeName=n1" });
  t.deepEqual(await events(watch.events), [
    { type: "ADDED", object: web },
    { type: "BOOKMARK", resourceVersion: "9" },
    { type: "ERROR", status: { kind: "Status", code: 410 } },
  ] as unknown as WatchEvent[]);
  t.is(
    server.asked[0]?.url,
    "/prefix/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=40&fieldSelector=spec.nodeName%3Dn1",
  );
});

test("a watch that is half open is dead after its patience, one that speaks is not", async (t) => {
  const { server, client, clock } = await connected(t);
  let speak: (text: string) => void = () => undefined;
  server.will((response) => {
    response.flushHeaders();
    speak = (text) => response.write(text);
  });
  const { events: stream } = await client.watch(kinds.pods, watching);
  const iterator = stream[Symbol.asyncIterator]();
  for (let i = 0; i < 3; i++) {
    const next = iterator.next();
    await clock.advance(50_000);
    speak(line("BOOKMARK", { metadata: { resourceVersion: `${i}` } }));
    t.false((await next).done);
  }
  const began = clock.monotonicMs();
  await t.throwsAsync(passing(clock, iterator.next(), 1_000), { code: "KUBE_TIMEOUT" });
  const waited = clock.monotonicMs() - began;
  t.true(waited >= 55_000 && waited <= 60_000, `${waited}`);
});

for (const [what, text] of [
  ["no JSON", "{]\n"],
  ["no event", "[]\n"],
  ["an unknown type", line("RENAMED", web)],
  ["an object without a name", line("ADDED", { metadata: {} })],
  ["an end within an event", '{"type":"ADDED"'],
] as const) {
  test(`${what} ends a watch; what came before counts`, async (t) => {
    const { server, client } = await connected(t);
    server.will((response) => response.end(line("ADDED", web) + text));
    const { events: stream } = await client.watch(kinds.pods, watching);
    const iterator = stream[Symbol.asyncIterator]();
    t.is((await iterator.next()).value?.length, 1);
    await t.throwsAsync(iterator.next(), { instanceOf: KubeAnswerError });
  });
}

test("a watch that the reader leaves gives its connection back to nobody", async (t) => {
  const { server, client } = await connected(t);
  const closed = new Promise<void>((resolve) => {
    server.will((response) => {
      response.on("close", resolve);
      response.write(line("ADDED", web));
    });
  });
  const { events: stream } = await client.watch(kinds.pods, watching);
  for await (const some of stream) {
    t.is(some.length, 1);
    break;
  }
  await t.notThrowsAsync(closed);
});

test("a closed client says so", async (t) => {
  const { client } = await connected(t);
  await client.close();
  await t.throwsAsync(client.get(kinds.pods, shop), { instanceOf: KubeConnectionError, message: /closed/ });
});
