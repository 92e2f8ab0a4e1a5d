/** What others left on this node, as a problem for `tandem status`: it is looked for when the agent starts, and again while there is some. */
import type { Clock } from "../../lib/clock.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { Owner } from "./chains.ts";
import { describe, type FindOptions, findForeign } from "./find.ts";

/** ms between two looks: thousands of rules take a tool a second to print. */
const againMs = 600_000;
const owners: readonly Owner[] = ["kube-proxy", "kube-router"];
const flagOf: Readonly<Record<Owner, string>> = {
  "kube-proxy": "--kube-proxy",
  "kube-router": "--kube-router-services",
};

export interface ForeignWatchOptions extends Omit<FindOptions, "owner"> {
  readonly conditions: ConditionSink;
  readonly clock: Clock;
}

export class ForeignWatch {
  readonly #options: ForeignWatchOptions;
  readonly #runner: BoundedFrequencyRunner;

  constructor(options: ForeignWatchOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: againMs,
      maxIntervalMs: null,
      retry: { firstMs: againMs, maxMs: againMs },
      action: () => this.#look(),
    });
  }

  start(): void {
    this.#runner.trigger();
  }

  stop(): Promise<void> {
    return this.#runner.stop();
  }

  async #look(): Promise<void> {
    const problems: Problem[] = [];
    for (const owner of owners) {
      const found = describe(await findForeign({ ...this.#options, owner }));
      if (found !== "") problems.push(problemOf(owner, found));
    }
    this.#options.conditions.report("foreign", problems);
    if (problems.length > 0) this.#runner.trigger();
  }
}

function problemOf(owner: Owner, found: string): Problem {
  return {
    code: "FOREIGN_RULES",
    severity: "warning",
    object: owner,
    field: "",
    message: `it has rules for services or policies on this node: ${found}; where it does not run any more they lead to backends of before`,
    remedy: `once it has stopped: tandem cleanup ${flagOf[owner]} --dry-run shows them, --yes removes them`,
  };
}
