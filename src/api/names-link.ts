/**
 * What proxy and agent say to each other about names of DNS, on the connection of `proxy-dto.ts`: the proxy tells answers that a toFQDNs rule may
 * use, and lets them reach the pods when the agent says that their addresses are open.
 */

/** A proxy's answer, as its engine saw it. */
export interface LookupMessage {
  /** Of this proxy. */
  readonly ticket: number;
  /** Whose question it was, by number on this node. */
  readonly endpoint: number;
  /** Lower case with its last dot. */
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly addresses: readonly string[];
  /** Seconds since the answer came. Not set: it came just now. */
  readonly ago?: number;
}

export type NamesFromProxy =
  /** Tell me the names. Before it come lookups that the agent before may have taken with it. */
  { readonly type: "names-hello" } | { readonly type: "names-seen"; readonly lookups: readonly LookupMessage[] };

export type NamesToProxy =
  /** Of all toFQDNs rules of this node: an expression of RE2 for whole names with their last dot. null: no rule is about names. */
  | {
      readonly type: "names-wanted";
      readonly pattern: string | null;
      /** What one pod was given is open to all: else each pod's answers are told. Not set: it is. */
      readonly shared?: boolean;
    }
  /** Their addresses are in the kernel. */
  | { readonly type: "names-open"; readonly tickets: readonly number[] }
  /** Pods, by number, that are no more: what is known to be open to them is not to who has the number next. */
  | { readonly type: "names-gone"; readonly endpoints: readonly number[] }
  /** Addresses of these names may be closed again. null: of all. */
  | { readonly type: "names-forget"; readonly names: readonly string[] | null };
