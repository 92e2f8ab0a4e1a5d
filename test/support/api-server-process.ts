/**
 * An API server as a process of its own: the real one where a script is named that runs it (TANDEM_KUBE_APISERVER), else that of the tests
 * (`api-server/run`). Both are called with a folder and a port, write FOLDER/kubeconfig and, when they answer, FOLDER/ready, and end
 * everything on SIGTERM. A real one's own ports may be the next three too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { access, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { connectKube, type KubeClient } from "../../src/kube/index.ts";
import type { ApiServerSource } from "../../src/lab/kube/source.ts";
import { systemClock } from "../../src/lib/clock.ts";

const named = process.env.TANDEM_KUBE_APISERVER ?? "";

/** Whether it is Kubernetes' own. */
export const isRealApiServer = named !== "";

export const ownApiServerScript = join(import.meta.dirname, "api-server/run");

/** Absolute. */
export const apiServerScript = isRealApiServer ? resolve(named) : ownApiServerScript;

/** For the title of a test that is about the real one. */
export const withoutApiServer = "TANDEM_KUBE_APISERVER names no script that runs an API server";

/** For labs. */
export const labApiServer: ApiServerSource = { kind: "script", path: apiServerScript };

const startLimitMs = 300_000;
const stepMs = 100;

export interface ApiServerProcess {
  /** How to reach it as the cluster's administrator. */
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

/** @param folder of its data; one that was used before has the same objects and credentials */
export async function startApiServer(
  folder: string,
  port: number,
  settings: Readonly<Record<string, string>> = {},
  script: string = apiServerScript,
): Promise<ApiServerProcess> {
  const child = spawn(script, [folder, String(port)], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...settings },
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
  };
  try {
    await untilReady(child, join(folder, "ready"));
  } catch (error) {
    await stop();
    throw error;
  }
  return { kubeconfig: join(folder, "kubeconfig"), stop };
}

/** Runs `work` with a client of the cluster's administrator and its kubeconfig; stops and removes everything after it. */
export async function withApiServer(
  work: (client: KubeClient, kubeconfig: string) => Promise<void>,
  settings: Readonly<Record<string, string>> = {},
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-api-server-"));
  try {
    const server = await startApiServer(folder, await freePorts(), settings);
    const client = connectKube({
      kubeconfig: server.kubeconfig,
      env: {},
      clock: systemClock,
      userAgent: "tandem-test",
    });
    try {
      await work(client, server.kubeconfig);
    } finally {
      await client.close();
      await server.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function untilReady(child: ChildProcess, file: string): Promise<void> {
  let failure: Error | null = null;
  child.once("error", (error) => {
    failure = error;
  });
  for (let waited = 0; waited < startLimitMs; waited += stepMs) {
    if (failure !== null) throw failure;
    if (child.exitCode !== null) throw new Error(`${apiServerScript} ended with ${child.exitCode}`);
    const isReady = await access(file).then(
      () => true,
      () => false,
    );
    if (isReady) return;
    await systemClock.sleep(stepMs);
  }
  throw new Error(`${apiServerScript} was not ready after ${startLimitMs} ms`);
}

/** The first of four ports that nobody had a moment ago. */
export async function freePorts(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all([0, 1, 2, 3].map((step) => isFree(first + step)));
    if (free.every(Boolean)) return first;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
