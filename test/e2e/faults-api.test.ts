/**
 * What an API server can do to a cluster, one after the other on one lab. Through each, the kernel goes on with what it had: nothing that is
 * allowed is dropped, nothing that is denied passes; each agent's status says what is wrong while it is, and not after. One agent lives
 * through it, the other is killed and started in the middle of it.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { type KubeClient, kinds } from "../../src/kube/index.ts";
import { type FaultCluster, podOn, statusOf, untilWell, withFaultLab } from "../support/faults-cluster.ts";
import type { SeenRequest } from "../support/api-server/faults.ts";
import { readObjects } from "../support/kustomize.ts";
import { FaultTraffic, type GuardFate } from "../support/faults-traffic.ts";
import { one, two } from "../unit/kube/certificates.ts";

interface ApiFault {
  readonly name: string;
  readonly begin: (cluster: FaultCluster, traffic: FaultTraffic) => Promise<void>;
  /** Of a problem that every agent has meanwhile; null: it is no problem. */
  readonly told: { readonly code: RegExp; readonly remedy: RegExp } | null;
  readonly end: (cluster: FaultCluster, traffic: FaultTraffic, t: ExecutionContext) => Promise<void>;
  /** Left out: it stays. */
  readonly guard?: GuardFate;
}

/** A definition that is made anew has no objects: who deleted it applies them again. */
async function defineAgain(cluster: FaultCluster, traffic: FaultTraffic): Promise<void> {
  await cluster.define();
  await traffic.putGuard();
}

/** Whatever is asked is answered so. */
function answers(name: string, code: number, reason: string, message: string, told: ApiFault["told"]): ApiFault {
  return {
    name,
    told,
    begin: async ({ front }) => {
      front.fault = { kind: "answer", code, reason, message };
      front.cut();
    },
    end: async ({ front }) => {
      front.fault = null;
    },
  };
}

