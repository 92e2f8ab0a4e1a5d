/** From a probe to packets: who sends what from which address to which, who has to answer, and who has to serve for that. */
import { type CaseProbe, isIcmp } from "./case.ts";
import { type AskedRequest, askedOf } from "./exchanges.ts";
import { unsendable } from "./kafka-message.ts";
import { familyOf, type End, type Who } from "./who.ts";

export interface Attempt {
  /** Whose prober sends. */
  readonly place: string;
  /** "open": of TCP, and the connection alone counts. */
  readonly protocol: "tcp" | "open" | "udp" | "sctp" | "icmp";
  /** What is asked over it; null: the server says its name. */
  readonly asked: AskedRequest | null;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  /** Names that an answer may carry. */
  readonly servers: readonly string[];
  /** An ICMP message that nobody answers counts when the prober of this place says that it arrived; null: there are answers. */
  readonly arrivesAt: string | null;
}

/** A port that a server has to be on. */
export interface Listener {
  readonly place: string;
  readonly protocol: "tcp" | "udp" | "sctp" | "http" | "dns" | "kafka";
  readonly port: number;
}

export type ProbePlan =
  | {
      readonly kind: "send";
      readonly attempts: readonly Attempt[];
      readonly listeners: readonly Listener[];
      /** A service that nobody is behind: the kernel may refuse at once, there is nobody whom a policy would protect. */
      readonly nobodyBehind: boolean;
    }
  /** There is nothing to send; the verdict is deny. */
  | { readonly kind: "impossible"; readonly reason: string }
  | { readonly kind: "broken"; readonly reason: string };

/** So many connections to a service for each of its backends: the choice is random, and every backend has to be met. */
const connectionsPerBackend = 12;
const maxConnections = 40;
/** Over UDP nothing is open before something is answered: that a question may be asked shows it, whatever it is. */
const anyQuestion = { kind: "dns", name: "any.invalid", type: "A" } as const;
const echoRequest = { 4: 8, 6: 128 } as const;

/** @param silent the server's name does not come by itself (`greeting.ts`) */
export function planProbe(probe: CaseProbe, who: Who, silent = false): ProbePlan {
  const unsent = probe.request?.kind === "kafka" ? unsendable(probe.request) : null;
  if (unsent !== null) return { kind: "broken", reason: unsent };
  const from = who.end(probe.from);
  if (from === null) return { kind: "broken", reason: `${probe.from} is not in the cluster` };
  if (probe.to.startsWith("svc/")) return planService(probe, from, who, silent);
  const to = who.end(probe.to);
  if (to === null) return { kind: "broken", reason: `${probe.to} is not in the cluster` };
  const family = chooseFamily(probe, from.addresses, to.addresses);
  const source = pick(from.addresses, family);
  const destination = pick(to.addresses, family);
  if (source === null || destination === null) return noFamily(probe);
  const protocol = wireProtocol(probe);
  const unanswered = protocol === "icmp" && probe.port !== echoRequest[family];
  const attempt: Attempt = {
    place: from.place,
    ...sending(probe, protocol, silent),
    source,
    destination,
    port: probe.port,
    servers: protocol === "icmp" ? ["-"] : serversSeen([to.server], probe, silent),
    arrivesAt: unanswered ? to.server : null,
  };
  const served = probe.request?.kind ?? protocol;
  const listeners = served === "icmp" ? [] : [{ place: to.server, protocol: served, port: probe.port }];
  return { kind: "send", attempts: [attempt], listeners, nobodyBehind: false };
}

/** How it is sent. */
function sending(
  { request }: CaseProbe,
  protocol: ReturnType<typeof wireProtocol>,
  silent: boolean,
): Pick<Attempt, "protocol" | "asked"> {
  if (silent && protocol === "tcp") return { protocol: "open", asked: null };
  return { protocol, asked: silent && protocol === "udp" ? anyQuestion : askedOf(request) };
}

/** Of a connection alone nobody can say who took it. */
function serversSeen(servers: readonly string[], { protocol }: CaseProbe, silent: boolean): readonly string[] {
  return silent && protocol === "TCP" ? ["-"] : servers;
}

function planService(probe: CaseProbe, from: End, who: Who, silent: boolean): ProbePlan {
  const service = who.service(probe.to.slice("svc/".length), probe.protocol, probe.port);
  if (service === null) return { kind: "broken", reason: `${probe.to} is not in the cluster` };
  const protocol = wireProtocol(probe);
  if (protocol === "icmp") return { kind: "impossible", reason: "a service has no ICMP" };
  const ends = service.backends.length === 0 ? service.addresses : service.backends.map(({ address }) => address);
  const family = chooseFamily(probe, from.addresses, ends);
  const source = pick(from.addresses, family);
  const destination = pick(service.addresses, family);
  if (source === null || destination === null || pick(ends, family) === null) return noFamily(probe);
  const served = probe.request?.kind ?? protocol;
  const listeners = service.backends
    .filter(({ address }) => familyOf(address) === family)
    .map(({ address, port }) => ({ place: who.end(address)?.server ?? "", protocol: served, port }));
  const servers = [...new Set(listeners.map(({ place }) => place))];
  const count = listeners.length < 2 ? 1 : Math.min(maxConnections, listeners.length * connectionsPerBackend);
  const attempt: Attempt = {
    place: from.place,
    ...sending(probe, protocol, silent),
    source,
    destination,
    port: probe.port,
    servers: serversSeen(servers, probe, silent),
    arrivesAt: null,
  };
  return {
    kind: "send",
    attempts: Array.from({ length: count }, () => attempt),
    listeners,
    nobodyBehind: listeners.length === 0,
  };
}

function noFamily({ from, to }: CaseProbe): ProbePlan {
  return { kind: "impossible", reason: `${from} and ${to} have no address family in common` };
}

function wireProtocol({ protocol }: CaseProbe): "tcp" | "udp" | "sctp" | "icmp" {
  return isIcmp(protocol) ? "icmp" : (protocol.toLowerCase() as "tcp" | "udp" | "sctp");
}

/** The probe's own, that of ICMP's version, else IPv4 where both ends have it, else IPv6. */
function chooseFamily(probe: CaseProbe, from: readonly string[], to: readonly string[]): 4 | 6 {
  if (probe.family !== null) return probe.family;
  if (isIcmp(probe.protocol)) return probe.protocol === "ICMP" ? 4 : 6;
  return pick(from, 4) !== null && pick(to, 4) !== null ? 4 : 6;
}

function pick(addresses: readonly string[], family: 4 | 6): string | null {
  return addresses.find((address) => familyOf(address) === family) ?? null;
}
