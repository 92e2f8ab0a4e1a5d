import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { clusterOf } from "../../../src/agent/cluster.ts";
import { type AgentConfig, configSchema } from "../../../src/config/schema.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { TableStore } from "../../../src/model/store.ts";

function options(settings: Partial<AgentConfig>) {
  return {
    config: configSchema.parse({ nodeName: "n1", ...settings }),
    version: "0.1.0",
    store: new TableStore(),
    conditions: { report: () => undefined },
    log: silentLogger,
    clock: new ManualClock(),
  };
}

test("identities of the cluster need the Kubernetes API", (t) => {
  t.throws(() => clusterOf(options({ identities: "cluster" })), {
    code: "CONFIG_INVALID",
    message: /identities of the cluster/,
  });
});

test("a folder of manifests, or the Kubernetes API, each with who numbers sets of labels", async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), "tandem-cluster-"));
  t.teardown(() => rm(stateDir, { recursive: true }));
  const numbered = async (settings: Partial<AgentConfig>) => {
    const cluster = clusterOf(options({ stateDir, ...settings }));
    const { allocator } = await cluster.identities(() => undefined);
    let first: unknown = null;
    try {
      first = allocator.numberFor("k8s:app=web", "n1");
    } catch (error) {
      first = (error as { readonly code?: unknown }).code;
    }
    const { name } = cluster.source.status();
    await cluster.stop();
    return [name, first];
  };
  t.deepEqual(await numbered({}), ["files", 256]);
  t.deepEqual(await numbered({ source: "kube" }), ["kube", 256]);
  t.deepEqual(await numbered({ source: "kube", identities: "cluster" }), ["kube", "IDENTITY_PENDING"]);
});
