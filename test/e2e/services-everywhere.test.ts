/**
 * Every kind of address that a service has, over TCP, UDP and SCTP and both families, in one piece and in fragments, for every kind of client: pods, those of
 * them that the socket hook does not see, the node, pods of its network, and hosts outside. Both backends answer all of them, from the address that was asked.
 */
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import {
  askFrom,
  askFromOnePort,
  askSctp,
  askWithoutHook,
  backendCode,
  type Question,
  serveSctp,
} from "../support/everywhere.ts";
import { pod, settled, sharedLab } from "../support/lab.ts";

const backend = (name: string, node: string) =>
  pod(name, { node, labels: { app: "backend" }, ports: [], command: [process.execPath, "-e", backendCode(name)] });

const annotated = "service.cilium.io";
const tcpPort = 8080;
const sctpPort = 9100;

/** One of all kinds of address; the lab's own mode is hybrid. */
function service(name: string, number: number, annotations: Readonly<Record<string, string>> = {}) {
  const nodePort = 30_000 + number * 10;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default", annotations },
    spec: {
      type: "LoadBalancer",
      ipFamilyPolicy: "PreferDualStack",
      selector: { app: "backend" },
      externalIPs: [`203.0.113.1${number}`, `2001:db8:aa::1${number}`],
      ports: [
        { name: "tcp", port: 80, targetPort: tcpPort, nodePort },
        { name: "udp", port: 53, targetPort: 9000, protocol: "UDP", nodePort: nodePort + 1 },
        { name: "sctp", port: 90, targetPort: sctpPort, protocol: "SCTP", nodePort: nodePort + 2 },
      ],
    },
    status: { loadBalancer: { ingress: [`203.0.113.2${number}`, `2001:db8:aa::2${number}`].map((ip) => ({ ip })) } },
  };
}

const services = [
  service("plain", 1),
  service("turned", 2, { [`${annotated}/forwarding-mode`]: "snat" }),
  service("direct", 3, { [`${annotated}/forwarding-mode`]: "dsr" }),
  service("few", 4, { [`${annotated}/type`]: "LoadBalancer" }),
  service("chosen", 5, { [`${annotated}/node-selector`]: "tier in (front)" }),
] as const;

const everywhere = sharedLab({
  nodes: 2,
  agent: { loadBalancerMode: "hybrid", externalClusterIps: true },
  objects: [
    backend("a", "node-1"),
    backend("b", "node-2"),
    pod("client", { node: "node-1", ports: [] }),
    pod("far", { node: "node-2", ports: [] }),
    {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node-1", labels: { tier: "front" } },
    },
    pod("host", { node: "node-1", hostNetwork: true, ports: [] }),
    ...services,
  ],
});

let isReady = false;
/** The fabric leads all addresses to the first node, as BGP would that announces them; backends listen. */
async function ready(lab: Lab): Promise<void> {
  if (isReady) return;
  await settled(lab);
  const { ipv4, ipv6 } = lab.node("node-1");
  const clusterIps = (await lab.status()).services.flatMap(({ addresses }) => addresses);
  const own = services.flatMap(({ spec, status }) => [
    ...spec.externalIPs,
    ...status.loadBalancer.ingress.map(({ ip }) => ip),
  ]);
  for (const address of [...clusterIps, ...own]) {
    const [family, via] = address.includes(":") ? ["-6", ipv6] : ["-4", ipv4];
    const { code, stderr } = await lab.exec("tor", ["ip", family, "route", "replace", address, "via", via]);
    if (code !== 0) throw new Error(stderr);
  }
  for (const each of ["default/a", "default/b"]) {
    serveSctp(lab, each, sctpPort);
    await lab.until(`${each} answers`, async () => {
      const address = (await lab.status()).pods.find(({ namespace, name }) => `${namespace}/${name}` === each);
      const question = { kind: "udp", host: address?.addresses[0] ?? "", port: 9000, count: 1, bytes: 20 } as const;
      return (await askFrom(lab, "node/node-1", [question]))[0]?.[0]?.startsWith(each) ?? false;
    });
  }
  isReady = true;
}

/** Of each kind of address. */
async function addresses(lab: Lab, { metadata, spec, status }: (typeof services)[number]) {
  const { services: all } = await lab.status();
  const clusterIps = all.find(({ name }) => name === metadata.name)?.addresses ?? [];
  const loadBalancerIps = status.loadBalancer.ingress.map(({ ip }) => ip);
  const [one, two] = [lab.node("node-1"), lab.node("node-2")];
  const nodes = [one.ipv4, one.ipv6, two.ipv4, two.ipv6];
  return { clusterIps, loadBalancerIps, externalIps: spec.externalIPs, nodes };
}

/** Enough that a backend among two is missed by chance once in 500,000 questions. */
const count = 20;

