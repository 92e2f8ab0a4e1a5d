import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import test, { type ExecutionContext } from "ava";
import { request } from "undici";
import { ServiceHealth } from "../../../src/agent/service-health.ts";
import type { Problem } from "../../../src/model/status.ts";

const host = "127.0.0.1";
const check = (port: number, localEndpoints: number) => ({ port, namespace: "shop", name: "web", localEndpoints });

/** A port that somebody has, until `leave`. */
async function taken(): Promise<{ readonly port: number; readonly leave: () => Promise<void> }> {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { port, leave: () => new Promise((done) => server.close(() => done())) };
}

function world(t: ExecutionContext) {
  let problems: readonly Problem[] = [];
  const report = (_topic: string, said: readonly Problem[]) => {
    problems = said;
  };
  const health = new ServiceHealth({ conditions: { report }, host });
  t.teardown(() => health.stop());
  return { health, problems: () => problems };
}

/** Status and body; null: nobody listens. */
async function ask(port: number): Promise<{ readonly status: number; readonly body: unknown; weight: unknown } | null> {
  try {
    const { statusCode, headers, body } = await request(`http://${host}:${port}/healthz`, { reset: true });
    return { status: statusCode, body: await body.json(), weight: headers["x-load-balancing-endpoint-weight"] };
  } catch (error) {
    // Refused, or let go in the middle of the question.
    if (["ECONNREFUSED", "UND_ERR_SOCKET"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    if (tries > 6_000) throw new Error("never");
    await new Promise((done) => setTimeout(done, 10));
  }
}

test("a load balancer is told 200 with how many pods are here, 503 where none is, and nothing when nobody is to ask", async (t) => {
  const { health } = world(t);
  const { port, leave } = await taken();
  await leave();
  health.update([check(port, 2)]);
  await until(async () => (await ask(port)) !== null);
  const service = { namespace: "shop", name: "web" };
  const body = { service, localEndpoints: 2, serviceProxyHealthy: true };
  t.deepEqual(await ask(port), { status: 200, body, weight: "2" });
  health.update([check(port, 0)]);
  t.like(await ask(port), { status: 503, weight: "0" });
  health.update([]);
  await until(async () => (await ask(port)) === null);
  t.pass();
});

test("a port that somebody has is told with its service, and taken when it is free", async (t) => {
  const { health, problems } = world(t);
  const { port, leave } = await taken();
  health.update([check(port, 1)]);
  await until(() => problems().length > 0);
  t.like(problems()[0], { code: "SERVICE_HEALTH_PORT", object: "Service shop/web" });
  t.regex(problems()[0]?.message ?? "", /EADDRINUSE/);
  await leave();
  health.update([check(port, 1)]);
  await until(() => problems().length === 0);
  t.is((await ask(port))?.status, 200);
});

test("what is not wanted any more is no problem", async (t) => {
  const { health, problems } = world(t);
  const { port, leave } = await taken();
  health.update([check(port, 1)]);
  await until(() => problems().length > 0);
  health.update([]);
  t.deepEqual(problems(), []);
  await leave();
});
