/**
 * What an API server can do to a cluster, one after the other on one lab. Through each, the kernel goes on with what it had: nothing that is
 * allowed is dropped, nothing that is denied passes; each agent's status says what is wrong while it is, and not after. One agent lives
 * through it, the other is killed and started in the middle of it.
 */
import test from "ava";
import { kinds } from "../../src/kube/index.ts";
import { type FaultCluster, podOn, statusOf, untilWell, withFaultLab } from "../support/faults-cluster.ts";
import { FaultTraffic } from "../support/faults-traffic.ts";
import { one, two } from "../unit/kube/certificates.ts";

interface ApiFault {
  readonly name: string;
  readonly begin: (cluster: FaultCluster) => Promise<void>;
  /** Of a problem that every agent has meanwhile; null: it is no problem. */
  readonly told: { readonly code: RegExp; readonly remedy: RegExp } | null;
  readonly end: (cluster: FaultCluster) => Promise<void>;
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
    name: "the definitions of cilium.io are deleted and made anew",
    begin: async (cluster) => {
      await cluster.undefine();
      // Labels that are known need no new number; what is new of the node cannot be told.
      await cluster.runPods([podOn("node-1", "late", "client")]);
      await cluster.runPods([podOn("node-2", "later", "client")]);
    },
    told: { code: /^PUBLISH_FAILED$/, remedy: /tried again/ },
    end: (cluster) => cluster.define(),
  },
  {
    name: "the definitions of cilium.io are replaced at once",
    begin: async (cluster) => {
      await cluster.undefine();
      await cluster.define();
    },
    told: null,
    end: async () => undefined,
  },
];

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
    for (const { name, begin, told, end } of faults) {
      const started = Date.now();
      await traffic.during(t, name, async () => {
        await begin(cluster);
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
        await end(cluster);
        await starting;
        await healthy();
        await traffic.untilVisitor(admitted);
      });
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
        return known.length === 9;
      },
      120_000,
    );
    const after = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;
    t.log(`the agent that lived through it all: ${before >> 20} MB before, ${after >> 20} MB after`);
    t.true(after < before + grownBytes, `${before} bytes before, ${after} after`);
  }));
