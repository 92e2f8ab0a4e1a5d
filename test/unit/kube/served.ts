/** The client and a reflector on the API server of the tests: real HTTP on loopback, one manual clock for both ends. */
import type { ExecutionContext } from "ava";
import { AccessReader } from "../../../src/kube/access.ts";
import { KubeClient } from "../../../src/kube/client.ts";
import { KubeConnectionError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/kinds.ts";
import type { KubeObject } from "../../../src/kube/objects.ts";
import { Reflector } from "../../../src/kube/reflector.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { type ApiServerOptions, TestApiServer } from "../../support/api-server/server.ts";
import { ManualClock } from "../../support/manual-clock.ts";

export interface Served {
  readonly server: TestApiServer;
  readonly client: KubeClient;
  readonly clock: ManualClock;
  readonly reflector: Reflector<string>;
  /** Of the reflector: ConfigMaps' keys to `data.v`. */
  readonly rows: Map<string, string>;
  /** Codes of what it was stale for, and "fresh". */
  readonly heard: string[];
  /** In the token's file. */
  token: string;
  /** Lets time pass in steps until it holds. */
  until(holds: () => boolean, stepMs?: number): Promise<void>;
  put(name: string, v: string): Promise<void>;
  remove(name: string): Promise<void>;
}

/** Real time: only an endless loop takes so long. */
const limitMs = 120_000;

export async function serve(t: ExecutionContext, options: ApiServerOptions = {}): Promise<Served> {
  t.timeout(limitMs * 2);
  const clock = new ManualClock();
  const server = new TestApiServer({ clock, ...options });
  await server.start();
  const client = new KubeClient({
    clock,
    userAgent: "tandem-test/1",
    access: new AccessReader({
      clock,
      plugin: async () => t.fail() as never,
      readFile: async () => served.token,
      plan: async () => ({
        origin: "test",
        server: server.url,
        serverName: null,
        insecure: false,
        ca: null,
        certificate: null,
        key: null,
        token: { path: "token" },
        exec: null,
        namespace: { text: "default" },
      }),
    }),
  });
  const rows = new Map<string, string>();
  const heard: string[] = [];
  const reflector: Reflector<string> = new Reflector<string>({
    client,
    clock,
    kind: kinds.configMaps,
    log: silentLogger,
    project: ({ data }) => String((data as { readonly v?: string } | undefined)?.v),
    sink: ({ added, updated, deleted }) => {
      for (const [key, row] of [...added, ...updated]) rows.set(key, row);
      for (const key of deleted) rows.delete(key);
    },
    onStatus: () => heard.push(reflector.status().stale?.code ?? "fresh"),
  });
  const stop = new AbortController();
  let ended: Promise<void> | null = null;
  t.teardown(async () => {
    stop.abort();
    await ended;
    await client.close();
    await server.stop();
  });
  const object = (name: string, v: string): KubeObject => ({ metadata: { namespace: "default", name }, data: { v } });
  const served: Served = {
    server,
    client,
    clock,
    reflector,
    rows,
    heard,
    token: "one",
    put: async (name, v) => {
      await written(() => client.apply(kinds.configMaps, object(name, v), { fieldManager: "test", force: true }));
    },
    remove: async (name) => {
      await written(() => client.delete(kinds.configMaps, { namespace: "default", name }));
    },
    until: async (holds, stepMs = 50) => {
      const began = performance.now();
      ended ??= reflector.run(stop.signal);
      while (!holds()) {
        if (performance.now() - began > limitMs) throw new Error(`it never held: ${holds}`);
        await clock.advance(stepMs);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  };
  return served;
}

/** A write that broke off may be repeated here: the idle connection that it took ended with the server. */
async function written(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (!(error instanceof KubeConnectionError)) throw error;
    await write();
  }
}
