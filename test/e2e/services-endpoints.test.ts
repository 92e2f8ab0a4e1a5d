/**
 * Which endpoints get new connections, as clients in pods and outside see it: what EndpointSlices say of pods that end or are not ready yet, ports
 * by their names, and clients that are kept by a backend (sessionAffinity). One lab; each test has a service of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { Lab } from "../../src/lab/lab.ts";
import { beginFlow, labName, pod, podAddress, settled, testLab } from "../support/lab.ts";

const vip = "203.0.113.20";
const nodePort = 30_090;
const inside = "default/client";
const outside = "external/client";

const nodeOfPod = { a: "node-1", b: "node-1", c: "node-2" } as const;
type PodName = keyof typeof nodeOfPod;

let lab: Lab;
const name = labName();

test.before(async (t) => {
  t.timeout(300_000);
  const backends = Object.entries(nodeOfPod).map(([each, node]) => pod(each, { node }));
  lab = await testLab(t, { name, objects: [...backends, pod("client", { node: "node-1", ports: [] })] });
  const { code, stderr } = await lab.exec("tor", ["ip", "route", "replace", vip, "via", lab.node("node-1").ipv4]);
  t.is(code, 0, stderr);
});

test.after.always(() => Lab.down(name));

interface Spec {
  readonly clusterIP: string;
  readonly ports: readonly object[];
  readonly [field: string]: unknown;
}

const service = (named: string, { clusterIP, ...spec }: Spec) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: named, namespace: "default" },
  spec: { clusterIP, clusterIPs: [clusterIP], ipFamilies: ["IPv4"], ...spec },
  ...(spec.type === "LoadBalancer" && { status: { loadBalancer: { ingress: [{ ip: vip }] } } }),
});

/** As the controller writes them (KEP-1672): one that ends serves until its probe fails. */
const conditions = {
  ready: { ready: true, serving: true, terminating: false },
  unready: { ready: false, serving: false, terminating: false },
  ending: { ready: false, serving: true, terminating: true },
  ended: { ready: false, serving: false, terminating: true },
} as const;

/** Its EndpointSlice, which both agents have in their kernels then. */
async function say(
  named: string,
  states: Readonly<Partial<Record<PodName, keyof typeof conditions>>>,
  ...others: readonly object[]
): Promise<void> {
  const endpoints = await Promise.all(
    Object.entries(states).map(async ([each, state]) => ({
      addresses: [await podAddress(lab, `default/${each}`)],
      conditions: conditions[state],
      nodeName: nodeOfPod[each as PodName],
    })),
  );
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: named, namespace: "default", labels: { "kubernetes.io/service-name": named } },
    addressType: "IPv4",
    ports: [{ name: "", protocol: "TCP", port: 8080 }],
    endpoints,
  };
  await lab.applyObjects([slice, ...others]);
  await settled(lab);
}

/** Who answers `count` connections, one after the other; "none" for those that nobody does. */
async function answerers(from: string, address: string, port: number, count = 12): Promise<string> {
  const loop = `for i in $(seq ${count}); do curl -s -m 5 http://${address}:${port}/ || echo none; done`;
  const { stdout } = await lab.exec(from, ["sh", "-c", loop], { timeoutMs: 120_000 });
  const names = stdout.trim().split("\n");
  return [...new Set(names.map((line) => (line.split(" ")[0] ?? "").replace("default/", "")))].sort().join(" ");
}

test.serial("who ends gets nothing new and keeps what it has, and serves on while nobody is ready", async (t) => {
  const clusterIP = "10.96.9.1";
  const ending = (externalTrafficPolicy: "Cluster" | "Local") =>
    service("ending", { clusterIP, type: "LoadBalancer", externalTrafficPolicy, ports: [{ port: 80, nodePort }] });
  const ways = [
    [inside, clusterIP, 80],
    [outside, vip, 80],
    [outside, lab.node("node-1").ipv4, nodePort],
    [outside, lab.node("node-2").ipv4, nodePort],
  ] as const;
  const all = async (count?: number) => {
    const seen: string[] = [];
    for (const [from, address, port] of ways) seen.push(await answerers(from, address, port, count));
    return seen;
  };
  await say("ending", { a: "ready" }, ending("Cluster"));
  const flows = await Promise.all(
    ways.map(([from, address, port]) => beginFlow(lab, from, { kind: "tcp", address, port })),
  );

  await say("ending", { a: "ending", b: "ready" });
  t.deepEqual(await all(), ["b", "b", "b", "b"], "one is ready");
  await say("ending", { a: "ending", b: "unready" });
  t.deepEqual(await all(4), ["a", "a", "a", "a"], "nobody is ready");
  await say("ending", { a: "ending", c: "ready" });
  t.deepEqual(await all(), ["c", "c", "c", "c"], "on another node one is ready");
  // Load balancers send to node-1 until its health check fails: it has nobody else (KEP-1669).
  await say("ending", { a: "ending", c: "ready" }, ending("Local"));
  t.deepEqual(await all(), ["c", "a", "a", "c"], "externalTrafficPolicy Local: of each node's own");
  await say("ending", { a: "ended", b: "unready" }, ending("Cluster"));
  t.deepEqual(await all(1), ["none", "none", "none", "none"], "nobody serves");

  const counts = await Promise.all(flows.map((flow) => flow.end()));
  for (const [at, { sent, answered, from }] of counts.entries()) {
    const [client, address] = ways[at] ?? [];
    t.is(answered, sent, `${client} by ${address}`);
    t.deepEqual(from, ["default/a"]);
  }
});

