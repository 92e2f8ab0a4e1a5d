/** A lab for one end-to-end test: of its own name, taken down whatever happens, its logs shown when the test fails. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import { Barrier } from "../../src/lab/conformance/settled.ts";
import { Lab } from "../../src/lab/lab.ts";
import { type TestLabOptions, withKubeRouter } from "./lab-kube-router.ts";
export { pod, podAddress } from "./lab-pods.ts";

let count = 0;

/** Unique among the test processes of this machine. */
export function labName(): string {
  return `t${process.pid.toString(36)}x${count++}`;
}

/** Brings a lab up, with the kube-router that labs of tests have. Defaults as of withLab(); who calls it takes it down. */
export function testLab(t: Pick<ExecutionContext, "log">, options: TestLabOptions): Promise<Lab> {
  return Lab.up(withKubeRouter({ nodes: 2, ...options }, (why) => t.log(why)));
}

/** Brings a lab up, runs `work`, takes it down. Defaults: two nodes, one external client, agents on. */
export async function withLab(
  t: ExecutionContext,
  options: Omit<TestLabOptions, "name">,
  work: (lab: Lab) => Promise<void>,
): Promise<void> {
  t.timeout(600_000);
  const name = labName();
  t.teardown(() => Lab.down(name));
  try {
    await work(await testLab(t, { ...options, name }));
  } catch (error) {
    await showLogs(t, name);
    throw error;
  }
}

/**
 * One lab for several tests of a file, as making it costs more than most of them. They run one after the other, in the order of the file, and each leaves the
 * lab to the next as it found it. Defaults as of withLab().
 */
export function sharedLab(
  options: Omit<TestLabOptions, "name">,
): (title: string, body: (t: ExecutionContext, lab: Lab) => Promise<void>) => void {
  const name = labName();
  let lab: Promise<Lab> | null = null;
  let turn: Promise<unknown> = Promise.resolve();
  test.after.always(() => (lab === null ? undefined : Lab.down(name)));
  return (title, body) =>
    test(title, async (t) => {
      t.timeout(600_000);
      const mine = turn.then(async () => {
        lab ??= testLab(t, { ...options, name });
        await body(t, await lab);
      });
      // One that fails has its own report; the others have their turn all the same.
      const over = mine.catch(() => showLogs(t, name));
      turn = over;
      await mine.finally(() => over);
    });
}

async function showLogs(t: ExecutionContext, name: string): Promise<void> {
  const lab = await Lab.open(name).catch(() => null);
  for (const node of lab?.plan.nodes ?? []) {
    const log = await readFile(`${node.folder}/agent.log`, "utf8").catch(() => "");
    if (log !== "") t.log(`${node.name}:\n${log.trimEnd().split("\n").slice(-15).join("\n")}`);
  }
}

/** Annotation that shows what goes through these ports, as "<Ingress/8080/TCP/HTTP>", and enforces nothing. */
export const visibility = (ports: string) => ({ "policy.cilium.io/proxy-visibility": ports });

/** Only pods `app: client` may reach the pods `app: server`, by TCP port 8080 and UDP port 9000. */
export const clientsOnly = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "server", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "server" } },
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { app: "client" } } }],
        ports: [
          { protocol: "TCP", port: 8080 },
          { protocol: "UDP", port: 9000 },
        ],
      },
    ],
  },
} as const;

/** One HTTP request from `from`; the answer's text, or null when there is none within `seconds`. Who expects none says how long is enough. */
export async function fetchFrom(
  lab: Lab,
  from: string,
  address: string,
  port: number,
  seconds = 20,
): Promise<string | null> {
  const host = address.includes(":") ? `[${address}]` : address;
  const { code, stdout } = await lab.exec(from, ["curl", "-sg", "-m", String(seconds), `http://${host}:${port}/`]);
  return code === 0 ? stdout.trim() : null;
}

export interface FlowCount {
  readonly sent: number;
  readonly answered: number;
  /** "namespace/pod" of who answered. */
  readonly from: readonly string[];
}

export interface Flow {
  /** Sends no more, waits for late answers, and tells what test/support/flow.js counted. */
  end(): Promise<FlowCount>;
}