async function questionsOf(lab: Lab, of: (typeof services)[number], kinds: readonly Question["kind"][], bytes: number) {
  const { clusterIps, loadBalancerIps, externalIps, nodes } = await addresses(lab, of);
  const ports = Object.fromEntries(of.spec.ports.map((port) => [port.name, port]));
  return kinds.flatMap((kind): readonly Question[] => {
    const port = ports[kind === "tcp" ? "tcp" : "udp"];
    const ask = (hosts: readonly string[], number = 0) =>
      hosts.map((host): Question => ({ kind, host, port: number, count, bytes }));
    return [...ask([...clusterIps, ...loadBalancerIps, ...externalIps], port?.port), ...ask(nodes, port?.nodePort)];
  });
}

const namesOf = (answers: readonly string[]) => [...new Set(answers.map((answer) => answer.split(" ")[0]))].sort();
const peersOf = (answers: readonly string[], name: string) =>
  answers.filter((answer) => answer.startsWith(`${name} `)).map((answer) => answer.split(" ")[1]);
const textOf = ({ kind, host, port, bytes }: Question) => `${kind} ${host} port ${port}, ${bytes} bytes`;
const both = ["default/a", "default/b"];

everywhere("every address of a service answers every client, over TCP and UDP", async (t, lab) => {
  await ready(lab);
  const [plain] = services;
  const questions = [
    ...(await questionsOf(lab, plain, ["tcp", "udp", "connected"], 60)),
    ...(await questionsOf(lab, plain, ["udp"], 4_000)),
  ];
  const outside = questions.filter(({ kind }) => kind !== "connected");
  const mapped = questions
    .filter(({ host }) => !host.includes(":"))
    .map((question) => ({ ...question, host: `::ffff:${question.host}` }));
  for (const [who, asked, results] of [
    ["default/client", questions, await askFrom(lab, "default/client", questions)],
    ["default/client, mapped", mapped, await askFrom(lab, "default/client", mapped)],
    ["default/client without the hook", questions, await askWithoutHook(lab, "default/client", questions)],
    ["default/host", questions, await askFrom(lab, "default/host", questions)],
    ["node/node-2", questions, await askFrom(lab, "node/node-2", questions)],
    ["external/client", outside, await askFrom(lab, "external/client", outside)],
  ] as const)
    for (const [at, question] of asked.entries())
      t.deepEqual(namesOf(results[at] ?? []), both, `${who}: ${textOf(question)}: ${results[at]?.join()}`);
});

everywhere("all addresses of a service answer one port of a client's at once", async (t, lab) => {
  await ready(lab);
  const [, turned] = services;
  for (const kind of ["tcp", "connected"] as const) {
    const questions = (await questionsOf(lab, turned, [kind], 60)).map((question) => ({ ...question, count: 1 }));
    for (const [who, hook] of [
      ["default/client", false],
      ["external/client", true],
    ] as const) {
      const results = await askFromOnePort(lab, who, questions, hook);
      const wrong = questions.flatMap((question, at) =>
        /^default\/[ab] /.test(results[at]?.join() ?? "") ? [] : `${textOf(question)}: ${results[at]?.join()}`,
      );
      t.deepEqual(wrong, [], who);
    }
  }
});

everywhere("who answers clients outside is the setting's, or what the annotation says", async (t, lab) => {
  await ready(lab);
  const { ipv4, ipv6 } = lab.node("node-1");
  const [external] = lab.plan.externals;
  for (const [of, direct] of [
    [services[0], { tcp: true, udp: false }],
    [services[1], { tcp: false, udp: false }],
    [services[2], { tcp: true, udp: true }],
  ] as const) {
    const hosts = of.status.loadBalancer.ingress.map(({ ip }) => ip);
    const questions = (["tcp", "udp"] as const).flatMap((kind) =>
      hosts.flatMap((host) =>
        [60, 4_000].map((bytes): Question => ({ kind, host, port: kind === "tcp" ? 80 : 53, count, bytes })),
      ),
    );
    const results = await askFrom(lab, "external/client", questions);
    for (const [at, question] of questions.entries()) {
      const answers = results[at] ?? [];
      // A packet that is full has no room for the service's address, which what begins a flow takes along; TCP begins with small ones.
      const isDirect = question.kind === "tcp" ? direct.tcp : direct.udp && question.bytes < 1_400;
      const [client, node] = question.host.includes(":") ? [external?.ipv6, ipv6] : [external?.ipv4, ipv4];
      const why = `${of.metadata.name}: ${textOf(question)}: ${answers.join()}`;
      t.deepEqual(namesOf(answers), both, why);
      t.deepEqual([...new Set(peersOf(answers, "default/b"))], [isDirect ? client : node], why);
    }
  }
});

