/** The lab's parts against the API server of the tests. */
import type { ExecutionContext } from "ava";
import { AccessReader, KubeClient } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { TestApiServer } from "./api-server/server.ts";

/** A client of a new, empty API server; both end with the test. */
export async function testApi(t: ExecutionContext): Promise<KubeClient> {
  const server = new TestApiServer();
  await server.start();
  const plan = async () => ({
    origin: "test",
    server: server.url,
    serverName: null,
    insecure: false,
    ca: null,
    certificate: null,
    key: null,
    token: null,
    exec: null,
    namespace: { text: "default" },
  });
  const unused = async () => {
    throw new Error("nothing to read");
  };
  const access = new AccessReader({ plan, readFile: unused, plugin: unused, clock: systemClock });
  const client = new KubeClient({ access, clock: systemClock, userAgent: "test" });
  t.teardown(async () => {
    await client.close();
    await server.stop();
  });
  return client;
}

/** Polls until it is so; a minute at most. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await systemClock.sleep(10);
  }
}
