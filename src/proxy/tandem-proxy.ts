/**
 * The proxy as a whole: takes its turn, gives the engine its rules, tells the agent what happens, and hands over. Requests are the engine's; whatever
 * is slow or away here (agent, disk, this event loop) delays none.
 */
import type { NamesFromProxy, NamesToProxy } from "../api/names-link.ts";
import type { FromProxy, ProxyState, RefusedRules, ToProxy } from "../api/proxy-dto.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../model/logging.ts";
import type { L7Record, L7Tables } from "../native/l7-contract.ts";
import type { AccessLog } from "./access-log.ts";
import { AgentLink } from "./agent-link.ts";
import { Counters } from "./counters.ts";
import type { Engine, EngineStats, OpenEngine } from "./engine.ts";
import type { LastRules } from "./last-rules.ts";
import { Names } from "./names.ts";
import type { Held, Turn } from "./turn.ts";

/** ms for which the sockets of one that has a successor still take what the kernel had begun to give them. */
const handoverMs = 1_000;
/** ms between two reports to the agent. */
const statsMs = 1_000;
/** ms that a first start waits for the agent's rules where none are kept: until then no flow comes here, and none is lost. */
const firstRulesMs = 10_000;
/** ms that a start waits to hear what names are wanted. A predecessor tells it, too; without either, answers open nothing until the agent is back. */
const firstNamesMs = 250;

export interface ProxyOptions {
  readonly agentSocket: string;
  readonly version: string;
  readonly pid: number;
  readonly drainMs: number;
  readonly openEngine: OpenEngine;
  readonly turn: Pick<Turn, "take">;
  readonly lastRules: Pick<LastRules, "read" | "keep" | "stop">;
  /** null: none is written. */
  readonly accessLog: AccessLog | null;
  /** Told of every state that it enters. */
  readonly onState: (state: ProxyState) => void;
  readonly log: Logger;
  readonly clock: Clock;
}

const noStats: EngineStats = {
  connections: 0,
  connectionsTotal: 0,
  refused: 0,
  requests: 0,
  memory: 0,
  recordsLost: 0,
};

export class TandemProxy {
  readonly #options: ProxyOptions;
  readonly #link: AgentLink;
  readonly #names: Names;
  readonly #counters = new Counters();
  readonly #stopping = new AbortController();
  readonly #ending = new AbortController();
  readonly #started: number;
  #state: ProxyState = "standby";
  #engine: Engine | null = null;
  #tables: L7Tables | null = null;
  #generation: number | null = null;
  #isWatched = false;
  #lost = 0;
  #onRules: () => void = () => undefined;
  #work: Promise<void> = Promise.resolve();

