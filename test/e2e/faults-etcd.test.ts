/**
 * etcd killed behind a real API server, for a while and for a moment: what kube-apiserver answers then is its own. Nothing that is allowed is
 * dropped and nothing denied passes, agents say what is wrong, one that is killed and starts meanwhile is ready afterwards, and all follow again.
 * What the API server of the tests can do of this is in faults-api.test.ts.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { connectKube } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { apiServerScript, isRealApiServer, withoutApiServer } from "../support/api-server-process.ts";
import { defineCustomKinds, put, runPods, statusOf, untilWell } from "../support/faults-cluster.ts";
import { FaultTraffic } from "../support/faults-traffic.ts";
import { withLab } from "../support/lab.ts";

const nodes = ["node-1", "node-2"] as const;

/** Starts etcd again whenever it ends, but not while the file `down` is there: whoever started it ends all the rest with it. */
const supervisor = (folder: string, etcd: string) => `#!/bin/bash
[ "$1" != --help ] || exec ${etcd} --help
trap 'ended=1; kill -TERM $child 2>/dev/null' TERM INT HUP
while [ -z "\${ended:-}" ]; do
  if [ -e ${folder}/down ]; then sleep 0.1; continue; fi
  ${etcd} "$@" & child=$!
  echo $child > ${folder}/etcd.pid
  wait $child || wait $child
done
`;

interface Etcd {
  /** For labs: the script of the API server, with an etcd that can be killed alone. */
  readonly script: string;
  /** @param stays away, until `start` */
  kill(stays: boolean): Promise<void>;
  start(): Promise<void>;
  remove(): Promise<void>;
}

async function killableEtcd(): Promise<Etcd> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-etcd-"));
  const file = (name: string) => join(folder, name);
  const program = async (name: string, text: string) => {
    await writeFile(file(name), text);
    await chmod(file(name), 0o755);
  };
  const path = process.env.PATH ?? "";
  await program("etcd", supervisor(folder, `env PATH=${path} etcd`));
  await program("run", `#!/bin/sh\nPATH=${folder}:$PATH exec ${apiServerScript} "$@"\n`);
  return {
    script: file("run"),
    kill: async (stays) => {
      if (stays) await writeFile(file("down"), "");
      process.kill(Number(await readFile(file("etcd.pid"), "utf8")), "SIGKILL");
    },
    start: () => rm(file("down")),
    remove: () => rm(folder, { recursive: true }),
  };
}

const title = "etcd is killed and started again: the kernel goes on, agents tell of it, and follow again";
if (!isRealApiServer) test.skip(`${title} (${withoutApiServer})`, () => undefined);
else
  test(title, async (t) => {
    const etcd = await killableEtcd();
    t.teardown(() => etcd.remove());
    const api = { kind: "script", path: etcd.script } as const;
    await withLab(t, { nodes: 2, externals: [], api, agent: { identities: "cluster" } }, async (lab) => {
      const { kubeconfig } = lab.plan.api;
      const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
      t.teardown(() => client.close());
      await defineCustomKinds(client);
      const traffic = await FaultTraffic.prepare(lab, {
        client,
        put: (kind, object) => put(client, kind, object),
        runPods: (pods) => runPods(client, pods),
      });
      await untilWell(lab, nodes);

      await traffic.during(t, "etcd is away", async () => {
        const began = performance.now();
        await etcd.kill(true);
        await lab.stopAgent("node-1", "SIGKILL");
        // It is ready when it has seen the cluster, which may be when etcd is there again.
        const starting = lab.startAgent("node-1");
        starting.catch(() => undefined); // awaited below, whatever fails before
        const told = async () => (await statusOf(lab, "node-2"))?.problems ?? [];
        await lab.until("node-2 tells of it", async () => (await told()).length > 0, 240_000);
        for (const { code, object, message } of await told()) t.log(`${code} ${object}: ${message}`);
        t.log(`etcd is away: told after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
        await etcd.start();
        await starting;
        await untilWell(lab, nodes);
        await traffic.admitVisitor(true);
        await traffic.untilVisitor(true);
      });
      await traffic.during(t, "etcd is killed and starts at once", async () => {
        const visitor = () => traffic.admitVisitor(false);
        await etcd.kill(false);
        await lab.stopAgent("node-1", "SIGKILL");
        const starting = lab.startAgent("node-1");
        starting.catch(() => undefined); // awaited below, whatever fails before
        await lab.until(
          "the API server takes writes again",
          () =>
            visitor().then(
              () => true,
              () => false,
            ),
          240_000,
        );
        await starting;
        await traffic.untilVisitor(false);
        await untilWell(lab, nodes);
      });
    });
  });
