/**
 * The API server of the tests answers as a real one does: the same random histories of requests to both, and every answer, page and event
 * that a client could tell apart is the same. Runs where TANDEM_KUBE_APISERVER names a script that starts a real one.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { systemClock } from "../../src/lib/clock.ts";
import { comparable, eventsOf, fieldsOf, Side, type Step } from "../support/api-server-history.ts";
import { definition, historyOf, kindsIn } from "../support/api-server-histories.ts";
import {
  apiServerScript,
  freePorts,
  isRealApiServer,
  ownApiServerScript,
  startApiServer,
  withoutApiServer,
} from "../support/api-server-process.ts";

const title = "random histories have the same answers, lists and events as on a real API server";
const seeds = [1, 2, 3, 4, 5, 6];
const length = 150;
const settings = { KCM: "0" };

async function withSides(work: (real: Side, own: Side) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-differential-"));
  const ends: (() => Promise<void>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const sides: Side[] = [];
    for (const script of [apiServerScript, ownApiServerScript]) {
      const server = await startApiServer(join(folder, String(ends.length)), await freePorts(), settings, script);
      ends.push(() => server.stop());
      const side = new Side(server.kubeconfig);
      ends.push(() => side.close());
      sides.push(side);
    }
    const [real, own] = sides;
    if (real !== undefined && own !== undefined) await work(real, own);
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

/** Until what was made is served everywhere. */
async function established(side: Side): Promise<void> {
  await side.ask({ method: "POST", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body: definition });
  for (let tries = 0; tries < 3_000; tries++) {
    if ((await side.ask({ method: "GET", path: "/apis/history.tandem/v1/namespaces/default/foos" })).code === 200)
      return;
    await systemClock.sleep(100);
  }
  throw new Error("the custom kind is never served");
}

async function prepare(side: Side, namespace: string): Promise<void> {
  const body = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await side.ask({ method: "POST", path: "/api/v1/namespaces", body });
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default" } };
  await side.ask({ method: "POST", path: `/api/v1/namespaces/${namespace}/serviceaccounts`, body: account });
}

async function versionNow(side: Side, path: string): Promise<string> {
  return String(fieldsOf(fieldsOf((await side.ask({ method: "GET", path })).body).metadata).resourceVersion);
}

async function compare(t: ExecutionContext, real: Side, own: Side, seed: number): Promise<void> {
  const namespace = `history-${seed}`;
  for (const side of [real, own]) await prepare(side, namespace);
  const paths = kindsIn(namespace).map(({ path }) => path);
  const starts = new Map<string, readonly string[]>();
  for (const path of paths) starts.set(path, [await versionNow(real, path), await versionNow(own, path)]);
  const before: Step[] = [];
  for (const step of historyOf(seed, length, namespace)) {
    const [expected, found] = [await real.ask(step), await own.ask(step)];
    const context = () =>
      `seed ${seed}, after ${before.length}: ${JSON.stringify(step)}: ${JSON.stringify(found.body)}`;
    const [left, right] = [expected, found].map(({ code, body }) => ({ code, body: comparable(body) }));
    t.deepEqual(right, left, context());
    before.push(step);
  }
  for (const path of paths) {
    const [first = "", second = ""] = starts.get(path) ?? [];
    const query = (version: string) => `${path}?watch=1&timeoutSeconds=2&resourceVersion=${version}`;
    const [expected, found] = await Promise.all([real.watch(query(first)), own.watch(query(second))]);
    t.deepEqual(eventsOf(found), eventsOf(expected), `seed ${seed}: what a watch of ${path} tells`);
  }
}

if (!isRealApiServer) test.skip(`${title} (${withoutApiServer})`, () => undefined);
else
  test(title, async (t) => {
    t.timeout(900_000);
    await withSides(async (real, own) => {
      for (const side of [real, own]) await established(side);
      for (const seed of seeds) await compare(t, real, own, seed);
    });
  });
