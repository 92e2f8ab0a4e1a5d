/** Installs once the agent is ready, and looks again from time to time: files are everybody's. What is wrong is a condition. */
import type { Clock } from "../../lib/clock.ts";
import { messageOf, TandemError } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { Installation } from "./installation.ts";

const topic = "cni-install";
const intervalMs = { least: 1_000, most: 30_000 } as const;

export class InstallationKeeper {
  readonly #installation: Pick<Installation, "install">;
  readonly #conditions: ConditionSink;
  readonly #runner: BoundedFrequencyRunner;

  constructor(options: {
    readonly installation: Pick<Installation, "install">;
    readonly conditions: ConditionSink;
    readonly clock: Clock;
  }) {
    this.#installation = options.installation;
    this.#conditions = options.conditions;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: intervalMs.least,
      maxIntervalMs: intervalMs.most,
      action: () => this.#check(),
    });
  }

  /** Resolves after the first try, whatever came of it: a node whose folders are broken goes on with the pods that it has. */
  async start(): Promise<void> {
    await this.#runner.runNow();
  }

  /** What is installed stays: runtimes find the plugin, which tells them that there is no agent. */
  async stop(): Promise<void> {
    await this.#runner.stop();
  }

  async #check(): Promise<void> {
    this.#conditions.report(topic, await this.#installation.install(false).catch(asProblem));
  }
}

function asProblem(error: unknown): readonly Problem[] {
  const { code, object, remedy } =
    error instanceof TandemError
      ? error
      : { code: "CNI_INSTALL", object: "CNI installation", remedy: "the agent's log has more" };
  return [{ code, severity: "error", object, field: "", message: messageOf(error), remedy }];
}
