/**
 * Which endpoints get new connections, as clients in pods, on nodes and outside see it: what EndpointSlices say of pods that end or are not ready yet, ports
 * by their names, and clients that are kept by a backend (sessionAffinity). One lab; each test has a service of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import test from "ava";
import { Lab } from "../../src/lab/lab.ts";
import { beginFlow, labName, pod, podAddress, settled, testLab } from "../support/lab.ts";

const vips = ["203.0.113.20", "2001:db8:aa::20"] as const;
const inside = "default/client";
const onNode = "node/node-1";
const outside = "external/client";

const nodeOfPod = { a: "node-1", b: "node-1", c: "node-2" } as const;
type PodName = keyof typeof nodeOfPod;

let lab: Lab;
const name = labName();

test.before(async (t) => {
  t.timeout(300_000);
  const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;
  const backends = Object.entries(nodeOfPod).map(([each, node]) => pod(each, { node, ports }));
  lab = await testLab(t, { name, objects: [...backends, pod("client", { node: "node-1", ports: [] })] });
  const { ipv4, ipv6 } = lab.node("node-1");
  for (const [at, via] of [ipv4, ipv6].entries()) {
    const { code, stderr } = await lab.exec("tor", ["ip", "route", "replace", vips[at] ?? "", "via", via]);
    t.is(code, 0, stderr);
  }
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
});

/** Its addresses inside, by its number. */
const clusterIps = (number: number) => [`10.96.9.${number}`, `fd00:10:96::9:${number}`] as const;

/** Of both families, TCP and UDP, with two ports of the node from `nodePort` on, and with `vips` where it is of type LoadBalancer. */
const dual = (named: string, number: number, nodePort: number, spec: Readonly<Record<string, unknown>>) => ({
  ...service(named, {
    clusterIP: clusterIps(number)[0],
    clusterIPs: clusterIps(number),
    ipFamilies: ["IPv4", "IPv6"],
    ipFamilyPolicy: "RequireDualStack",
    ports: [
      { name: "tcp", port: 80, nodePort },
      { name: "udp", port: 53, protocol: "UDP", nodePort: nodePort + 1 },
    ],
    ...spec,
  }),
  ...(spec.type === "LoadBalancer" && { status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } } }),
});

/** As the controller writes them (KEP-1672): one that ends serves until its probe fails. */
const conditions = {
  ready: { ready: true, serving: true, terminating: false },
  unready: { ready: false, serving: false, terminating: false },
  ending: { ready: false, serving: true, terminating: true },
  ended: { ready: false, serving: false, terminating: true },
} as const;

/** Its EndpointSlices, which both agents have in their kernels then. */
async function say(
  named: string,
  states: Readonly<Partial<Record<PodName, keyof typeof conditions>>>,
  ...others: readonly object[]
): Promise<void> {
  const slices = await Promise.all(
    ([4, 6] as const).map(async (family) => ({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: {
        name: `${named}-${family}`,
        namespace: "default",
        labels: { "kubernetes.io/service-name": named },
      },
      addressType: `IPv${family}`,
      ports: [
        { name: "tcp", protocol: "TCP", port: 8080 },
        { name: "udp", protocol: "UDP", port: 9000 },
      ],
      endpoints: await Promise.all(
        Object.entries(states).map(async ([each, state]) => ({
          addresses: [await podAddress(lab, `default/${each}`, family)],
          conditions: conditions[state],
          nodeName: nodeOfPod[each as PodName],
        })),
      ),
    })),
  );
  await lab.applyObjects([...slices, ...others]);
  await settled(lab);
}

interface Way {
  readonly from: string;
  readonly kind: "tcp" | "udp";
  readonly address: string;
  readonly port: number;
}
const textOf = ({ from, kind, address, port }: Way) => `${from} by ${kind} to ${address} port ${port}`;

const script = fileURLToPath(new URL("../support/who-answers.js", import.meta.url));

/** Each is used once: datagrams from a port that has a flow go on with its backend. */
let nextPort = 10_000;

/** Who answers `count` sockets, one after the other; "none" for those that nobody does. */
async function answerers({ from, kind, address, port }: Way, count: number, seconds = 10): Promise<string> {
  const words = [process.execPath, script, kind, address, ...[port, count, seconds, nextPort].map(String)];
  nextPort += count;
  const { stdout } = await lab.exec(from, words, { timeoutMs: 180_000 });
  return stdout.trim().replaceAll("default/", "");
}

/** Of each way, a few at a time: the machine has other things to do. */
async function answerersOfAll(ways: readonly Way[], count: number, seconds?: number): Promise<readonly string[]> {
  const seen: string[] = [];
  for (let at = 0; at < ways.length; at += 6)
    seen.push(...(await Promise.all(ways.slice(at, at + 6).map((way) => answerers(way, count, seconds)))));
  return seen;
}

/** Of a dual service: as clients inside ask it, and as those outside do by ports of these nodes. */
function waysOf(number: number, nodePort: number, nodes: readonly string[]) {
  const kinds = [
    { kind: "tcp", port: 80, ownPort: nodePort },
    { kind: "udp", port: 53, ownPort: nodePort + 1 },
  ] as const;
  const waysFrom = (from: string, addresses: readonly string[]) =>
    kinds.flatMap(({ kind, port }) => addresses.map((address): Way => ({ from, kind, address, port })));
  return {
    inside: [inside, onNode].flatMap((from) => waysFrom(from, clusterIps(number))),
    vips: waysFrom(outside, vips),
    nodes: nodes.map((each) => {
      const { ipv4, ipv6 } = lab.node(each);
      return kinds.flatMap(({ kind, ownPort }) =>
        [ipv4, ipv6].map((address): Way => ({ from: outside, kind, address, port: ownPort })),
      );
    }),
  };
}

