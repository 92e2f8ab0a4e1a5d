/**
 * How packets come to the L7 proxy's sockets: the programs give them to one, or, where the kernel cannot be told or the settings want it, mark
 * them for a table of nft. Marks without the table would be worth nothing, so it is there before programs that mark, and without it they are loaded closed. While
 * the agent is away both stay; it looks after the table again and again, as whoever writes a firewall anew may flush it.
 */
import type { AgentConfig } from "../config/index.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import type { RunTool } from "../native/run-tool.ts";
import type { Capabilities, Redirect } from "./features.ts";
import type { Counters } from "./map-table.ts";
import { Periodic } from "./periodic.ts";
import type { RedirectReport } from "./report.ts";
import { removeTproxyTable, TproxyTable } from "./tproxy-table.ts";

/** ms between two looks at the table: for so long UDP to servers of the node itself could pass without a proxy once somebody flushed it. */
const watchIntervalMs = 2000;

export interface ProxyRedirectionOptions {
  readonly run: RunTool;
  readonly config: Pick<AgentConfig, "ipv4" | "ipv6">;
  readonly clock: Clock;
  readonly conditions: ConditionSink;
  readonly log: Logger;
}

export class ProxyRedirection {
  readonly #options: ProxyRedirectionOptions;
  readonly #table: TproxyTable;
  readonly #watch: Periodic;
  #now: RedirectReport = { way: "closed", why: "" };

  constructor(options: ProxyRedirectionOptions) {
    this.#options = options;
    this.#table = new TproxyTable(options.run, options.config);
    this.#watch = new Periodic(options.clock, watchIntervalMs, () => this.verify());
  }

  get counters(): Counters {
    return this.#table.counters;
  }

  /** Before programs are loaded. @returns what they shall do */
  async prepare({ redirect, redirectWhy }: Pick<Capabilities, "redirect" | "redirectWhy">): Promise<Redirect> {
    this.#now = { way: redirect, why: redirectWhy };
    if (redirect !== "tproxy") return redirect;
    try {
      await this.#table.place();
    } catch (error) {
      const why = messageOf(error);
      this.#now = { way: "closed", why };
      this.#tell(why, "give the node nft and a kernel with nft_tproxy, and restart the agent");
    }
    return this.#now.way;
  }

  /** Every program that is attached does what `prepare` said. */
  async begin(): Promise<void> {
    if (this.#now.way === "tproxy") return this.#watch.start();
    const { run, log } = this.#options;
    await removeTproxyTable(run).catch((error: unknown) => {
      log.warn({ error: messageOf(error) }, "the table of the other way to the L7 proxy is left");
    });
  }

  async verify(): Promise<void> {
    const { conditions, log } = this.#options;
    try {
      if (await this.#table.verify())
        log.warn({}, "the table that leads to the L7 proxy was not as it has to be, and is put back");
      conditions.report("proxy redirection", []);
    } catch (error) {
      this.#tell(messageOf(error), "it is tried again every two seconds");
    }
  }

  stop(): Promise<void> {
    return this.#watch.stop();
  }

  report(): RedirectReport {
    return this.#now;
  }

  #tell(why: string, remedy: string): void {
    this.#options.conditions.report("proxy redirection", [
      {
        code: "PROXY_REDIRECT",
        severity: "error",
        object: "nft",
        field: "",
        message: `what L7 rules are about does not reach the proxy: ${why}`,
        remedy,
      },
    ]);
  }
}
