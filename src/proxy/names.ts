/**
 * Between the engine and the agent about names of DNS. The engine tells answers that a rule may use; the agent opens their addresses, and then the
 * engine lets the answers go. An engine that comes later (another turn) is told what the one before knew of the agent.
 */
import type { LookupMessage, NamesFromProxy, NamesToProxy } from "../api/names-link.ts";
import type { EngineNames } from "./engine.ts";

export class Names {
  readonly #send: (message: NamesFromProxy) => boolean;
  #engine: EngineNames | null = null;
  #pattern: string | null = null;
  #isShared = true;
  #isConnected = false;

  /** @param send false: it was not sent */
  constructor(send: (message: NamesFromProxy) => boolean) {
    this.#send = send;
  }

  /** null: there is none any more. */
  use(engine: EngineNames | null): void {
    this.#engine = engine;
    engine?.want(this.#pattern, this.#isShared);
    engine?.connected(this.#isConnected);
  }

  /** An agent is there; it is asked for the names. */
  greeting(): NamesFromProxy {
    this.#isConnected = true;
    // What was open before may have gone with the agent before.
    this.#engine?.forget(null);
    this.#engine?.connected(true);
    return { type: "names-hello" };
  }

  /** The agent went: what it wanted holds, what it has opened stays. */
  lost(): void {
    this.#isConnected = false;
    this.#engine?.connected(false);
  }

  seen(lookups: readonly LookupMessage[]): void {
    // What cannot be sent is open to nobody, and the answers need not wait for it.
    if (!this.#send({ type: "names-seen", lookups })) this.#engine?.forget(null);
  }

  take(message: NamesToProxy): void {
    switch (message.type) {
      case "names-wanted":
        this.#pattern = message.pattern;
        this.#isShared = message.shared ?? true;
        this.#engine?.want(this.#pattern, this.#isShared);
        return;
      case "names-gone":
        this.#engine?.gone(message.endpoints);
        return;
      case "names-open":
        this.#engine?.open(message.tickets);
        return;
      case "names-forget":
        if (message.names === null) this.#engine?.forget(null);
        else for (const name of message.names) this.#engine?.forget(name);
        return;
    }
  }
}