test.serial("who ends gets nothing new and keeps what it has, and serves on while nobody is ready", async (t) => {
  const ending = (externalTrafficPolicy: "Cluster" | "Local") =>
    dual("ending", 1, 30_080, { type: "LoadBalancer", externalTrafficPolicy });
  const of = waysOf(1, 30_080, ["node-1", "node-2"]);
  const [one = [], two = []] = of.nodes;
  const ways = [...of.inside, ...of.vips, ...one, ...two];
  const all = async (who: string, why: string, { local = who, count = 12, seconds = 10 } = {}) => {
    const expected = ways.map((way) => `${textOf(way)}: ${of.vips.includes(way) || one.includes(way) ? local : who}`);
    const seen = await answerersOfAll(ways, count, seconds);
    t.deepEqual(
      ways.map((way, at) => `${textOf(way)}: ${seen[at]}`),
      expected,
      why,
    );
  };
  await say("ending", { a: "ready" }, ending("Cluster"));
  const kept = ways.filter(({ kind }) => kind === "tcp");
  const flows = await Promise.all(kept.map(({ from, ...way }) => beginFlow(lab, from, way)));

  await say("ending", { a: "ending", b: "ready" });
  await all("b", "one is ready");
  await say("ending", { a: "ending", b: "unready" });
  await all("a", "nobody is ready", { count: 4 });
  await say("ending", { a: "ending", c: "ready" });
  await all("c", "on another node one is ready");
  // Load balancers send to node-1 until its health check fails: it has nobody else (KEP-1669).
  await say("ending", { a: "ending", c: "ready" }, ending("Local"));
  await all("c", "externalTrafficPolicy Local: of each node's own", { local: "a" });
  await say("ending", { a: "ended", b: "unready" }, ending("Cluster"));
  await all("none", "nobody serves", { count: 1, seconds: 2 });

  const counts = await Promise.all(flows.map((flow) => flow.end()));
  for (const [at, { sent, answered, from }] of counts.entries()) {
    const way = kept[at];
    t.deepEqual([answered, from], [sent, ["default/a"]], way && textOf(way));
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
  const way: Way = { from: inside, kind: "tcp", address: "10.96.9.2", port: 80 };
  t.is(await answerers(way, 1, 2), "none");
  await lab.applyObjects([early(true)]);
  await settled(lab);
  t.is(await answerers(way, 2), "early");
  await lab.deleteObjects([waiting]);
  await settled(lab);
  t.is(await answerers(way, 1, 2), "none");
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
  const ask = (from: string, address: string, at: number) => answerers({ from, kind: "tcp", address, port: at }, 24);
  t.is(await ask(inside, clusterIP, 80), "new old");
  t.is(await ask(inside, clusterIP, 81), "new");
  t.is(await ask(outside, ipv4, 30_091), "new old");
  t.is(await ask(outside, ipv4, 30_092), "new");
});

test.serial(
  "sessionAffinity: a client stays with its backend until its time is over or the backend leaves",
  async (t) => {
    const kept = (timeoutSeconds: number) =>
      dual("kept", 4, 30_084, {
        type: "NodePort",
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds } },
      });
    const of = waysOf(4, 30_084, ["node-1"]);
    const ways = [...of.inside, ...of.nodes.flat()];
    const everybody = { a: "ready", b: "ready", c: "ready" } as const;
    await say("kept", everybody, kept(10_800));
    const first = await answerersOfAll(ways, 20);
    let now = first;
    const isOne = () => {
      for (const [at, way] of ways.entries()) t.regex(now[at] ?? "", /^[abc]$/, `${textOf(way)}: one alone`);
    };
    isOne();
    const leaveAndReturn = async (name: string) => {
      await say("kept", { ...everybody, [name]: "unready" });
      const without = await answerersOfAll(ways, 8);
      for (const [at, way] of ways.entries()) {
        if (now[at] === name) t.not(without[at], name, `${textOf(way)}: its backend has left`);
        else t.is(without[at], now[at], `${textOf(way)}: another's has left`);
      }
      now = without;
      isOne();
      await say("kept", everybody);
      t.deepEqual(await answerersOfAll(ways, 8), now, `${name} is back, and all stay where they are`);
    };
    for (const name of ["a", "b", "c"]) await leaveAndReturn(name);
    const [ofHash = 0] = ways.flatMap(({ from }, at) => (from === outside ? [at] : []));
    if (now[ofHash] === first[ofHash]) await leaveAndReturn(first[ofHash] ?? "");

    // Inside chance has the same one again, a few times; who comes from outside is led by his hash, to the first.
    await say("kept", everybody, kept(1));
    let left = ways.map((way, at) => ({ way, at }));
    for (let tries = 0; left.length > 0 && tries < 25; tries++) {
      await sleep(2_500);
      const asked = left.map(({ way }) => way);
      const seen = await answerersOfAll(asked, 1);
      left = left.filter(({ way, at }, index) =>
        way.from === outside ? seen[index] !== first[at] : seen[index] === now[at],
      );
    }
    const late = left.map(({ way }) => textOf(way));
    t.deepEqual(late, [], "their time is over");
  },
);
