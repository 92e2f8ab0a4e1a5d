/**
 * What must hold through every fault: flows that are allowed lose nothing and new ones are answered, and nothing that is denied passes, on
 * the node and between nodes, in both families, by a policy of Kubernetes' kind and by one of Cilium's. The pods, their policies, and traffic
 * that is judged at its end.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { type FaultCluster, podOn } from "./faults-cluster.ts";
import { beginFlow, fetchFrom, type Flow, podAddress } from "./lab.ts";

const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;

/** Four servers that only clients may reach, and for each node one who may and one who may not. */
const pods = [
  podOn("node-1", "server-1", "server", { ports }),
  podOn("node-2", "server-2", "server", { ports }),
  podOn("node-1", "guarded-1", "guarded", { ports }),
  podOn("node-2", "guarded-2", "guarded", { ports }),
  podOn("node-1", "client-1", "client"),
  podOn("node-2", "client-2", "client"),
  podOn("node-1", "stranger-1", "stranger"),
  podOn("node-2", "stranger-2", "stranger"),
  podOn("node-2", "visitor", "visitor"),
];

/** Of Kubernetes' own kind: it outlives the definitions of cilium.io. */
function onlyFrom(name: string, apps: readonly string[]) {
  return {
    metadata: { namespace: "default", name },
    spec: {
      podSelector: { matchLabels: { app: "server" } },
      policyTypes: ["Ingress"],
      ingress: apps.map((app) => ({ from: [{ podSelector: { matchLabels: { app } } }] })),
    },
  };
}

/** Says of the guarded what the other one says of the servers; it goes when its definition does. */
const guard = {
  metadata: { namespace: "default", name: "guard" },
  spec: {
    endpointSelector: { matchLabels: { app: "guarded" } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: "client" } }],
        toPorts: [
          {
            ports: [
              { port: "8080", protocol: "TCP" },
              { port: "9000", protocol: "UDP" },
            ],
          },
        ],
      },
    ],
  },
};
const guarded = ["guarded-1", "guarded-2"] as const;
const strangers = ["stranger-1", "stranger-2"] as const;

/** What comes of the guard: with its definition, it goes and comes back during the work. */
export type GuardFate = "stays" | "goes";

interface Probe {
  readonly from: string;
  readonly kind: "tcp" | "udp";
  readonly to: string;
  readonly family: 4 | 6;
}

// UDP has nobody who sends again: a lost packet is a lost answer.
const allowed: readonly Probe[] = [
  { from: "client-1", kind: "udp", to: "server-2", family: 4 },
  { from: "client-2", kind: "udp", to: "server-1", family: 6 },
  { from: "client-1", kind: "tcp", to: "server-1", family: 4 },
  { from: "client-1", kind: "udp", to: "guarded-2", family: 6 },
  { from: "client-2", kind: "udp", to: "guarded-1", family: 4 },
];
const denied: readonly Probe[] = [
  { from: "stranger-1", kind: "udp", to: "server-1", family: 6 },
  { from: "stranger-2", kind: "udp", to: "server-1", family: 4 },
];
const deniedByGuard: readonly Probe[] = [
  { from: "stranger-1", kind: "udp", to: "guarded-2", family: 4 },
  { from: "stranger-2", kind: "udp", to: "guarded-1", family: 6 },
];

interface JudgedFlow {
  readonly title: string;
  readonly allowed: boolean;
  readonly flow: Flow;
}

/** ms that a fault may take on a machine that does ten other things. */
const longestMs = 900_000;

/** New connections, one after the other until the file `stop` is there: prints how many were answered and how many were not. */
export function connectionsUntil(stop: string, url: string, seconds: number): readonly string[] {
  const try_ = `curl -sg -o /dev/null -m ${seconds} ${url}`;
  const loop = `while [ ! -e ${stop} ]; do if ${try_}; then ok=$((ok+1)); else bad=$((bad+1)); fi; sleep 0.1; done`;
  return ["sh", "-c", `ok=0; bad=0; ${loop}; echo "$ok $bad"`];
}

/** Whatever API server its objects are in. */
export type TrafficCluster = Pick<FaultCluster, "client" | "put" | "runPods">;

export class FaultTraffic {
  readonly #lab: Lab;
  readonly #cluster: TrafficCluster;
  readonly #addresses: ReadonlyMap<string, string>;

  private constructor(lab: Lab, cluster: TrafficCluster, addresses: ReadonlyMap<string, string>) {
    this.#lab = lab;
    this.#cluster = cluster;
    this.#addresses = addresses;
  }

