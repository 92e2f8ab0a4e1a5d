/**
 * The daemons of a lab with an API server: `tandem-lab-kube control LAB` on the machine (scheduler, and the inner end of the way to the API
 * server), `gate LAB` on the fabric (its outer end), `kubelet LAB NODE` in each node's namespace.
 */
import { writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { systemClock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { connectKube, type KubeClient, parseKubeconfig } from "../../kube/index.ts";
import { agentReady } from "../agents.ts";
import { findCgroupRoot } from "../cgroups.ts";
import { LabError } from "../errors.ts";
import { kubeRouterAnnotations } from "../kube-router.ts";
import { Kubelet } from "../kubelet/kubelet.ts";
import { LabRuntime } from "../kubelet/lab-runtime.ts";
import { NodeStatus } from "../kubelet/node-status.ts";
import { ipNamespaces, NamespaceServer } from "../namespaces.ts";
import { type LabPlan, planLab } from "../plan.ts";
import { readStoredLab } from "../records.ts";
import { findSandboxBinary } from "../runtime.ts";
import { lineLogger } from "./log.ts";
import { startRelay } from "./relay.ts";
import { Scheduler } from "./scheduler.ts";

const stop = new AbortController();
const clock = systemClock;

function connect(kubeconfig: string, userAgent: string): KubeClient {
  return connectKube({ kubeconfig, env: process.env, clock, userAgent });
}

async function control(lab: LabPlan): Promise<void> {
  const { server } = parseKubeconfig(await readFile(lab.api.kubeconfig, "utf8"), lab.api.kubeconfig);
  const { protocol, hostname, port } = new URL(server);
  const host = hostname.replace(/^\[|\]$/g, "");
  const to = { host, port: Number(port) || (protocol === "https:" ? 443 : 80) };
  await startRelay({ path: lab.api.socket }, to, stop.signal);
  tellReady();
  const client = connect(lab.api.kubeconfig, "tandem-lab-scheduler");
  await new Scheduler({ client, clock, log: lineLogger({ part: "scheduler" }) }).run(stop.signal);
  await client.close();
}

async function gate(lab: LabPlan): Promise<void> {
  for (const host of [lab.api.ipv4, lab.api.ipv6])
    await startRelay({ host, port: lab.api.port }, { path: lab.api.socket }, stop.signal);
  tellReady();
}

async function kubelet(lab: LabPlan, name: string, hasKubeRouter: boolean): Promise<void> {
  const node = lab.nodes.find((each) => each.name === name);
  if (node === undefined) throw new LabError("LAB_UNKNOWN", `node ${name}`, `not in lab ${lab.name}`, "");
  const client = connect(lab.api.nodeKubeconfig, `tandem-lab-kubelet (${name})`);
  const sandbox = findSandboxBinary();
  const namespaces = sandbox === null ? null : new NamespaceServer(sandbox);
  const runtime = new LabRuntime(lab, node, clock, namespaces ?? ipNamespaces);
  const networkReady = () => agentReady(node);
  await Promise.all([
    new NodeStatus({
      lab: lab.name,
      node,
      ...(hasKubeRouter && { annotations: kubeRouterAnnotations(lab, node) }),
      client,
      clock,
      log: lineLogger({ part: "node" }),
      networkReady,
    }).run(stop.signal),
    new Kubelet({ nodeName: name, hostIp: node.ipv4, client, runtime, clock, log: lineLogger() }).run(stop.signal),
  ]);
  namespaces?.close();
  await client.close();
}

function tellReady(): void {
  if (process.env.TANDEM_READY_FD !== undefined) writeSync(Number(process.env.TANDEM_READY_FD), "r");
}

for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
const [role, labName = "", name = ""] = process.argv.slice(2);
try {
  const stored = await readStoredLab(labName);
  if (stored === null) throw new LabError("LAB_UNKNOWN", `lab ${labName}`, "is not up", "tandem lab up");
  const lab = planLab(stored, await findCgroupRoot());
  if (role === "control") await control(lab);
  else if (role === "gate") await gate(lab);
  else if (role === "kubelet") await kubelet(lab, name, stored.kubeRouter !== undefined);
  else throw new LabError("LAB_UNKNOWN", String(role), "no such part of a lab", "control, gate or kubelet");
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