export interface FlowOptions {
  readonly kind: "tcp" | "udp";
  readonly address: string;
  readonly port: number;
  /** ms that it lives at most, when a test forgets it; 3 minutes. */
  readonly lifeMs?: number;
  /** ms that it waits for the last answer; 3 s. What TCP lost is sent again after pauses that double. */
  readonly lateMs?: number;
  /** The client's own; several flows may have one. */
  readonly localPort?: number;
}

/** One socket, a message each 20 ms until its end. Resolves when the first 20 were sent, over TCP answered too. */
export async function beginFlow(
  lab: Lab,
  from: string,
  { kind, address, port, lifeMs = 180_000, lateMs = 3_000, localPort = 0 }: FlowOptions,
): Promise<Flow> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-flow-"));
  const file = join(folder, "flow");
  const script = new URL("flow.js", import.meta.url).pathname;
  const words = [process.execPath, script, kind, address, String(port), file, "20", String(lateMs), String(localPort)];
  let ended = false;
  const running = lab.exec(from, words, { timeoutMs: lifeMs }).then(async (result) => {
    ended = true;
    await rm(folder, { recursive: true, force: true });
    return result;
  });
  const end = async () => {
    await writeFile(`${file}.end`, "").catch(() => undefined); // it ended by itself, and its folder is gone
    const { stdout, stderr } = await running;
    if (stdout === "") throw new Error(`no ${kind} flow from ${from} to ${address}: ${stderr}`);
    return JSON.parse(stdout) as FlowCount;
  };
  try {
    await lab.until(
      `a ${kind} flow from ${from} to ${address} begins`,
      async () => ended || existsSync(`${file}.begun`),
    );
  } catch (error) {
    await writeFile(`${file}.end`, "");
    throw error;
  }
  return { end };
}

/** A flow while `work` is done. */
export async function flowFrom(
  lab: Lab,
  from: string,
  options: FlowOptions,
  work: () => Promise<unknown> = async () => undefined,
): Promise<FlowCount> {
  const flow = await beginFlow(lab, from, options);
  try {
    await work();
  } catch (error) {
    await flow.end();
    throw error;
  }
  return flow.end();
}

/**
 * Lines that `tandem monitor` of a node tells while `work` is done again and again, each time as new flows: some begin after it listens.
 * How soon it does nobody knows: it is given longer until it told `enough`.
 */
export async function monitoredLines(
  lab: Lab,
  node: string,
  options: readonly string[],
  work: () => Promise<void>,
  enough: (lines: readonly string[]) => boolean,
): Promise<readonly string[]> {
  for (let timeoutMs = 6_000; ; timeoutMs *= 2) {
    let watched = false;
    const watching = lab.agent(node, ["monitor", ...options], { timeoutMs }).finally(() => {
      watched = true;
    });
    while (!watched) await work();
    // Killed in the middle of its last line, perhaps.
    const lines = (await watching).stdout.split("\n").slice(0, -1);
    if (enough(lines) || timeoutMs > 60_000) return lines;
  }
}

/** The same as events. */
export async function monitored<Event>(
  lab: Lab,
  node: string,
  work: () => Promise<void>,
  enough: (events: readonly Event[]) => boolean,
): Promise<readonly Event[]> {
  const eventsOf = (lines: readonly string[]) => lines.map((line) => JSON.parse(line) as Event);
  return eventsOf(await monitoredLines(lab, node, ["--json"], work, (lines) => enough(eventsOf(lines))));
}

/** Until every agent has in its kernel what the lab's manifests say now: a lab's own commands return when pods run or are gone, not later. */
export function settled(lab: Lab): Promise<void> {
  return new Barrier(lab.plan).pass();
}

/** What `tandem status --json` of a node's agent says, without a process for each time that somebody asks. */
export async function agentStatus(lab: Lab, node: string): Promise<StatusDto> {
  return (await lab.agentStatus(node)) as StatusDto;
}

/** The name of the pod that answered, null when nobody did. */
export async function answererOf(
  lab: Lab,
  from: string,
  address: string,
  port: number,
  seconds = 20,
): Promise<string | null> {
  return (await fetchFrom(lab, from, address, port, seconds))?.split(" ")[0] ?? null;
}
