/** Operators and allocators on an API server as a process, with its own controllers: Kubernetes' garbage collector, service accounts, defaults. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { operatorScenario } from "../support/operator-scenario.ts";
import { freePorts, startApiServer } from "../support/api-server-process.ts";

const title = "on an API server with controllers two operators and two nodes agree, and what is unused goes";

test(title, async (t) => {
  t.timeout(900_000);
  const folder = await mkdtemp(join(tmpdir(), "tandem-operator-"));
  const teardowns: (() => unknown)[] = [];
  try {
    const server = await startApiServer(folder, await freePorts());
    try {
      await operatorScenario(t, { kubeconfig: server.kubeconfig, teardown: (work) => void teardowns.push(work) });
    } finally {
      // Clients end before their server does.
      for (const work of teardowns.reverse()) await work();
      await server.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
