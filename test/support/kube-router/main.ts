/**
 * kube-router as a program, for where there is no real one: started with kube-router's flags, it reads Nodes and their annotations from the API server, as kube-router does,
 * and is told nothing of the lab. gobgpd is its speaker and the lab's injector what writes its routes; neither outlives it. It reads Nodes once, when it starts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectKube, kinds } from "../../../src/kube/index.ts";
import { gobgpToml } from "../../../src/lab/gobgp-config.ts";
import { createInjector } from "../../../src/lab/injector/compose.ts";
import { kubeRouterPolicies } from "../../../src/lab/kube-router-policies.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { readFlags } from "./flags.ts";
import { nodeFacts, speakerOf } from "./speaker.ts";

const api = "127.0.0.1:50051";
const flags = readFlags(process.argv.slice(2));

async function nodes() {
  const client = connectKube({
    kubeconfig: flags.kubeconfig,
    env: process.env,
    clock: systemClock,
    userAgent: "kube-router",
  });
  try {
    return (await client.listAll(kinds.nodes)).map(nodeFacts);
  } finally {
    await client.close();
  }
}

/** Ends with this process, however that ends, and so does its configuration. */
async function startGobgpd(toml: string): Promise<ChildProcess> {
  const restarting = flags.gracefulRestart ? ["--graceful-restart"] : [];
  const words = ["--pdeathsig", "KILL", "gobgpd", "-f", "/dev/stdin", "-t", "toml", "--api-hosts", api, ...restarting];
  const folder = await mkdtemp(join(tmpdir(), "tandem-kube-router-"));
  const file = join(folder, "gobgpd.toml");
  await writeFile(file, toml);
  const config = await open(file);
  await rm(folder, { recursive: true });
  const child = spawn("setpriv", words, { stdio: [config.fd, "inherit", "inherit"] });
  await config.close();
  return child;
}

const all = await nodes();
const own = all.find(({ name }) => name === flags.hostname);
if (own === undefined) throw new Error(`there is no Node ${flags.hostname}`);
const speaker = speakerOf(own, all, flags);
const policies = kubeRouterPolicies({
  podCidrs: own.podCidrs,
  vips: null,
  peers: speaker.peers,
  nextHopSelf: flags.overrideNextHop,
});
const gobgpd = await startGobgpd(gobgpToml(own.reflects === "server" ? speaker : { ...speaker, policies }));
const { 4: ipv4, 6: ipv6 } = own.addresses;
const injector = await createInjector(
  {
    api,
    addresses: [ipv4, ipv6],
    announcements: [
      { prefix: own.podCidrs[4], nextHop: ipv4 },
      { prefix: own.podCidrs[6], nextHop: ipv6 },
    ],
    multipath: false,
    ...(flags.overlay !== null && { overlay: { type: flags.overlay, encapsulation: "ipip" as const } }),
  },
  (event) => console.log(JSON.stringify({ time: new Date().toISOString(), ...event })),
);
const stop = new AbortController();
const ended = once(gobgpd, "exit");
const stopped = once(process, "SIGTERM");
const running = injector.run(stop.signal);
const isAsked = await Promise.race([stopped.then(() => true), ended.then(() => false)]);
// With graceful restart peers hear nothing of BGP, and routes stay; without it they are told, and what they told is withdrawn.
if (isAsked && flags.gracefulRestart) stop.abort();
gobgpd.kill(flags.gracefulRestart ? "SIGKILL" : "SIGTERM");
await ended;
stop.abort();
await running;
process.exit(isAsked ? 0 : 1);
