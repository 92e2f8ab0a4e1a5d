/** How long the agent's own work takes: as histograms, since a mean hides the one pod that waited. They begin with the agent. */
import { Histogram, Histograms } from "../../lib/histogram.ts";
import type { Family } from "./exposition.ts";

/** Seconds: a pod's start is 30 to 60 ms as a rule, and the plugin gives up after 30 s. */
const cniBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Seconds: a few ms for one policy, whole seconds for thousands at once. */
const changeBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Seconds. */
const roundBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;

export class Durations {
  readonly #cni = new Histograms<string>(cniBounds);
  readonly #policyChange = new Histogram(changeBounds);
  readonly #rounds = new Histograms<string>(roundBounds);

  /** @param command as the runtime sent it */
  cni(command: string, isDone: boolean, ms: number): void {
    const known = commands.find((each) => each === command) ?? "other";
    this.#cni.observe(`${known} ${isDone ? "ok" : "failed"}`, ms / 1000);
  }

  /** From when a changed policy was seen until it was in the kernel. */
  policyChange(ms: number): void {
    this.#policyChange.observe(ms / 1000);
  }

  /** One round of one of the agent's loops, by its name. */
  round(loop: string, ms: number): void {
    this.#rounds.observe(loop, ms / 1000);
  }

  metrics(): readonly Family[] {
    const change = this.#policyChange.data;
    return [
      {
        name: "tandem_cni_request_seconds",
        type: "histogram",
        help: "Time that the container runtime waited for its request.",
        samples: this.#cni.data.map(([key, data]) => {
          const [command = "", result = ""] = key.split(" ");
          return { labels: { command, result }, ...data };
        }),
      },
      {
        name: "tandem_policy_change_seconds",
        type: "histogram",
        help: "From when a changed policy was seen until it was in the kernel.",
        samples: [{ labels: {}, ...change }],
      },
      {
        name: "tandem_round_seconds",
        type: "histogram",
        help: "One round of a loop of the agent.",
        samples: this.#rounds.data.map(([loop, data]) => ({ labels: { loop }, ...data })),
      },
    ];
  }
}