  constructor(options: ProxyOptions) {
    this.#options = options;
    const { agentSocket: socket, clock, log } = options;
    this.#started = clock.now();
    this.#link = new AgentLink({
      socket,
      clock,
      log,
      onConnect: () => this.#greeting(),
      onMessage: (message) => this.#take(message),
      onClose: () => this.#names.lost(),
    });
    this.#names = new Names((message) => this.#link.send(message), clock);
  }

  get state(): ProxyState {
    return this.#state;
  }

  /** Resolves when it was stopped. Rejects with what makes it impossible to serve. */
  async run(): Promise<void> {
    const linked = this.#link.run(this.#ending.signal);
    const reported = this.#report();
    try {
      this.#work = this.#serve();
      await this.#work;
    } finally {
      this.#ending.abort();
      await Promise.all([linked, reported]);
      await this.#options.lastRules.stop();
      await this.#options.accessLog?.close();
    }
  }

  /** Lets connections end for as long as the settings say. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#work.catch(() => undefined);
  }

  async #serve(): Promise<void> {
    const { turn, openEngine, log, drainMs, clock, lastRules } = this.#options;
    const { signal } = this.#stopping;
    this.#tables ??= await lastRules.read();
    if (this.#tables === null && !signal.aborted) await this.#firstRules();
    for (let how: "ask" | "wait" = "ask"; !signal.aborted; how = "wait") {
      const engine = openEngine(
        (lines, lost) => this.#records(lines, lost),
        (lookups) => this.#names.seen(lookups),
      );
      let held: Held | null = null;
      try {
        this.#engine = engine;
        this.#names.use(engine.names);
        this.#configure();
        await Promise.race([this.#names.told(firstNamesMs, clock), aborted(signal)]);
        held = await unlessAborted(turn.take(how, signal), signal);
        if (held === null) return;
        if (held.told !== null) this.#names.inherit(held.told);
        held.onLast((text) => this.#names.inherit(text));
        held.tells((isLast) => this.#names.handOver(isLast));
        engine.listen();
        held.announce();
        this.#enter("active");
        const hasSuccessor = await Promise.race([held.yielded.then(() => true), aborted(signal).then(() => false)]);
        log.info({ hasSuccessor }, "draining");
        this.#enter("draining");
        // Also when it is told to end meanwhile.
        if (hasSuccessor) await clock.sleep(handoverMs);
        await engine.drain(drainMs);
      } finally {
        this.#engine = null;
        this.#names.use(null);
        await engine.close();
        await held?.release();
        this.#enter("standby");
      }
    }
  }

  /** A proxy without rules would refuse what another one, that has them, allows. */
  #firstRules(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(firstRulesMs, resolve);
      this.#onRules = () => {
        timer.cancel();
        resolve();
      };
      this.#stopping.signal.addEventListener("abort", this.#onRules);
    });
  }

  #greeting(): readonly (FromProxy | NamesFromProxy)[] {
    const { version, pid } = this.#options;
    return [{ type: "hello", version, pid, started: this.#started, state: this.#state }, ...this.#names.greeting()];
  }

  #take(message: ToProxy | NamesToProxy): void {
    switch (message.type) {
      case "config": {
        this.#tables = message.tables;
        this.#generation = message.generation;
        const refused = this.#configure();
        this.#counters.retain(new Set(message.tables.ruleSets.map(({ id }) => id)));
        if (this.#state !== "draining") this.#options.lastRules.keep(message.tables);
        this.#onRules();
        this.#link.send({ type: "applied", generation: message.generation, refused });
        return;
      }
      case "watch":
        this.#isWatched = message.records;
        return;
      default:
        this.#names.take(message);
    }
  }

  #configure(): readonly RefusedRules[] {
    if (this.#engine === null || this.#tables === null) return [];
    const refused = this.#engine.configure(this.#tables);
    for (const each of refused) this.#options.log.error({ ...each }, "rules that cannot be used");
    return refused;
  }

  #enter(state: ProxyState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#options.onState(state);
    this.#options.log.info({ state, generation: this.#generation }, "state");
    this.#link.send({ type: "state", state });
    // Whoever waits for these rules to hold is told of this engine, too.
    if (state === "active" && this.#generation !== null) {
      this.#link.send({ type: "applied", generation: this.#generation, refused: this.#configure() });
    }
  }

  #records(lines: Buffer, lost: number): void {
    this.#options.accessLog?.write(lines);
    const texts = lines.toString("utf8").split("\n");
    if (texts.at(-1) === "") texts.pop();
    this.#counters.count(texts.map((text) => JSON.parse(text) as L7Record));
    this.#lost += lost;
    if (!this.#isWatched) return;
    const isSent = this.#link.sendLine(() => `{"type":"records","lost":${lost},"records":[${texts.join(",")}]}\n`);
    if (!isSent) this.#lost += texts.length;
  }

  async #report(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const stats = this.#engine?.stats() ?? noStats;
      const { requests, rules, denied, durations } = this.#counters;
      this.#link.send({
        type: "stats",
        ...stats,
        requests: Math.max(requests, stats.requests),
        recordsLost: stats.recordsLost + this.#lost,
        rules,
        denied,
        durations: { requests: durations, dnsHold: this.#names.hold },
      });
      await this.#options.clock.sleep(statsMs, signal).catch(() => undefined);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** @returns null: the signal came */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}