test.serial("a pod that is not ready is reached if its service publishes such", async (t) => {
  const early = (publishNotReadyAddresses: boolean) =>
    service("early", {
      clusterIP: "10.96.9.2",
      selector: { app: "early" },
      publishNotReadyAddresses,
      ports: [{ port: 80, targetPort: 8080 }],
    });
  const waiting = pod("early", { node: "node-2", readinessGates: ["example.com/warm"] });
  await lab.applyObjects([waiting, early(false)]);
  await settled(lab);
  t.is(await answerers(inside, "10.96.9.2", 80, 2), "none");
  await lab.applyObjects([early(true)]);
  await settled(lab);
  t.is(await answerers(inside, "10.96.9.2", 80, 2), "early");
  await lab.deleteObjects([waiting]);
  await settled(lab);
  t.is(await answerers(inside, "10.96.9.2", 80, 1), "none");
});

test.serial("a port's name is each pod's own number, and leads to those pods alone that have one", async (t) => {
  const port = (named: string, containerPort: number) => ({ name: named, containerPort, protocol: "TCP" as const });
  const labels = { app: "named" };
  const clusterIP = "10.96.9.3";
  await lab.applyObjects([
    pod("old", { node: "node-1", labels, ports: [port("web", 8080)] }),
    pod("new", { node: "node-2", labels, ports: [port("web", 8081), port("admin", 9001)] }),
    service("named", {
      clusterIP,
      type: "NodePort",
      selector: labels,
      ports: [
        { name: "http", port: 80, targetPort: "web", nodePort: 30_091 },
        { name: "admin", port: 81, targetPort: "admin", nodePort: 30_092 },
      ],
    }),
  ]);
  await settled(lab);
  const { ipv4 } = lab.node("node-1");
  t.is(await answerers(inside, clusterIP, 80, 24), "new old");
  t.is(await answerers(inside, clusterIP, 81), "new");
  t.is(await answerers(outside, ipv4, 30_091, 24), "new old");
  t.is(await answerers(outside, ipv4, 30_092), "new");
});

test.serial(
  "sessionAffinity: a client stays with its backend until its time is over or the backend leaves",
  async (t) => {
    const clusterIP = "10.96.9.4";
    const kept = (timeoutSeconds: number) =>
      service("kept", {
        clusterIP,
        type: "NodePort",
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds } },
        ports: [{ port: 80, nodePort: 30_093 }],
      });
    const ways = [
      [inside, clusterIP, 80],
      [outside, lab.node("node-1").ipv4, 30_093],
    ] as const;
    const everybody = { a: "ready", b: "ready", c: "ready" } as const;
    for (const [from, address, port] of ways) {
      await say("kept", everybody, kept(10_800));
      const first = await answerers(from, address, port, 24);
      t.regex(first, /^[abc]$/, `${from}: one alone`);
      await say("kept", { ...everybody, [first]: "unready" });
      const second = await answerers(from, address, port, 12);
      t.regex(second, /^[abc]$/, `${from}: one alone again`);
      t.not(second, first);
      await say("kept", everybody);
      t.is(await answerers(from, address, port, 24), second, `${from}: the first is back, and the client stays`);
      // By chance it may be the same one again, a few times.
      await say("kept", everybody, kept(1));
      let next = second;
      for (let tries = 0; next === second && tries < 20; tries++) {
        await sleep(2_500);
        next = await answerers(from, address, port, 1);
      }
      t.not(next, second, `${from}: its time is over`);
    }
  },
);
