/** The probers of a case (src/lab/probe): one process in the namespace and cgroup of each place, server and client at once. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { LabError } from "../errors.ts";
import { inside } from "../run.ts";
import { probeBinary } from "../runtime.ts";
import type { Attempt, Listener } from "./attempts.ts";
import { messageOf } from "./exchanges.ts";
import type { Outcome } from "./outcome.ts";

export interface ProbeEvent {
  /** Of the attempt. */
  readonly id: number;
  /** Whose prober tells it. */
  readonly place: string;
  /** Or the answer to what was asked, as it came. */
  readonly outcome: Outcome | { readonly kind: "said"; readonly ms: number; readonly bytes: Buffer };
}

export class Prober {
  readonly place: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<void>;
  readonly #onEvent: (event: ProbeEvent) => void;
  readonly #synced = new Map<number, () => void>();
  #syncs = 0;
  #errors = "";
  #stopping = false;

  readonly #where: Parameters<typeof inside>[0];

  private constructor(
    place: string,
    where: Parameters<typeof inside>[0],
    child: ChildProcessWithoutNullStreams,
    onEvent: (event: ProbeEvent) => void,
  ) {
    this.place = place;
    this.#where = where;
    this.#child = child;
    this.#onEvent = onEvent;
    this.#closed = new Promise((resolve) => child.once("close", () => resolve()));
    child.stderr.on("data", (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-1000);
    });
    // Ended by the removal of its pod, or broken: `send` tells.
    child.stdin.on("error", () => {});
  }

  /** Resolves when it serves. @throws LabError LAB_PROBE */
  static async start(
    place: string,
    where: { readonly netns: string; readonly cgroup: string },
    onEvent: (event: ProbeEvent) => void,
  ): Promise<Prober> {
    const [file = "", ...args] = inside(where, [probeBinary(), place]);
    const prober = new Prober(place, where, spawn(file, args, { stdio: "pipe" }), onEvent);
    const ready = new Promise<boolean>((resolve) => {
      createInterface({ input: prober.#child.stdout }).on("line", (line) => {
        if (line === "ready") resolve(true);
        else prober.#read(line);
      });
      void prober.#closed.then(() => resolve(false));
      prober.#child.once("error", () => resolve(false));
    });
    if (!(await ready)) throw prober.#broken();
    return prober;
  }

  /** Resolves when all are served. @throws LabError LAB_PROBE */
  async listen(listeners: readonly Listener[]): Promise<void> {
    const number = ++this.#syncs;
    const synced = new Promise<boolean>((resolve) => {
      this.#synced.set(number, () => resolve(true));
      void this.#closed.then(() => resolve(false));
    });
    this.#send([...listeners.map(({ protocol, port }) => `listen ${protocol} ${port}`), `sync ${number}`]);
    if (!(await synced)) throw this.#broken();
    this.#synced.delete(number);
  }

  /** Command line that runs another program where this prober is. */
  commandIn(command: readonly string[]): readonly string[] {
    return inside(this.#where, command);
  }

  try(attempts: readonly (Attempt & { readonly id: number })[]): void {
    this.#send(attempts.map(commandOf));
  }

  /** Replaces what its server of DNS has. */
  async publish(records: ReadonlyMap<string, readonly string[]>): Promise<void> {
    const lines = [...records].flatMap(([name, addresses]) => addresses.map((address) => `record ${name} ${address}`));
    this.#send(["forget-records", ...lines]);
    await this.listen([]);
  }

  /** Gives up what is under way. */
  forget(): void {
    this.#send(["forget"]);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.stdin.end();
    await this.#closed;
  }

  /** @throws LabError LAB_PROBE when the process is not there any more */
  #send(lines: readonly string[]): void {
    if (lines.length === 0) return;
    if (this.#stopping || this.#child.exitCode !== null || this.#child.signalCode !== null) throw this.#broken();
    this.#child.stdin.write(`${lines.join("\n")}\n`);
  }

  #read(line: string): void {
    const [kind, number = "", third = "", ...rest] = line.split(" ");
    if (kind === "synced") this.#synced.get(Number(number))?.();
    const outcome = readOutcome(kind, third, rest.join(" "));
    if (outcome !== null) this.#onEvent({ id: Number(number), place: this.place, outcome });
  }

  #broken(): LabError {
    const { exitCode, signalCode } = this.#child;
    const end = signalCode ?? (exitCode === null ? "it does not run" : `exit code ${exitCode}`);
    return new LabError("LAB_PROBE", `prober of ${this.place}`, `${end} ${this.#errors.trim()}`.trim(), "");
  }
}

function commandOf(attempt: Attempt & { readonly id: number }): string {
  const { asked, id, protocol, source, destination, port } = attempt;
  if (asked === null) return `try ${id} ${protocol} ${source} ${destination} ${port}`;
  const { width, bytes } = messageOf(asked, protocol === "udp" ? "udp" : "tcp", id);
  return `ask ${id} ${width} ${source} ${destination} ${port} ${bytes.toString("hex")}`;
}

function readOutcome(kind: string | undefined, third: string, name: string): ProbeEvent["outcome"] | null {
  if (kind === "said") return { kind, ms: Number(third), bytes: Buffer.from(name, "hex") };
  if (kind === "answer") return { kind, ms: Number(third), name };
  if (kind === "refused" || kind === "failed") return { kind, why: third };
  return kind === "arrived" ? { kind } : null;
}

/** @throws LabError LAB_PROBE */
export function proberOf<P>(probers: ReadonlyMap<string, P>, place: string): P {
  const prober = probers.get(place);
  if (prober === undefined) throw new LabError("LAB_PROBE", place, "has no prober", "");
  return prober;
}
