/** A node and its pods as network namespaces, an agent's CNI half in it, and the real plugin. Everything is removed at the end. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const agentProgram = fileURLToPath(new URL("agent.ts", import.meta.url));

export interface CallResult {
  readonly code: number;
  // biome-ignore lint/suspicious/noExplicitAny: results of several shapes, looked into by assertions
  readonly output: any;
}

export function pluginPath(): string {
  const given = process.env.TANDEM_CNI; // a build with sanitizers
  if (given !== undefined) return given;
  const places = ["build/addon/Release/tandem-cni", "build/cni/tandem-cni"].map((place) => join(root, place));
  const found = places.find((place) => existsSync(place));
  if (found === undefined) throw new Error("tandem-cni is not built: npm run build:addon");
  return found;
}

export class TestNode {
  readonly netns: string;
  readonly stateDir: string;
  readonly socket: string;
  readonly #namespaces: string[] = [];
  #agent: ChildProcess | null = null;

  private constructor(folder: string, name: string) {
    this.netns = `tandem-cni-${process.pid}-${name}`;
    this.stateDir = join(folder, "state");
    this.socket = join(folder, "agent.sock");
  }

  static async create(name: string): Promise<TestNode> {
    const node = new TestNode(await mkdtemp(join(tmpdir(), "tandem-cni-")), name);
    await node.#addNamespace(node.netns);
    await node.ip(node.netns, "link set lo up");
    // What a node has: an address of its own for what it sends to its pods.
    await node.ip(node.netns, "addr add 192.0.2.1/32 dev lo");
    await node.ip(node.netns, "addr add 2001:db8::1/128 dev lo");
    return node;
  }

  async startAgent(): Promise<void> {
    const args = [`--net=/run/netns/${this.netns}`, process.execPath, "--import=tsx", agentProgram];
    const child = spawn("nsenter", [...args, this.stateDir, this.socket], {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#agent = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`the agent ended with ${code}`)));
    });
  }

  /** As a crash would. */
  async killAgent(): Promise<void> {
    const child = this.#agent;
    this.#agent = null;
    if (child === null || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
    await rm(this.socket, { force: true });
  }

  async addPod(name: string): Promise<string> {
    const netns = `${this.netns}-${name}`;
    await this.#addNamespace(netns);
    return netns;
  }

  /** Calls the plugin as a runtime does. */
  async call(command: string, pod: string, config: object = {}, env: Record<string, string> = {}): Promise<CallResult> {
    const text = JSON.stringify({
      cniVersion: "1.1.0",
      name: "tandem",
      type: "tandem-cni",
      socket: this.socket,
      stateDir: this.stateDir,
      ...config,
    });
    const child = spawn(pluginPath(), {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: `container-${pod}`,
        CNI_NETNS: `/run/netns/${this.netns}-${pod}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: "/opt/cni/bin",
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod}`,
        ...env,
      },
    });
    child.stdin.on("error", () => undefined); // a plugin that refuses early does not read
    child.stdin.end(text);
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    const code = await new Promise<number>((resolve) => child.once("close", (status) => resolve(status ?? -1)));
    const stdout = Buffer.concat(chunks).toString();
    return { code, output: stdout === "" ? null : JSON.parse(stdout) };
  }

  async ip(netns: string, command: string): Promise<string> {
    return (await run("ip", ["-n", netns, ...command.split(" ")])).stdout;
  }

  // biome-ignore lint/suspicious/noExplicitAny: ip's JSON, looked into by assertions
  async ipJson(netns: string, command: string): Promise<any[]> {
    return JSON.parse((await this.ip(netns, `-j ${command}`)) || "[]");
  }

  /** True if one of three pings is answered. */
  async pings(netns: string, address: string): Promise<boolean> {
    const args = [`--net=/run/netns/${netns}`, "ping", "-n", "-c", "1", "-W", "20", address];
    for (let i = 0; i < 3; i++) {
      if (
        await run("nsenter", args).then(
          () => true,
          () => false,
        )
      )
        return true;
    }
    return false;
  }

  async removePod(name: string): Promise<void> {
    const netns = `${this.netns}-${name}`;
    this.#namespaces.splice(this.#namespaces.indexOf(netns), 1);
    await run("ip", ["netns", "del", netns]);
  }

  async remove(): Promise<void> {
    await this.killAgent();
    for (const netns of this.#namespaces) await run("ip", ["netns", "del", netns]);
    await rm(join(this.stateDir, ".."), { recursive: true, force: true });
  }

  async #addNamespace(netns: string): Promise<void> {
    await run("ip", ["netns", "add", netns]);
    this.#namespaces.push(netns);
  }
}
