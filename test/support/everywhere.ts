/** Backends and clients of services-everywhere.test.ts: who answers shows whom it sees, with as many bytes as it got. */
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { run } from "../../src/lab/run.ts";
import { probeBinary } from "../../src/lab/runtime.ts";

/** A program that answers "NAME PEER" at TCP 8080 and UDP 9000. */
export const backendCode = (name: string) => `const plain = (address) => address.replace(/^::ffff:/, "");
  const line = (address, bytes) => ("default/${name} " + plain(address)).padEnd(bytes - 1) + "\\n";
  require("net").createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0;
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => { bytes += chunk.length; });
    socket.on("end", () => socket.end(line(socket.remoteAddress ?? "nobody", bytes)));
  }).listen(8080, "::");
  const udp = require("dgram").createSocket("udp6");
  udp.on("message", (got, { address, port }) => udp.send(line(address, got.length), port, address));
  udp.bind(9000, "::");`;

export interface Question {
  /** connected: UDP, to the service. */
  readonly kind: "tcp" | "udp" | "connected";
  readonly host: string;
  readonly port: number;
  /** Sockets that ask, each once. */
  readonly count: number;
  readonly bytes: number;
}

const script = new URL("ask-everywhere.js", import.meta.url).pathname;
const limits = { timeoutMs: 180_000 } as const;

/** Of each question what came of it, as ask-everywhere.js tells. */
async function results(running: Promise<{ readonly stdout: string; readonly stderr: string }>) {
  const { stdout, stderr } = await running;
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout) as readonly (readonly string[])[];
}

/** Of each network namespace, by its lab: ports are used once, so that a flow has its own one at its backend, where nobody asks for anything else. */
const nextPort = new Map<string, number>();

function take(at: string, ports: number): number {
  const first = nextPort.get(at) ?? 10_000;
  nextPort.set(at, first + ports);
  return first;
}

function words(at: string, questions: readonly Question[]): readonly string[] {
  const spare = 100;
  const ports = questions.reduce((sum, { count }) => sum + count, spare);
  return [process.execPath, script, String(take(at, ports)), JSON.stringify(questions)];
}

export async function askFrom(lab: Lab, from: string, questions: readonly Question[]) {
  const { netns } = await lab.place(from);
  return results(lab.exec(from, words(netns, questions), limits));
}

/** In the pod's network namespace but in no cgroup of the node: the socket hook does not see it, packets are translated. */
export async function askWithoutHook(lab: Lab, podName: string, questions: readonly Question[]) {
  const { netns } = await lab.place(podName);
  return results(run(["nsenter", `--net=${netnsPath(netns)}`, ...words(netns, questions)], limits));
}

/** All at once, from one port: of TCP, or of UDP that is connected. */
export async function askFromOnePort(lab: Lab, from: string, questions: readonly Question[], hook: boolean) {
  const { netns } = await lab.place(from);
  const command = [...words(netns, questions), "one-port"];
  if (hook) return results(lab.exec(from, command, limits));
  return results(run(["nsenter", `--net=${netnsPath(netns)}`, ...command], limits));
}

/** Answers SCTP's INIT there, for as long as the lab is up (src/lab/probe: the kernel needs no SCTP). */
export function serveSctp(lab: Lab, at: string, port: number): void {
  const command = `{ echo listen sctp ${port}; sleep 600; } | ${probeBinary()} ${at}`;
  void lab.exec(at, ["sh", "-c", command], { timeoutMs: 600_000 }).catch(() => undefined);
}

/** Who answers SCTP's INIT from there, each of `count` times; "none" where nobody does. */
export async function askSctp(lab: Lab, from: string, host: string, port: number, count: number) {
  // Its number is its port.
  const first = take((await lab.place(from)).netns, count);
  const tries = Array.from({ length: count }, (_, at) => `echo try ${first + at} sctp - ${host} ${port};`).join(" ");
  const command = `{ ${tries} sleep 4; } | ${probeBinary()} client`;
  const { stdout } = await lab.exec(from, ["sh", "-c", command], limits);
  const names = [...stdout.matchAll(/^answer \d+ \d+ (\S+)$/gm)].map((match) => match[1] ?? "");
  return names.length < count ? [...names, "none"] : names;
}
