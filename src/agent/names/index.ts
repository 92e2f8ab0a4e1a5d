/** Makes the follower of names as the settings say. */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { AgentConfig } from "../../config/index.ts";
import type { Server } from "../../dns/exchange.ts";
import { NameCache } from "../../dns/name-cache.ts";
import { serversOf } from "../../dns/resolv-conf.ts";
import { Resolver } from "../../dns/resolver.ts";
import type { Clock } from "../../lib/clock.ts";
import { TandemError } from "../../lib/errors.ts";
import { parseAddress } from "../../model/ip.ts";
import { type Machine, NameFile } from "./name-file.ts";
import { NameFollower, type NameFollowerOptions } from "./name-follower.ts";

export type { NameFollower } from "./name-follower.ts";
export { containerOf, NamesLink } from "./names-link.ts";

const resolvConf = "/etc/resolv.conf";
const dnsPort = 53;
/** Addresses of all names: half of what the kernel's table of prefixes takes by default. */
const mostAddresses = 32_768;
/** Of those that are one pod's own: one that asks for ever new names takes nothing from others. */
const mostAddressesOfPod = 4_096;

export interface NamesOptions
  extends Pick<NameFollowerOptions, "inUse" | "store" | "conditions" | "log" | "forgotten" | "gone"> {
  readonly config: Pick<
    AgentConfig,
    "dnsMode" | "dnsServers" | "dnsMinTtl" | "dnsMaxAddresses" | "ipv4" | "ipv6" | "stateDir"
  >;
  readonly clock: Clock;
  readonly machine: Machine;
}

/** @throws TandemError DNS_SERVER for a server that is none */
export function createNames(options: NamesOptions): NameFollower {
  const { config, clock, conditions, machine } = options;
  const cache = new NameCache({
    minTtlSeconds: config.dnsMinTtl,
    mostPerName: config.dnsMaxAddresses,
    mostPerEndpoint: mostAddressesOfPod,
    mostInAll: mostAddresses,
    monotonicMs: () => clock.monotonicMs(),
  });
  const servers = config.dnsServers.map(readServer);
  const resolver = new Resolver({
    servers: async () => (servers.length > 0 ? servers : await serversOfNode()),
    randomId: () => randomInt(0x10000),
    clock,
  });
  return new NameFollower({
    ...options,
    cache,
    file: new NameFile({ stateDir: config.stateDir, cache, conditions, clock, machine }),
    families: [...(config.ipv4 ? [4 as const] : []), ...(config.ipv6 ? [6 as const] : [])],
    resolve: config.dnsMode === "resolve" ? (name, family, signal) => resolver.resolve(name, family, signal) : null,
    isTold: config.dnsMode === "proxy",
  });
}

/** None, where the file is missing: the resolver tells that there is nobody to ask. */
async function serversOfNode(): Promise<readonly Server[]> {
  const text = await readFile(resolvConf, "utf8").catch(() => "");
  return serversOf(text).map((address) => ({ address, port: dnsPort }));
}

/** "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353". */
export function readServer(text: string): Server {
  const plain = parseAddress(text);
  if (plain !== null) return { address: plain, port: dnsPort };
  const [, bracketed, bare, digits = ""] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = parseAddress(bracketed ?? bare ?? "");
  const port = Number(digits);
  if (address !== null && (address.family === 6) === (bracketed !== undefined) && port >= 1 && port <= 65_535) {
    return { address, port };
  }
  throw new TandemError({
    code: "DNS_SERVER",
    object: "dnsServers",
    message: `${JSON.stringify(text)} is no address of a DNS server`,
    remedy: "write addresses, with a port if it is not 53: 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353",
  });
}
