/**
 * EndpointSlices that change as fast as an API server writes them (a rollout of everything, probes that flap): a service whose backend is always
 * among them loses no connection, also when the agent is killed in the middle, and every node ends with what was written last.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { type KubeObject, kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { podOn, withFaultLab } from "../support/faults-cluster.ts";
import { connectionsUntil } from "../support/faults-traffic.ts";
import { fetchFrom, podAddress } from "../support/lab.ts";

const services = 100;
const changesEach = 40;
/** Requests under way at once. */
const atOnce = 32;
const port = 8080;
const longestMs = 900_000;

const nameOf = (n: number) => `churn-${n}`;

function slice(name: string, addresses: readonly string[]): KubeObject {
  return {
    metadata: { namespace: "default", name, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "http", protocol: "TCP", port }],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  };
}

/** Which of `count` backends change number `change` leaves; the first is always among those of service 0. */
const chosen = (n: number, change: number, backends: readonly string[]): readonly string[] =>
  backends.filter((_, at) => (n === 0 && at === 0) || ((change * 7 + n + at) >> (at & 1)) % 3 !== 0);

interface Served {
  readonly frontend: string;
  readonly backends: readonly string[];
}

async function kernelHas(lab: Lab, node: string, wanted: ReadonlyMap<string, readonly string[]>): Promise<boolean> {
  const { code, stdout } = await lab.agent(node, ["bpf", "services", "list", "--json"]);
  if (code !== 0) return false;
  const served = new Map((JSON.parse(stdout) as readonly Served[]).map((each) => [each.frontend, each.backends]));
  return [...wanted].every(([frontend, backends]) => {
    const has = served.get(frontend);
    return has !== undefined && [...has].sort().join() === [...backends].sort().join();
  });
}

test("thousands of endpoint changes at once: no connection lost where a backend stays, and the last state on every node", (t) =>
  withFaultLab(t, async (lab, cluster) => {
    const { client } = cluster;
    await cluster.runPods([
      podOn("node-1", "server-1", "server", { ports: [port] }),
      podOn("node-2", "server-2", "server", { ports: [port] }),
      podOn("node-1", "client", "client"),
    ]);
    const real = [await podAddress(lab, "default/server-1"), await podAddress(lab, "default/server-2")];
    // Nobody is there; they are only ever told apart by their entries.
    const backends = [...real, "10.250.0.1", "10.250.0.2", "10.250.0.3"];
    const addresses = Array.from({ length: services }, (_, n) => `10.99.0.${n + 1}`);
    for (const [n, address] of addresses.entries()) {
      await client.create(kinds.services, {
        metadata: { namespace: "default", name: nameOf(n) },
        spec: {
          clusterIP: address,
          clusterIPs: [address],
          ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: port }],
        },
      });
      await client.create(kinds.endpointSlices, slice(nameOf(n), real));
    }
    const steady = addresses[0] ?? "none";
    await lab.until(
      "the service answers",
      async () => (await fetchFrom(lab, "default/client", steady, 80)) !== null,
      120_000,
    );

    const folder = await mkdtemp(join(tmpdir(), "tandem-churn-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const stop = join(folder, "stop");
    const load = lab.exec("default/client", connectionsUntil(stop, `http://${steady}:80/`, 20), {
      timeoutMs: longestMs,
    });
    const began = performance.now();
    // Of service 0 only those come and go that answer; the slices of each service are written in order.
    const write = async (n: number) => {
      for (let change = 1; change <= changesEach; change++) {
        const next = slice(nameOf(n), chosen(n, change, n === 0 ? real : backends));
        await client.apply(kinds.endpointSlices, next, { fieldManager: "churn", force: true });
      }
    };
    const queue = Array.from({ length: services }, (_, n) => n);
    const work = async () => {
      for (let n = queue.shift(); n !== undefined; n = queue.shift()) {
        if (n === services / 2) {
          await lab.stopAgent("node-1", "SIGKILL");
          await lab.startAgent("node-1");
        }
        await write(n);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    const seconds = (performance.now() - began) / 1000;
    t.log(`${services * changesEach} changes, ${Math.round((services * changesEach) / seconds)} a second`);

    const wanted = new Map(
      addresses.map((address, n) => [
        `${address}:80`,
        chosen(n, changesEach, n === 0 ? real : backends).map((each) => `${each}:${port}`),
      ]),
    );
    for (const node of ["node-1", "node-2"]) {
      await lab.until(`${node} has the last state`, () => kernelHas(lab, node, wanted), 240_000);
    }
    await writeFile(stop, "");
    const [answered = 0, unanswered = 0] = (await load).stdout.trim().split(" ").map(Number);
    t.is(unanswered, 0);
    t.true(answered > 0);
  }));