everywhere("a service that is to be a load balancer's address alone is nothing else", async (t, lab) => {
  await ready(lab);
  const [, , , few] = services;
  const { clusterIps, loadBalancerIps, externalIps, nodes } = await addresses(lab, few);
  const ask = (hosts: readonly string[], port: number) =>
    hosts.map((host): Question => ({ kind: "tcp", host, port, count: 1, bytes: 20 }));
  const served = ask([...loadBalancerIps, ...externalIps], 80);
  for (const from of ["default/client", "external/client"])
    for (const [at, answers] of (await askFrom(lab, from, served)).entries())
      t.regex(answers.join(), /^default\/[ab] /, `${from}: ${served[at]?.host}`);
  const closed = ask(nodes, few.spec.ports[0]?.nodePort ?? 0);
  for (const [at, answers] of (await askFrom(lab, "external/client", closed)).entries())
    t.deepEqual(answers, ["ECONNREFUSED"], closed[at]?.host);
  const { stdout } = await lab.agent("node-1", ["service", "get", "default/few"]);
  for (const address of clusterIps) t.false(stdout.includes(`${address}:80`), stdout);
});

everywhere(
  "a service that is for some nodes is served by these alone, for clients of the others, too",
  async (t, lab) => {
    await ready(lab);
    const [, , , , chosen] = services;
    const hosts = chosen.status.loadBalancer.ingress.map(({ ip }) => ip);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const ask = (from: string, asked: readonly string[], port = 80, sockets = count) =>
      askFrom(
        lab,
        from,
        asked.map((host) => ({ kind: "tcp", host, port, count: sockets, bytes: 20 })),
      );
    const nodePort = chosen.spec.ports[0]?.nodePort ?? 0;
    // What the other node does not serve it takes where the fabric does.
    for (const [at, host] of hosts.entries()) {
      const via = at === 0 ? lab.plan.tor.ipv4 : lab.plan.tor.ipv6;
      const { code, stderr } = await lab.exec("node/node-2", ["ip", "route", "add", host, "via", via]);
      t.is(code, 0, stderr);
    }
    for (const from of ["default/client", "external/client", "default/far", "node/node-2"])
      for (const answers of await ask(from, hosts)) t.deepEqual(namesOf(answers), both, `${from}: ${answers.join()}`);
    for (const answers of await ask("external/client", [one.ipv4, one.ipv6], nodePort))
      t.deepEqual(namesOf(answers), both);
    for (const answers of await ask("external/client", [two.ipv4, two.ipv6], nodePort))
      t.deepEqual(answers, ["ECONNREFUSED"]);

    // Clients outside who come to the other one are told, and sent nowhere: its routes lead back to the fabric.
    for (const [at, host] of hosts.entries()) {
      const [family, via] = at === 0 ? ["-4", two.ipv4] : ["-6", two.ipv6];
      await lab.exec("tor", ["ip", family, "route", "replace", host, "via", via]);
    }
    // The kernel tells one a second.
    for (const answers of await ask("external/client", hosts, 80, 1)) t.regex(answers.join(), /^E(HOST|NET)UNREACH$/);
    const trace = async (node: string) =>
      (await lab.agent(node, ["service", "trace", "198.18.0.200", `${hosts[0]}:80`])).stdout;
    t.regex(await trace("node-2"), /its service is for other nodes/);
    t.regex(await trace("node-1"), /gets: A BACKEND/);
    const { stdout } = await lab.agent("node-2", ["service", "get", "default/chosen"]);
    t.regex(stdout, /served on nodes with: tier in \(front\)/);
  },
);

everywhere(
  "SCTP: an association begins at every address, for pods, the node itself and clients outside",
  async (t, lab) => {
    await ready(lab);
    const [plain] = services;
    const { clusterIps, loadBalancerIps, externalIps, nodes } = await addresses(lab, plain);
    const asked = [
      ...[...clusterIps, ...loadBalancerIps, ...externalIps].map((host) => [host, 90] as const),
      ...nodes.map((host) => [host, plain.spec.ports[2]?.nodePort ?? 0] as const),
    ];
    const ask = (from: string, of = asked) =>
      Promise.all(of.map(([host, port]) => askSctp(lab, from, host, port, count)));
    const clients = ["default/client", "external/client"] as const;
    for (const [who, results] of (await Promise.all(clients.map((from) => ask(from)))).entries())
      for (const [at, names] of results.entries())
        t.deepEqual([...new Set(names)].sort(), both, `${clients[who]}: ${asked[at]?.join(" port ")}`);
    // What the node sends to its own addresses goes by its loopback, where nobody sees it; the rest where its default route leads.
    const elsewhere = asked.filter(([host]) => host !== nodes[0] && host !== nodes[1]);
    const { tor } = lab.plan;
    const byDefault = async (op: "add" | "del") => {
      for (const [family, via] of Object.entries({ "-4": tor.ipv4, "-6": tor.ipv6 }))
        await mustRun(["ip", "-n", lab.node("node-1").netns, family, "route", op, "default", "via", via]);
    };
    await byDefault("add");
    try {
      for (const [at, names] of (await ask("node/node-1", elsewhere)).entries())
        t.deepEqual([...new Set(names)].sort(), both, `node-1 itself: ${elsewhere[at]?.join(" port ")}`);
    } finally {
      await byDefault("del");
    }
  },
);
