/** The API server of the tests as a program: what a script that starts an API server promises. */
import { spawn } from "node:child_process";
import { appendFile, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { connectKube, kinds } from "../../../src/kube/index.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { keepJournal } from "../../support/api-server/journal.ts";
import { Store } from "../../support/api-server/store.ts";
import { freePorts, ownApiServerScript, startApiServer } from "../../support/api-server-process.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";

function connect(t: ExecutionContext, kubeconfig: string) {
  const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
  t.teardown(() => client.close());
  return client;
}

test("the same folder has the same objects and credentials, and no watch caches of before", async (t) => {
  t.timeout(300_000);
  const folder = await temporaryFolder(t);
  const port = await freePorts();
  const settings = { ADVERTISE: "192.0.2.7", SERVICE_CIDR: "10.96.0.0/16,fd00:96::/112" };
  const start = () => startApiServer(folder, port, settings, ownApiServerScript);
  const first = await start();
  t.teardown(() => first.stop());
  const config = await readFile(first.kubeconfig, "utf8");
  const client = connect(t, first.kubeconfig);
  const object = { metadata: { namespace: "default", name: "kept" }, data: { a: "1" } };
  const made = await client.create(kinds.configMaps, object);
  const service = await client.get(kinds.services, { namespace: "default", name: "kubernetes" });
  t.like(service.spec, { clusterIP: "10.96.0.1" });
  await first.stop();
  await t.throwsAsync(stat(join(folder, "ready")), { code: "ENOENT" });

  const second = await start();
  t.teardown(() => second.stop());
  t.is(await readFile(second.kubeconfig, "utf8"), config);
  const byToken = connect(t, join(folder, "kubeconfig.token"));
  const found = await byToken.get(kinds.configMaps, { namespace: "default", name: "kept" });
  t.deepEqual([found.metadata.uid, found.data], [made.metadata.uid, { a: "1" }]);
  t.true(Number(found.metadata.resourceVersion) === Number(made.metadata.resourceVersion));
});

test("without a folder and a port it says what it needs", async (t) => {
  const ended = await new Promise<{ code: number | null; said: string }>((resolve) => {
    const child = spawn(ownApiServerScript, [], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (text: Buffer) => {
      said += text.toString();
    });
    child.once("close", (code) => resolve({ code, said }));
  });
  t.is(ended.code, 2);
  t.regex(ended.said, /run DATADIR PORT/);
});

test("a journal gives back every object and the revision, without a line that breaks off", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "journal");
  const store = new Store(100);
  const close = keepJournal(path, store);
  store.put("configmaps", "a/b", { data: { x: "1" } });
  store.put("configmaps", "a/c", {});
  store.put("configmaps", "a/b", { data: { x: "2" } });
  store.remove("configmaps", "a/c");
  close();
  const again = new Store(100);
  // What a server that was killed had not written to its end.
  await appendFile(path, '{"revision":99,"storage":"configmaps","key":"a/d","ob');
  keepJournal(path, again)();
  t.deepEqual([...again.objects("configmaps")], [...store.objects("configmaps")]);
  t.is(again.revision, store.revision);
  t.is(again.watchFloor("configmaps"), store.revision, "watches from before are refused");
});
