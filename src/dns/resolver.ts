/**
 * Addresses of a name, asked of the servers in their order, each several times, as a C library does. What a server says of a name counts;
 * that a server has a trouble of its own (SERVFAIL, REFUSED) does not, and the next one is asked.
 */
import type { Clock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";
import { addressesOf, isReachable, type NameAddress } from "./addresses.ts";
import { exchange, ExchangeError, type Server } from "./exchange.ts";
import { recordTypes, responseCodes } from "./message.ts";
import { MessageError } from "./name-bytes.ts";

export interface ResolverOptions {
  /** Asked for each time, as they may change. */
  readonly servers: () => Promise<readonly Server[]>;
  readonly randomId: () => number;
  readonly clock: Pick<Clock, "setTimer">;
  /** Of one question to one server; 2 s if not given. */
  readonly timeoutMs?: number;
}

/** Times that each server is asked. */
const rounds = 2;
const defaultTimeoutMs = 2_000;

export class Resolver {
  readonly #options: ResolverOptions;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  /**
   * @param name as `dns-names.ts` writes names
   * @returns what the name gives now; empty: it has no address of the family, or does not exist
   * @throws TandemError NAME_UNANSWERED, NAME_INVALID; the signal's reason
   */
  async resolve(name: string, family: 4 | 6, signal: AbortSignal): Promise<readonly NameAddress[]> {
    const { randomId, clock, timeoutMs = defaultTimeoutMs } = this.#options;
    const question = { name, type: family === 4 ? recordTypes.A : recordTypes.AAAA };
    const servers = await this.#options.servers();
    const failures = new Map<string, string>();
    for (let round = 0; round < rounds; round++) {
      for (const server of servers) {
        try {
          const response = await exchange(question, { server, timeoutMs, randomId, clock, signal });
          const { code } = response;
          if (code === responseCodes.ok || code === responseCodes.noName) {
            return addressesOf(response).filter(({ address }) => isReachable(address));
          }
          failures.set(server.address.text, `answered with ${codeText(code)}`);
        } catch (error) {
          if (error instanceof MessageError) throw invalid(name, error);
          if (!(error instanceof ExchangeError)) throw error;
          failures.set(server.address.text, error.message);
        }
      }
    }
    throw unanswered(name, failures);
  }
}

function codeText(code: number): string {
  const known = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
  return known[code] ?? `code ${code}`;
}

function invalid(name: string, cause: MessageError): TandemError {
  return new TandemError({
    code: "NAME_INVALID",
    object: `name ${name}`,
    message: `cannot be asked for: ${cause.message}`,
    remedy: "correct the name in the policy",
    cause,
  });
}

function unanswered(name: string, failures: ReadonlyMap<string, string>): TandemError {
  const told = [...failures].map(([server, why]) => `${server}: ${why}`).join("; ");
  return new TandemError({
    code: "NAME_UNANSWERED",
    object: `name ${name}`,
    message: told === "" ? "there is no DNS server to ask" : `no DNS server answered (${told})`,
    remedy:
      "see whether the servers of resolv.conf, or of the setting dnsServers, are reachable from this node; it is tried again, and known addresses hold until their time is over",
  });
}
