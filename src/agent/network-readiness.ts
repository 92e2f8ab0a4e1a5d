/**
 * When pods are let onto this node: once it has its place in the network, which is a BGP session and the routes to the others' pods, or when the time for that
 * is over. A node that waits says so in its Lease, and the operator keeps it NetworkUnavailable and tainted; what tolerates that, as kube-router does,
 * starts all the same, and nothing of Tandem waits for it: neither the datapath nor the CNI plugin. So nobody waits in a circle.
 *
 * That is decided once in a boot of the machine. A restart of the agent, or routes that go later, are told, and keep no pod away: where they
 * could go instead is not better off if the trouble is BGP's.
 */
import { type BootMarks, noMarks } from "../api/boot-file.ts";
import type { NetworkDto } from "../api/dto.ts";
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { TableStore } from "../model/store.ts";
import { type NetworkExpectation, type NetworkState, networkState } from "../observe/network-readiness.ts";
import type { BgpKnowledge } from "../observe/route-reasons.ts";
import type { BootMarksStore } from "./boot-marks.ts";

/** ms between two looks; and once pods are in, as nobody waits any more. */
const intervalMs = 1_000;
const degradedIntervalMs = 5_000;
/** ms that it may wait untold: kube-router has its routes some 10 s after its start. */
const untoldMs = 15_000;

export const topic = "network";

export interface NetworkReadinessOptions extends NetworkExpectation {
  /** Seconds after which pods are let in all the same; 0: nothing is waited for. */
  readonly timeoutSeconds: number;
  readonly marks: BootMarksStore;
  readonly store: Pick<TableStore, "snapshot">;
  readonly bgp: { readonly state: BgpKnowledge["state"] };
  readonly conditions: ConditionSink;
  /** @param lack what is waited for */
  readonly onWaiting: (lack: string) => void;
  /** Pods are let in. @param lack what they have to do without; "": nothing */
  readonly onOpen: (lack: string) => void;
  readonly onTold: (topic: string, problems: readonly Problem[]) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class NetworkReadiness {
  readonly #options: NetworkReadinessOptions;
  readonly #runner: BoundedFrequencyRunner;
  #marks: BootMarks = noMarks;
  #last: NetworkState | null = null;
  /** When the wait began, and when the last look was, monotonic ms. */
  #since: number | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #told = "";

  constructor(options: NetworkReadinessOptions) {
    this.#options = options;
    const { clock } = options;
    const action = () => this.#look();
    this.#runner = new BoundedFrequencyRunner({ clock, minIntervalMs: intervalMs, maxIntervalMs: intervalMs, action });
  }

  /** What an agent before this one decided in this boot. */
  async restore(): Promise<void> {
    this.#marks = await this.#options.marks.read();
  }

  /** Once the datapath is in place. */
  async start(): Promise<void> {
    const { clock, onOpen, timeoutSeconds, log } = this.#options;
    this.#since = clock.monotonicMs();
    const { network } = this.#marks;
    await this.#mark(timeoutSeconds === 0 && network === "waiting" ? "ready" : network);
    if (this.#marks.network !== "waiting") onOpen("");
    if (network === "degraded") log.info({}, "pods were let in without all routes before");
    if (this.#marks.network !== "ready") this.#runner.trigger();
  }

  stop(): Promise<void> {
    return this.#runner.stop();
  }

  status(): NetworkDto {
    const { clock, timeoutSeconds } = this.#options;
    const { network: state } = this.#marks;
    const text = this.#last?.text ?? "";
    if (state !== "waiting") return { state, text, secondsLeft: null };
    const now = clock.monotonicMs();
    const left = timeoutSeconds - (now - (this.#since ?? now)) / 1000;
    return { state, text, secondsLeft: Math.max(0, Math.ceil(left)) };
  }

  async #look(): Promise<void> {
    const { store, bgp, clock, timeoutSeconds, onOpen, onWaiting, log } = this.#options;
    const { network } = this.#marks;
    const now = clock.monotonicMs();
    if (network === "degraded" && now - this.#lookedAt < degradedIntervalMs) return;
    this.#lookedAt = now;
    const state = networkState(store.snapshot(), this.#options, bgp.state);
    this.#last = state;
    const waitedMs = now - (this.#since ?? now);
    if (state.complete) {
      if (network === "waiting") log.info({ routes: state.present, seconds: waitedMs / 1000 }, "the network is ready");
      await this.#mark("ready");
      this.#report(null);
      onOpen("");
      void this.#runner.stop();
      return;
    }
    if (network === "waiting" && waitedMs < timeoutSeconds * 1000) {
      onWaiting(state.lack);
      if (waitedMs >= untoldMs) this.#report(waiting(this.#options, state));
      return;
    }
    if (network === "waiting") {
      log.warn({ lack: state.text, seconds: timeoutSeconds }, "pods are let in without all routes");
      await this.#mark("degraded");
    }
    onOpen(state.lack);
    this.#report(incomplete(this.#options, state));
  }

  #report(problem: Problem | null): void {
    const { conditions, onTold } = this.#options;
    const text = problem === null ? "" : `${problem.code} ${problem.message}`;
    if (text === this.#told) return;
    this.#told = text;
    const problems = problem === null ? [] : [problem];
    conditions.report(topic, problems);
    onTold(topic, problems);
  }

  #mark(network: BootMarks["network"]): Promise<void> {
    this.#marks = { datapath: true, network };
    return this.#options.marks.write(this.#marks);
  }
}

function waiting({ nodeName, timeoutSeconds }: NetworkReadinessOptions, { text }: NetworkState): Problem {
  return {
    ...about(nodeName),
    code: "NETWORK_WAITING",
    message: `pods are kept away from this node until its network is there, ${timeoutSeconds} s at most: ${text}`,
    remedy: "tandem bgp peers, tandem routes: is kube-router running here, and on the other nodes?",
  };
}

function incomplete({ nodeName, timeoutSeconds }: NetworkReadinessOptions, { text }: NetworkState): Problem {
  return {
    ...about(nodeName),
    code: "NETWORK_INCOMPLETE",
    message: `pods were let in after ${timeoutSeconds} s although the network is not all there: ${text}`,
    remedy:
      "tandem bgp peers, tandem routes; fewer routes are enough with networkRoutes, and without BGP set gobgp to null",
  };
}

const about = (nodeName: string) => ({ severity: "warning", object: `Node ${nodeName}`, field: "" }) as const;
