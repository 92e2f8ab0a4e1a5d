/** Real sockets inside of a cgroup and a network namespace: a child process that does what it is told. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../../src/native/index.ts";

/** Addresses are "address port", as the socket calls give them; `error` is the errno's name. */
export interface SocketAnswer {
  readonly peer?: string;
  readonly from?: string;
  readonly answer?: string;
  readonly error?: string;
}

export interface Exchanged {
  readonly received: number;
  readonly same?: boolean;
  readonly error?: string;
}

interface Target {
  readonly address: string;
  readonly port: number;
}

export class SocketProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #next = 0;

  /** `cgroup`: a folder, or null to stay where the test is. */
  constructor(netns: string, cgroup: string | null) {
    const script = join(packageRoot(), "test/support/programs-sockets.js");
    const enter = cgroup === null ? "" : `echo $$ > '${cgroup}/cgroup.procs' && `;
    const command = `${enter}exec nsenter --net=${netns} '${process.execPath}' '${script}'`;
    const child = spawn("sh", ["-c", command], { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, result } = JSON.parse(line) as { readonly id: number; readonly result: unknown };
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
    this.#child = child;
  }

  /** Serves until the process ends; whoever asks is told `address port`. */
  async listen(type: "tcp" | "udp", address: string, port: number): Promise<void> {
    const result = await this.#call("listen", { type, address, port });
    if (result !== null) throw new Error(`listen ${address} ${port}: ${JSON.stringify(result)}`);
  }

  /** Sends back what TCP connections bring, until the process ends. */
  async echo(address: string, port: number): Promise<void> {
    const result = await this.#call("echo", { address, port });
    if (result !== null) throw new Error(`echo ${address} ${port}: ${JSON.stringify(result)}`);
  }

  /** Sends `bytes` to an echo: how many come back, and whether they are the same. */
  exchange(target: Target, bytes: number, timeoutMs = 60_000): Promise<Exchanged> {
    return this.#call("exchange", { ...target, bytes, timeoutMs }) as Promise<Exchanged>;
  }

  /** A TCP connection. */
  ask(target: Target): Promise<SocketAnswer> {
    return this.#call("ask", target) as Promise<SocketAnswer>;
  }

  /** Datagrams of one socket that is not connected. */
  send(target: Target & { readonly family: 4 | 6; readonly count: number }): Promise<readonly SocketAnswer[]> {
    return this.#call("send", target) as Promise<readonly SocketAnswer[]>;
  }

  /** A datagram of a connected socket. */
  converse(target: Target & { readonly family: 4 | 6 }): Promise<SocketAnswer> {
    return this.#call("converse", target) as Promise<SocketAnswer>;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }

  #call(operation: string, request: object): Promise<unknown> {
    const id = this.#next++;
    this.#child.stdin?.write(`${JSON.stringify({ id, operation, ...request })}\n`);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${operation} ${JSON.stringify(request)}: no answer`)), 150_000);
      // The answer to a question of a process that has ended since is nothing to stay alive for.
      late.unref();
      this.#waiting.set(id, (result) => {
        clearTimeout(late);
        resolve(result);
      });
    });
  }
}