/** Versions of the agents' Leases. */
async function agentLeases(client: KubeClient): Promise<readonly number[]> {
  const leases = await client.listAll(kinds.leases, { namespace: "kube-system" });
  return leases.map(({ metadata }) => Number(metadata.resourceVersion));
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const faults: readonly ApiFault[] = [
  {
    name: "the API server is killed and comes back with empty watch caches",
    begin: ({ front }) => front.stop(),
    told: { code: /^KUBE_(CUT|UNREACHABLE)$/, remedy: /known before stays in force/ },
    end: async ({ front, server }) => {
      await server.stop();
      await server.start();
      await front.start();
    },
  },
  {
    name: "the API server takes 5 s for each answer",
    begin: async ({ front }) => {
      front.fault = { kind: "slow", ms: 5_000 };
      front.cut();
    },
    told: null,
    end: async ({ front }) => {
      front.fault = null;
    },
  },
  answers("the API server answers 429", 429, "TooManyRequests", "too many requests, please try again later", {
    code: /^KUBE_BUSY$/,
    remedy: /flow control/,
  }),
  answers("etcd is away", 500, "", "etcdserver: request timed out", { code: /^KUBE_SERVER$/, remedy: /log/ }),
  {
    ...answers("every version is too old", 410, "Expired", "too old resource version", {
      code: /^KUBE_GONE$/,
      remedy: /list again/,
    }),
    end: async ({ front, server }) => {
      server.store.compact();
      for (const watch of server.watches) watch.expire();
      front.fault = null;
    },
  },
  {
    name: "the token has expired, and another takes its place",
    begin: async (cluster) => {
      cluster.expireToken();
      cluster.front.cut();
    },
    told: { code: /^KUBE_UNAUTHORIZED$/, remedy: /renew the token/ },
    end: (cluster) => cluster.renewToken(),
  },
  {
    name: "somebody else's certificate is shown",
    begin: async ({ front }) => {
      front.present(two.server);
      front.cut();
    },
    told: { code: /^KUBE_CERTIFICATE$/, remedy: /certificate authority/ },
    end: async ({ front }) => front.present(one.server),
  },
  {
    name: "the API server has not read the definitions of cilium.io yet",
    begin: async ({ front, server }) => {
      const isCustom = ({ storage }: SeenRequest) => storage.endsWith(".cilium.io");
      server.faults.add({ kind: "answer", code: 404, reason: "NotFound" }, isCustom, Number.POSITIVE_INFINITY);
      front.cut();
    },
    told: { code: /^KUBE_NOT_FOUND$/, remedy: /not installed/ },
    end: async ({ server }) => server.faults.clear(),
  },
  {
    name: "the definitions of cilium.io are deleted and made anew",
    guard: "goes",
    begin: async (cluster, traffic) => {
      await cluster.undefine();
      // Their objects are gone with them: whom only such a policy selected, none selects now.
      await traffic.untilGuarded(false);
      // Labels that are known need no new number; what is new of the node cannot be told.
      await cluster.runPods([podOn("node-1", "late", "client")]);
      await cluster.runPods([podOn("node-2", "later", "client")]);
    },
    told: { code: /^PUBLISH_FAILED$/, remedy: /tried again/ },
    end: async (cluster, traffic, t) => {
      const flow = await traffic.passGuard();
      await defineAgain(cluster, traffic);
      await traffic.untilGuarded(true);
      await sleep(1_000);
      const { sent, answered } = await flow.end();
      t.true(answered > 0, "a flow began while there was no policy");
      t.true(sent - answered > 10, `it ends with the policy: ${answered} of ${sent} were answered`);
    },
  },
  {
    name: "the definitions of cilium.io are replaced at once",
    guard: "goes",
    begin: async (cluster, traffic) => {
      await cluster.undefine();
      await defineAgain(cluster, traffic);
    },
    told: null,
    end: (_, traffic) => traffic.untilGuarded(true),
  },
  {
    // To a watch from a version that comes again an API server says nothing until then.
    name: "etcd is restored from a backup of many writes ago",
    begin: async ({ server, client, front }) => {
      const backup = server.store.snapshot();
      for (let n = 0; n < 1_000; n++) {
        await client.create(kinds.configMaps, { metadata: { namespace: "default", name: `lost-${n}` } });
      }
      // Everybody knows versions that were lost, and agents have written theirs.
      const lost = server.store.revision;
      for (const watch of server.watches) watch.expire();
      while ((await agentLeases(client)).some((version) => version <= lost)) await sleep(250);
      await server.stop();
      server.restore(backup);
      await server.start();
      front.cut();
    },
    told: null,
    end: async () => undefined,
  },
];

/** "verb resource.group" of all that the manifests let the agent do. */
function rightsOfAgent(): ReadonlySet<string> {
  const objects = readObjects(join(import.meta.dirname, "../../manifests/base/agent-rbac.yaml"));
  const rules = objects.flatMap((object) => (object as { readonly rules?: readonly Rule[] }).rules ?? []);
  return new Set(
    rules.flatMap(({ apiGroups: [group = ""], resources, verbs }) =>
      resources.flatMap((name) => verbs.map((verb) => `${verb} ${group === "" ? name : `${name}.${group}`}`)),
    ),
  );
}

/** Bytes that a process may have more after all this; what leaks with each fault, or each try, has more. */
const grownBytes = 64 * 2 ** 20;

test("an API server in trouble changes nothing in the kernel, is told in status, and forgotten when it is well again", (t) =>
  withFaultLab(t, async (lab, cluster) => {
    const traffic = await FaultTraffic.prepare(lab, cluster);
    const nodes = ["node-1", "node-2"] as const;
    const healthy = () => untilWell(lab, nodes);
    await healthy();
    const before = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;

    let admitted = false;
    for (const { name, begin, told, end, guard } of faults) {
      const started = Date.now();
      await traffic.during(
        t,
        name,
        async () => {
          await begin(cluster, traffic);
          await lab.stopAgent("node-1", "SIGKILL");
          // It is ready when it has seen the cluster, which may be when the fault is over.
          const starting = lab.startAgent("node-1");
          starting.catch(() => undefined); // awaited below, whatever fails before
          for (const node of told === null ? [] : nodes) {
            const tells = async () => {
              const problems = (await statusOf(lab, node))?.problems ?? [];
              return problems.some(({ code, remedy }) => told?.code.test(code) && told.remedy.test(remedy));
            };
            await lab.until(`${node} tells that ${name}`, tells, 120_000);
          }
          admitted = !admitted;
          await traffic.admitVisitor(admitted);
          if (told === null) await traffic.untilVisitor(admitted);
          await end(cluster, traffic, t);
          await starting;
          await healthy();
          await traffic.untilVisitor(admitted);
        },
        guard,
      );
      t.log(`${name}: ${Date.now() - started} ms`);
    }

    // Everything that agents write is there again, the pods of before and those of meanwhile.
    await lab.until(
      "each pod has its endpoint, with an identity that is an object",
      async () => {
        const identities = await cluster.client.listAll(kinds.ciliumIdentities);
        const numbers = new Set(identities.map(({ metadata }) => metadata.name));
        const endpoints = await cluster.client.listAll(kinds.ciliumEndpoints);
        const known = endpoints.filter(({ status }) => {
          const { identity } = status as { readonly identity: { readonly id: number } };
          return numbers.has(String(identity.id));
        });
        return known.length === 11;
      },
      120_000,
    );
    // Of kinds that were not served at that moment the server knows no name.
    const ofAgents = cluster.server.log.filter(({ by, storage }) => by === "tandem-agent" && storage !== "");
    const asked = new Set(ofAgents.map(({ verb, storage }) => `${verb} ${storage}`));
    const rights = rightsOfAgent();
    t.log(`agents asked for: ${[...asked].sort().join(", ")}`);
    t.true(asked.size > 20);
    t.deepEqual(
      [...asked].filter((one) => !rights.has(one)),
      [],
      "through all of it agents asked for nothing that their role does not let them",
    );
    const after = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;
    t.log(`the agent that lived through it all: ${before >> 20} MB before, ${after >> 20} MB after`);
    t.true(after < before + grownBytes, `${before} bytes before, ${after} after`);
  }));
