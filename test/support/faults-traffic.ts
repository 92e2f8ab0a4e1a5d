/**
 * What must hold through every fault: flows that are allowed lose nothing and new ones are answered, and nothing that is denied passes, on
 * the node and between nodes, in both families. The pods, their policy, and traffic that is judged at its end.
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

/** Two servers that only clients may reach, and for each node one who may and one who may not. */
const pods = [
  podOn("node-1", "server-1", "server", { ports }),
  podOn("node-2", "server-2", "server", { ports }),
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

/** ms that a fault may take on a machine that does ten other things. */
const longestMs = 900_000;

/** New connections, one after the other until the file `stop` is there: prints how many were answered and how many were not. */
export function connectionsUntil(stop: string, url: string, seconds: number): readonly string[] {
  const try_ = `curl -sg -o /dev/null -m ${seconds} ${url}`;
  const loop = `while [ ! -e ${stop} ]; do if ${try_}; then ok=$((ok+1)); else bad=$((bad+1)); fi; sleep 0.05; done`;
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
    await cluster.runPods(pods);
    const addresses = new Map<string, string>();
    for (const name of ["server-1", "server-2"]) {
      for (const family of [4, 6] as const) {
        addresses.set(`${name}/${family}`, await podAddress(lab, `default/${name}`, family));
      }
    }
    const traffic = new FaultTraffic(lab, cluster, addresses);
    for (const server of ["server-1", "server-2"]) {
      for (const from of ["stranger-1", "stranger-2"]) {
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

  /** Traffic while `work` is done. */
  async during(t: ExecutionContext, what: string, work: () => Promise<void>): Promise<void> {
    const lab = this.#lab;
    const folder = await mkdtemp(join(tmpdir(), "tandem-faults-"));
    const stop = join(folder, "stop");
    const flows: { readonly title: string; readonly allowed: boolean; readonly flow: Flow }[] = [];
    const begin = async (allowed: boolean, from: string, kind: "tcp" | "udp", server: string, family: 4 | 6) => {
      const title = `${what}: ${kind} from ${from} to ${server}, IPv${family}`;
      const port = kind === "tcp" ? 8080 : 9000;
      const target = { kind, port, address: this.#address(server, family), lifeMs: longestMs };
      flows.push({ title, allowed, flow: await beginFlow(lab, `default/${from}`, target) });
    };
    const load = (from: string, server: string, seconds: number) =>
      lab.exec(`default/${from}`, connectionsUntil(stop, `http://${this.#address(server, 4)}:8080/`, seconds), {
        timeoutMs: longestMs,
      });
    try {
      await Promise.all([
        // UDP has nobody who sends again: a lost packet is a lost answer.
        begin(true, "client-1", "udp", "server-2", 4),
        begin(true, "client-2", "udp", "server-1", 6),
        begin(true, "client-1", "tcp", "server-1", 4),
        begin(false, "stranger-1", "udp", "server-1", 6),
        begin(false, "stranger-2", "udp", "server-1", 4),
      ]);
      const [fresh, refused] = [load("client-2", "server-1", 20), load("stranger-1", "server-2", 0.3)];
      await work();
      await writeFile(stop, "");
      for (const [loaded, allowed] of [
        [await fresh, true],
        [await refused, false],
      ] as const) {
        const [answered = 0, unanswered = 0] = loaded.stdout.trim().split(" ").map(Number);
        t.is(allowed ? unanswered : answered, 0, `${what}: new connections, ${allowed ? "allowed" : "denied"}`);
        t.true((allowed ? answered : unanswered) > 0, `${what}: new connections were tried, ${loaded.stderr}`);
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