  /** Resolves when the pods run and their policy holds. */
  static async prepare(lab: Lab, cluster: TrafficCluster): Promise<FaultTraffic> {
    await cluster.put(kinds.networkPolicies, onlyFrom("only-clients", ["client"]));
    await cluster.put(kinds.ciliumNetworkPolicies, guard);
    await cluster.runPods(pods);
    const addresses = new Map<string, string>();
    for (const name of ["server-1", "server-2", ...guarded]) {
      for (const family of [4, 6] as const) {
        addresses.set(`${name}/${family}`, await podAddress(lab, `default/${name}`, family));
      }
    }
    const traffic = new FaultTraffic(lab, cluster, addresses);
    for (const server of ["server-1", "server-2", ...guarded]) {
      for (const from of strangers) {
        await lab.until(`${server} is closed to ${from}`, async () => !(await traffic.#reaches(from, server, 1)));
      }
      for (const from of ["client-1", "client-2"]) {
        await lab.until(`${server} is open to ${from}`, () => traffic.#reaches(from, server, 2));
      }
    }
    return traffic;
  }

  /** Says by a policy whether the visitor may reach the servers; what it says holds some time after. */
  async admitVisitor(admitted: boolean): Promise<void> {
    const { client } = this.#cluster;
    const policy = onlyFrom("visitors", ["visitor"]);
    if (admitted) await this.#cluster.put(kinds.networkPolicies, policy);
    else await client.delete(kinds.networkPolicies, policy.metadata);
  }

  /** Until both agents have in force what was said last. */
  async untilVisitor(admitted: boolean): Promise<void> {
    for (const server of ["server-1", "server-2"]) {
      await this.#lab.until(
        `${server} is ${admitted ? "open" : "closed"} to the visitor`,
        async () => (await this.#reaches("visitor", server, 1)) === admitted,
        120_000,
      );
    }
  }

  /** Says by the policy of Cilium's kind who may reach the guarded. */
  putGuard(): Promise<void> {
    return this.#cluster.put(kinds.ciliumNetworkPolicies, guard);
  }

  /** Until both agents have it in force, or that it is gone: no other policy selects the guarded. */
  async untilGuarded(closed: boolean): Promise<void> {
    for (const to of guarded) {
      for (const from of strangers) {
        await this.#lab.until(
          `${to} is ${closed ? "closed" : "open"} to ${from}`,
          async () => (await this.#reaches(from, to, 1)) !== closed,
          120_000,
        );
      }
    }
  }

  /** A flow that the guard denies, begun while there is none. */
  passGuard(): Promise<Flow> {
    const target = { kind: "udp", port: 9000, address: this.#address("guarded-2", 4), lifeMs: longestMs } as const;
    return beginFlow(this.#lab, "default/stranger-1", target);
  }

  /** Traffic while `work` is done. Where the guard goes meanwhile, what it denies is judged when `work` has brought it back. */
  async during(t: ExecutionContext, what: string, work: () => Promise<void>, fate: GuardFate = "stays"): Promise<void> {
    const lab = this.#lab;
    const folder = await mkdtemp(join(tmpdir(), "tandem-faults-"));
    const stop = join(folder, "stop");
    const flows: JudgedFlow[] = [];
    const begin = async (isAllowed: boolean, { from, kind, to, family }: Probe) => {
      const title = `${what}: ${kind} from ${from} to ${to}, IPv${family}`;
      const port = kind === "tcp" ? 8080 : 9000;
      const target = { kind, port, address: this.#address(to, family), lifeMs: longestMs };
      flows.push({ title, allowed: isAllowed, flow: await beginFlow(lab, `default/${from}`, target) });
    };
    const beginDeniedByGuard = () => Promise.all(deniedByGuard.map((probe) => begin(false, probe)));
    const load = (from: string, server: string, seconds: number) =>
      lab.exec(`default/${from}`, connectionsUntil(stop, `http://${this.#address(server, 4)}:8080/`, seconds), {
        timeoutMs: longestMs,
      });
    try {
      await Promise.all([...allowed.map((probe) => begin(true, probe)), ...denied.map((probe) => begin(false, probe))]);
      if (fate === "stays") await beginDeniedByGuard();
      const loads = [
        { allowed: true, running: load("client-2", "server-1", 20) },
        { allowed: true, running: load("client-1", "guarded-1", 20) },
        { allowed: false, running: load("stranger-1", "server-2", 0.3) },
      ];
      await work();
      if (fate === "goes") await beginDeniedByGuard();
      await writeFile(stop, "");
      for (const { allowed, running } of loads) {
        const { stdout, stderr } = await running;
        const [answered = 0, unanswered = 0] = stdout.trim().split(" ").map(Number);
        t.is(allowed ? unanswered : answered, 0, `${what}: new connections, ${allowed ? "allowed" : "denied"}`);
        t.true((allowed ? answered : unanswered) > 0, `${what}: new connections were tried, ${stderr}`);
      }
      await Promise.all(
        flows.splice(0).map(async ({ title, allowed, flow }) => {
          const { sent, answered } = await flow.end();
          t.is(answered, allowed ? sent : 0, `${title}, of ${sent}`);
        }),
      );
    } finally {
      await writeFile(stop, "");
      for (const { flow } of flows) await flow.end().catch(() => undefined); // what failed before is the one to tell
      await rm(folder, { recursive: true, force: true });
    }
  }

  #address(server: string, family: 4 | 6): string {
    return this.#addresses.get(`${server}/${family}`) ?? "none";
  }

  async #reaches(from: string, server: string, seconds: number): Promise<boolean> {
    return (await fetchFrom(this.#lab, `default/${from}`, this.#address(server, 4), 8080, seconds)) !== null;
  }
}
