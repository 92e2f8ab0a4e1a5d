/**
 * The contract with the DNS part of the L7 engine (`addon/src/l7/dns/`), in the terms of `contract.ts`: questions of pods are judged and passed on
 * there, and only answers that may open something are told here.
 */
import type { Handle } from "./handle.ts";
import type { L7Pattern } from "./l7-contract.ts";

/** An answer that a policy set may use (toFQDNs): to be opened, and then to be named in `dnsWritten`. */
export interface DnsLookup {
  /** Counted up from 1. */
  readonly ticket: number;
  /** Whose question it was, by number on this node. */
  readonly endpoint: number;
  /** Number of the kernel's policy set that the client has. */
  readonly policySet: number;
  /** Lower case with its last dot. */
  readonly name: string;
  /** Seconds: of the shortest-lived record on the way to the addresses. */
  readonly ttl: number;
  readonly addresses: readonly string[];
}

/** What one end says of every flow; see `Stance` in addon/src/l7/rules.h. */
export interface DnsEnd {
  readonly stance: "absent" | "open" | "refused" | "asks" | "unknown";
  readonly identity: number;
  readonly endpoint: number;
  readonly policySet: number;
  readonly anyOf: readonly { readonly id: number; readonly patterns: readonly L7Pattern[] }[];
}

export interface DnsOptions {
  /** A bound UDP socket, which is closed with the proxy. The kernel gives it datagrams whose destination it is not. */
  readonly socket: number;
  /** Of what is sent to servers and clients; 0: none. */
  readonly mark: number;
  /** Answer NXDOMAIN to what is denied, and not REFUSED. */
  readonly noName: boolean;
  /** ms that an answer waits for its addresses to be open. */
  readonly mostDelay: number;
  /** ms after which a question without an answer is forgotten. */
  readonly serverTimeout: number;
  /** Under way from one client's address and port. */
  readonly mostQuestions: number;
  /** Seconds that an address holds, whatever its answer says. */
  readonly leastTtl: number;
  /** Names that toFQDNs rules of each policy set may use. Answers to others are told to nobody. */
  readonly names: readonly { readonly policySet: number; readonly pattern: L7Pattern }[];
  readonly demands: { readonly egress: DnsEnd; readonly ingress: DnsEnd };
}

/** Since the start. */
export interface DnsCounts {
  readonly forwarded: number;
  readonly denied: number;
  readonly malformed: number;
  /** Questions answered with SERVFAIL, as too many were under way. */
  readonly overloaded: number;
  /** Questions over UDP that waited, as rules had not come. */
  readonly waited: number;
  /** Questions over UDP that were refused, as no rules came in time, or too many waited. */
  readonly unruled: number;
  /** Answers to nothing that was asked: poisoned, late, or a second one. */
  readonly stray: number;
  /** Questions that nobody answered in time. */
  readonly silent: number;
  /** Answers that went to the pod before their addresses were open. */
  readonly overdue: number;
  /** Lookups given to JavaScript. */
  readonly told: number;
  /** Answers whose addresses were known to be open. */
  readonly remembered: number;
  /** Lookups for which there was no room: their addresses are not open. */
  readonly lost: number;
}

export interface DnsBinding {
  /**
   * A DNS proxy by itself, with the same demands for all of its clients: what tests and benchmarks measure.
   * @param onRecord one line of JSON for each question; null: none are made
   */
  openDns(
    options: DnsOptions,
    onLookups: (lookups: readonly DnsLookup[]) => void,
    onRecord: ((line: string) => void) | null,
  ): Handle;
  /** Whether somebody writes what is told. While nobody does answers wait for nobody. */
  dnsConnected(dns: Handle, connected: boolean): void;
  /** Their addresses are open: the answers go. */
  dnsWritten(dns: Handle, tickets: readonly number[]): void;
  /** Addresses of the name (with its last dot; null: of all) may be closed again. */
  dnsForget(dns: Handle, name: string | null): void;
  /** What the ends demand from now on. */
  dnsDemand(dns: Handle, demands: DnsOptions["demands"]): void;
  /** `known`: addresses that are remembered as open now. */
  dnsCounts(dns: Handle): DnsCounts & { readonly known: number };
  closeDns(dns: Handle): Promise<void>;
}
