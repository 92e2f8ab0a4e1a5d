/**
 * What a cluster of 100 nodes, 10,000 pods, 1,000 services and 1,000 policies costs the agent of one of its nodes: start, memory, CPU and
 * requests while nothing happens; and what it costs the operator that leads. Beside it: a bare node that fetches and decodes the same lists; a
 * node that holds nothing; the same agent with a tenth of the pods; the leases that any agent has to renew.
 */
import { join } from "node:path";
import { collectionPath } from "../src/kube/kinds.ts";
import { kinds } from "../src/kube/index.ts";
import { type KubeNode, pause, type Watched } from "./kube-node.ts";
import { inNetns, median, root, type Row, sh } from "./support.ts";

export interface SizeOptions {
  readonly rounds: number;
  readonly pods: number;
  readonly policies: number;
  /** s of looking on while nothing happens. */
  readonly idleSeconds: number;
}

/** s after which what a start needed and garbage collection finds is given back. */
const settleSeconds = 15;
/** s between two renewals of the agent's Lease. */
const leaseSeconds = 10;

const followed = [
  kinds.namespaces,
  kinds.nodes,
  kinds.pods,
  kinds.services,
  kinds.endpointSlices,
  kinds.networkPolicies,
  kinds.ciliumNetworkPolicies,
  kinds.ciliumClusterwideNetworkPolicies,
  kinds.ciliumCidrGroups,
  kinds.ciliumIdentities,
];

interface Bare {
  readonly ms: number;
  readonly cpuMs: number;
  readonly rss: number;
  readonly bytes: number;
}

async function bareClient(node: KubeNode): Promise<Bare> {
  const script = join(root, "bench/tools/list-all.js");
  const paths = followed.map((kind) => collectionPath(kind));
  return JSON.parse(await sh(inNetns(node.plan.netns, [process.execPath, script, node.server.url, ...paths]))) as Bare;
}

interface Idle {
  /** Share of a core. */
  readonly core: number;
  /** To the API server, each second. */
  readonly requests: number;
}

async function idle(node: KubeNode, who: Watched, seconds: number): Promise<Idle> {
  await node.server.counts();
  const before = { cpu: await node.cpuSeconds(who), at: performance.now() };
  await pause(seconds);
  const elapsed = (performance.now() - before.at) / 1_000;
  const core = ((await node.cpuSeconds(who)) - before.cpu) / elapsed;
  const counts = await node.server.counts();
  const asked = [...counts].map(([what, n]) => `${n} ${what}`).join(", ");
  console.log(`the ${who} asked in ${elapsed.toFixed(0)} s without a change: ${asked}`);
  return { core, requests: [...counts.values()].reduce((sum, count) => sum + count, 0) / elapsed };
}

async function operatorRows(
  node: KubeNode,
  pods: number,
  nothing: number,
  idleSeconds: number,
): Promise<readonly Row[]> {
  await node.startOperator();
  try {
    await pause(settleSeconds);
    const { rss, peak } = await node.memory("operator");
    const { core, requests } = await idle(node, "operator", idleSeconds);
    return [
      {
        what: `operator that leads: resident memory, ${pods} pods and their endpoints`,
        figure: `${rss.toFixed(0)} MB (at most ${peak.toFixed(0)})`,
        baseline: `${nothing.toFixed(0)} MB (node that holds nothing)`,
        ratio: nothing / rss,
        aim: "",
      },
      {
        what: "  CPU while nothing happens",
        figure: `${(core * 100).toFixed(2)} % of a core`,
        baseline: "",
        ratio: null,
        aim: "",
      },
      { what: "  requests a second", figure: requests.toFixed(3), baseline: "", ratio: null, aim: "" },
    ];
  } finally {
    await node.stopOperator();
  }
}

