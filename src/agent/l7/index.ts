/**
 * L7 as the agent has it: what policies demand goes to tandem-proxy, what the proxy saw comes back. The agent touches no request; without it
 * the proxy goes on by what it was told last.
 */
import type { Duplex } from "node:stream";
import type { ProxyDto, ProxyRulesDto, ProxyStats } from "../../api/proxy-dto.ts";
import type { ProxyControl } from "../../api/queries.ts";
import type { AgentConfig } from "../../config/index.ts";
import type { DemandsPublisher } from "../../datapath/set-demands.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Logger } from "../../model/logging.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { L7Record } from "../../native/l7-contract.ts";
import { ProxyLinks } from "./proxy-links.ts";
import { L7Publisher } from "./publisher.ts";
import { rulesReport } from "./report.ts";
import { L7Book, type ReadDemands } from "./tables.ts";
import { TablesFile } from "./tables-file.ts";

/** ms that a proxy may be away, as while it restarts, before that is a problem. */
const graceMs = 5_000;

export { returnMs } from "./publisher.ts";

export interface L7Options {
  readonly config: Pick<AgentConfig, "l7Proxy" | "stateDir">;
  readonly readDemands: ReadDemands;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  /** What the proxy saw. */
  readonly onRecords: (records: readonly L7Record[], lost: number) => void;
  /** What a proxy has counted since its start. @param process tells it apart from any other */
  readonly onStats?: (process: string, stats: ProxyStats) => void;
  readonly onOther?: (message: { readonly type: string }, send: (answer: object) => void) => void;
}

export class L7 implements ProxyControl {
  readonly demands: DemandsPublisher;
  readonly #options: L7Options;
  readonly #book: L7Book;
  readonly #links: ProxyLinks;
  readonly #publisher: L7Publisher;
  /** Runs while no proxy is there. */
  #grace: Timer | null = null;
  #isAway = false;
  #started = false;

  private constructor(options: L7Options, file: TablesFile, book: L7Book) {
    const { clock, log, onRecords, onStats, onOther } = options;
    this.#options = options;
    this.#book = book;
    const onChange = () => this.#judge();
    this.#links = new ProxyLinks({
      clock,
      log,
      onChange,
      onRecords,
      ...(onStats && { onStats }),
      ...(onOther && { onOther }),
    });
    this.#publisher = new L7Publisher({ book, file, links: this.#links, clock, onChange });
    this.demands = this.#publisher;
  }

  static async open(options: L7Options): Promise<L7> {
    const file = new TablesFile(options.config.stateDir, options.conditions);
    return new L7(options, file, new L7Book(options.readDemands, await file.read()));
  }

  get isOn(): boolean {
    return this.#options.config.l7Proxy === "on";
  }

  accept(socket: Duplex, head: Uint8Array): void {
    this.#links.accept(socket, head);
  }

  /** Rules that the proxy has, by their numbers. */
  get ruleSets(): readonly { readonly id: number; readonly text: string }[] {
    return this.#book.kept.ruleSets;
  }

  proxy(): ProxyDto {
    return {
      mode: this.#options.config.l7Proxy,
      generation: this.#publisher.generation,
      ruleSets: this.#book.kept.ruleSets.length,
      instances: this.#links.instances,
    };
  }

  rules(): ProxyRulesDto {
    return rulesReport(this.#book, this.#links.instances, this.#links.refused);
  }

  /** Somebody looks at records, or nobody does any more. */
  watch(isWatched: boolean): void {
    this.#links.watch(isWatched);
  }

  /** To every proxy. */
  broadcast(message: object): void {
    this.#links.broadcast(message);
  }

  /** From now on it is a problem when nobody enforces the rules. */
  start(): void {
    this.#started = true;
    this.#judge();
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#grace?.cancel();
    this.#links.close();
  }

  #judge(): void {
    if (!this.#started) return;
    const isThere = this.#links.instances.some(({ state }) => state === "active");
    if (isThere) {
      this.#grace?.cancel();
      this.#grace = null;
      this.#isAway = false;
    } else if (this.#grace === null) {
      this.#grace = this.#options.clock.setTimer(graceMs, () => {
        this.#isAway = true;
        this.#report();
      });
    }
    this.#report();
  }

  #report(): void {
    if (!this.#started) return;
    const { ruleSets } = this.#book.kept;
    const problems: Problem[] = [];
    if (ruleSets.length > 0 && !this.isOn) problems.push(proxyOff);
    else if (ruleSets.length > 0 && this.#isAway) problems.push(proxyAway);
    const textOf = new Map(ruleSets.map(({ id, text }) => [id, text]));
    for (const { ruleSet, message } of this.#links.refused) {
      problems.push({
        code: "L7_RULES_REFUSED",
        severity: "error",
        object: `L7 rules ${ruleSet}`,
        field: "",
        message: `the proxy cannot use ${short(textOf.get(ruleSet) ?? "them")}: ${message}; what they name stays closed`,
        remedy: "correct the rule: tandem proxy rules shows them",
      });
    }
    this.#options.conditions.report("l7-proxy", problems);
  }
}

const proxyAway: Problem = {
  code: "PROXY_AWAY",
  severity: "error",
  object: "tandem-proxy",
  field: "",
  message: "policies of this node have L7 rules, and no tandem-proxy is there to enforce them: their ports are closed",
  remedy: "start tandem-proxy on this node (the DaemonSet tandem-proxy), and read its log",
};

const proxyOff: Problem = {
  code: "PROXY_OFF",
  severity: "warning",
  object: "setting l7Proxy",
  field: "",
  message: "policies of this node have L7 rules, and l7Proxy is off: their ports are closed",
  remedy: "set l7Proxy to on and run tandem-proxy, or allow the ports without L7 rules",
};

function short(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
