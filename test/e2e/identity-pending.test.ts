/**
 * A pod of another node whose labels are new in the cluster, while this node does not know their number: its Pod object and its addresses are
 * known, who it is is not. It is nobody then, and never the outside, which its address would be if only what is known counted: who admits
 * `world`, or every address, does not admit it, and who may go out to `world` does not reach it.
 */
import { kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { SeenRequest } from "../support/api-server/faults.ts";
import { type FaultCluster, podOn, statusOf, untilWell, withFaultLab } from "../support/faults-cluster.ts";
import { beginKnocking, type KnockCounts } from "../support/knock.ts";
import { beginFlow, fetchFrom, podAddress } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

const identities = "ciliumidentities.cilium.io";
const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;
const outside = { world: "world", cidr: "cidr" } as const;

/** What they may do with the outside, and with nobody of the cluster. */
const policies = [
  {
    metadata: { namespace: "default", name: "world" },
    spec: {
      endpointSelector: { matchLabels: { app: outside.world } },
      ingress: [{ fromEntities: ["world"] }],
      egress: [{ toEntities: ["world"] }],
    },
  },
  {
    metadata: { namespace: "default", name: "cidr" },
    spec: {
      endpointSelector: { matchLabels: { app: outside.cidr } },
      ingress: [{ fromCIDR: ["0.0.0.0/0", "::/0"] }],
      egress: [{ toCIDR: ["0.0.0.0/0", "::/0"] }],
    },
  },
];

/** The first who asks for a number gets it, and nobody is told of it. @returns ends it */
function holdNumbersBack({ server, front }: FaultCluster): () => void {
  for (const watch of server.watchesOf(identities)) watch.silence();
  let created = 0;
  const isLate = ({ storage, verb }: SeenRequest) => storage === identities && (verb !== "create" || ++created > 1);
  server.faults.add({ kind: "answer", code: 500, reason: "InternalError" }, isLate, Number.POSITIVE_INFINITY);
  return () => {
    server.faults.clear();
    front.cut();
  };
}

/** Over TCP from the new pod to those of the other node and back, and over UDP. @returns ends it, and tells what passed */
async function beginTrying(lab: Lab): Promise<() => Promise<readonly string[]>> {
  const addressesOf = async (name: string) => [
    await podAddress(lab, `default/${name}`, 4),
    await podAddress(lab, `default/${name}`, 6),
  ];
  const fresh = await addressesOf("fresh");
  const others = [...(await addressesOf("world")), ...(await addressesOf("cidr"))];
  const knocking = await Promise.all([
    beginKnocking(lab, "default/fresh", { addresses: others, port: 8080, everyMs: 20 }),
    beginKnocking(lab, "default/world", { addresses: fresh, port: 8080, everyMs: 20 }),
    beginKnocking(lab, "default/cidr", { addresses: fresh, port: 8080, everyMs: 20 }),
  ]);
  const flows = await Promise.all(
    others.map((address) => beginFlow(lab, "default/fresh", { kind: "udp", address, port: 9000, lifeMs: 400_000 })),
  );
  return async () => {
    const passed: string[] = [];
    const counts: readonly KnockCounts[] = await Promise.all(knocking.map((each) => each.end()));
    for (const [address, count] of counts.flatMap((each) => Object.entries(each)))
      if (count.tried === 0 || count.passed > 0) passed.push(`${address}: ${count.passed} of ${count.tried}`);
    for (const { answered, from } of await Promise.all(flows.map((flow) => flow.end())))
      if (answered > 0) passed.push(`UDP: ${answered} from ${from.join()}`);
    return passed;
  };
}

/** Of each of them, whether it answers. */
function answers(lab: Lab, from: string): Promise<readonly boolean[]> {
  return Promise.all(
    Object.values(outside).flatMap((name) =>
      ([4, 6] as const).map(async (family) => {
        const address = await podAddress(lab, `default/${name}`, family);
        return (await fetchFrom(lab, from, address, 8080, 3)) !== null;
      }),
    ),
  );
}

longTest(
  "a pod whose identity is new is never the outside to pods of other nodes, nor while their agent starts anew",
  (t) =>
    withFaultLab(
      t,
      async (lab, cluster) => {
        for (const policy of policies) await cluster.put(kinds.ciliumNetworkPolicies, policy);
        const servers = Object.values(outside).map((name) => podOn("node-2", name, name, { ports }));
        await cluster.runPods([...servers, podOn("node-1", "known", "known")]);
        await untilWell(lab, ["node-1", "node-2"]);
        await lab.until("the outside is let in", async () => (await answers(lab, "external/client")).every(Boolean));
        await lab.until("a pod is not", async () => !(await answers(lab, "default/known")).some(Boolean));

        const tell = holdNumbersBack(cluster);
        await cluster.runPods([podOn("node-1", "fresh", "fresh", { ports })]);
        const end = await beginTrying(lab);
        try {
          const isDelayed = async () => {
            const problems = (await statusOf(lab, "node-2"))?.problems ?? [];
            return problems.some(({ code, object }) => code === "IDENTITY_DELAYED" && object === "Pod default/fresh");
          };
          await lab.until("node-2 knows the pod and waits for its number", isDelayed, 60_000);
          t.deepEqual(
            await answers(lab, "external/client"),
            [true, true, true, true],
            "the outside is let in all the same",
          );
          await lab.stopAgent("node-2", "SIGKILL");
          // It is ready when it has seen all numbers.
          const starting = lab.startAgent("node-2");
          starting.catch(() => undefined); // awaited below, whatever fails before
          await lab.until("the next agent says what it waits for", async () => {
            const problems = (await statusOf(lab, "node-2"))?.problems ?? [];
            return problems.some(({ code }) => code === "IDENTITIES_STALE");
          });
          tell();
          await starting;
          await untilWell(lab, ["node-1", "node-2"]);
        } finally {
          tell();
          t.deepEqual(await end(), [], "nothing passed");
        }
        // It was not the way that kept it out.
        const [policy] = policies;
        const spec = { ...policy?.spec, ingress: [{ fromEndpoints: [{ matchLabels: { app: "fresh" } }] }] };
        await cluster.put(kinds.ciliumNetworkPolicies, { metadata: { namespace: "default", name: "world" }, spec });
        await lab.until("a policy that names it lets it in", async () => {
          const [four, six, ...cidr] = await answers(lab, "default/fresh");
          return four === true && six === true && !cidr.some(Boolean);
        });
        t.pass();
      },
      { externals: ["client"] },
    ),
);