/** Leaves the agent running, with the cluster of that size. */
export async function clusterSize(node: KubeNode, options: SizeOptions): Promise<readonly Row[]> {
  const { rounds, pods, policies, idleSeconds } = options;
  const tenth = pods / 10;
  await node.serve({ pods: tenth, policies });
  await node.startAgent();
  await pause(settleSeconds);
  const small = await node.memory("agent");
  const nothing = Number(await sh([process.execPath, "-e", "console.log(process.memoryUsage().rss)"])) / 1e6;

  await node.serve({ pods, policies });
  const operator = await operatorRows(node, pods, nothing, idleSeconds);
  const starts: { readonly syncedMs: number; readonly readyMs: number; readonly cpuMs: number }[] = [];
  const bare: Bare[] = [];
  // A server's first answers are slower than those that follow, and would be held against whoever asks first.
  await bareClient(node);
  for (let round = 0; round < rounds; round++) {
    await node.stopAgent();
    bare.push(await bareClient(node));
    const times = await node.startAgent();
    starts.push({ ...times, cpuMs: (await node.cpuSeconds("agent")) * 1_000 });
  }
  await pause(settleSeconds);
  const large = await node.memory("agent");
  const { core, requests } = await idle(node, "agent", idleSeconds);
  const later = await node.memory("agent");

  const [syncedMs, readyMs] = [median(starts.map((each) => each.syncedMs)), median(starts.map((each) => each.readyMs))];
  const bareMs = median(bare.map(({ ms }) => ms));
  const listed = (bare[0]?.bytes ?? 0) / 1e6;
  const perPod = ((large.rss - small.rss) * 1e3) / (pods - tenth);
  return [
    {
      what: `start to all synced, ${pods} pods, ${listed.toFixed(0)} MB of lists`,
      figure: `${syncedMs.toFixed(0)} ms`,
      baseline: `${bareMs.toFixed(0)} ms (bare node fetches and decodes them)`,
      ratio: bareMs / syncedMs,
      aim: "< 3000 ms",
    },
    {
      what: "  and to ready, the kernel included",
      figure: `${readyMs.toFixed(0)} ms`,
      baseline: `${bareMs.toFixed(0)} ms (the same)`,
      ratio: bareMs / readyMs,
      aim: "",
    },
    {
      what: "  CPU of all that",
      figure: `${median(starts.map(({ cpuMs }) => cpuMs)).toFixed(0)} ms`,
      baseline: `${median(bare.map(({ cpuMs }) => cpuMs)).toFixed(0)} ms (the same)`,
      ratio: median(bare.map(({ cpuMs }) => cpuMs)) / median(starts.map(({ cpuMs }) => cpuMs)),
      aim: "",
    },
    {
      what: `resident memory, ${pods} pods, ${policies} policies`,
      figure: `${large.rss.toFixed(0)} MB (at most ${large.peak.toFixed(0)})`,
      baseline: `${nothing.toFixed(0)} MB (node that holds nothing)`,
      ratio: nothing / large.rss,
      aim: "< 250 MB",
    },
    {
      what: `  and ${idleSeconds} s later: V8 gives back what a start needed when little happens`,
      figure: `${later.rss.toFixed(0)} MB`,
      baseline: `${nothing.toFixed(0)} MB (the same)`,
      ratio: nothing / later.rss,
      aim: "",
    },
    {
      what: "  the same beside a node that holds the decoded lists",
      figure: `${large.rss.toFixed(0)} MB`,
      baseline: `${median(bare.map(({ rss }) => rss)).toFixed(0)} MB`,
      ratio: median(bare.map(({ rss }) => rss)) / large.rss,
      aim: "",
    },
    {
      what: `  for each pod of another node`,
      figure: `${perPod.toFixed(1)} KB`,
      baseline: `${small.rss.toFixed(0)} MB with ${tenth} pods`,
      ratio: null,
      aim: "< 10 KB",
    },
    {
      what: "CPU while nothing happens",
      figure: `${(core * 100).toFixed(2)} % of a core`,
      baseline: "",
      ratio: null,
      aim: "< 2 %",
    },
    {
      what: "requests a second while nothing happens",
      figure: requests.toFixed(3),
      baseline: `${(1 / leaseSeconds).toFixed(3)} (a Lease each ${leaseSeconds} s)`,
      ratio: 1 / leaseSeconds / requests,
      aim: "leases only",
    },
    ...operator,
  ];
}
