/**
 * Network namespaces of pods, with their loopback device up. Whoever makes many has one process for all of them: starting `ip` twice for each is what
 * costs most, since a large process takes long to fork.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { LabError } from "./errors.ts";
import { ipBatch, run } from "./run.ts";

export interface Namespaces {
  /** @throws LabError when it is there already, or cannot be made: then nothing is left of it */
  add(netns: string): Promise<void>;
  /** One that is not there is no failure. */
  delete(netns: string): Promise<void>;
}

export const ipNamespaces: Namespaces = {
  add: async (netns) => {
    await ipBatch(null, [`netns add ${netns}`]);
    await ipBatch(netns, ["link set lo up"]);
  },
  delete: async (netns) => void (await run(["ip", "netns", "del", netns])),
};

interface Asked {
  readonly command: string;
  resolve(): void;
  reject(error: LabError): void;
}

/** By `tandem-lab-sandbox serve` (sandbox/main.c), which is started when it is first asked, and again when it has ended. */
export class NamespaceServer implements Namespaces {
  readonly #binary: string;
  #child: ChildProcess | null = null;
  /** Answered in this order. */
  #asked: Asked[] = [];

  constructor(binary: string) {
    this.#binary = binary;
  }

  add(netns: string): Promise<void> {
    return this.#ask(`add ${netns}`);
  }

  delete(netns: string): Promise<void> {
    return this.#ask(`del ${netns}`);
  }

  /** What is under way fails. */
  close(): void {
    const child = this.#child;
    if (child === null) return;
    child.kill("SIGKILL");
    // Whoever asks next has another one, also before this one's end is known.
    this.#ended(child, "it was ended");
  }

  #ask(command: string): Promise<void> {
    this.#child ??= this.#start();
    const { stdin } = this.#child;
    return new Promise((resolve, reject) => {
      this.#asked.push({ command, resolve, reject });
      stdin?.write(`${command}\n`);
    });
  }

  #start(): ChildProcess {
    const child = spawn(this.#binary, ["serve"], { stdio: ["pipe", "pipe", "inherit"] });
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on("line", (line) => this.#answered(child, line));
    // That it has ended tells `close`, which comes after all that it said.
    child.stdin?.on("error", () => undefined);
    child.once("error", (error) => this.#ended(child, error.message));
    child.once("close", (code, signal) => this.#ended(child, `it ended with ${signal ?? code}`));
    return child;
  }

  #answered(child: ChildProcess, line: string): void {
    if (this.#child !== child) return;
    const asked = this.#asked.shift();
    if (line === "ok") asked?.resolve();
    else asked?.reject(failure(asked.command, line));
  }

  #ended(child: ChildProcess, why: string): void {
    if (this.#child !== child) return;
    this.#child = null;
    for (const { command, reject } of this.#asked.splice(0)) reject(failure(command, why));
  }
}

function failure(command: string, why: string): LabError {
  return new LabError("LAB_NETNS", command, why, "");
}
