/**
 * The node itself in the kernel: the one entry of `host_endpoint`, which is ours. While the agent is away the node goes on with the
 * policy that it has. One write switches set, revision and flags together.
 *
 * A node without a policy has an entry of zeros: it is open, and costs nothing. So is a node whose first policy could not be written: unlike a
 * pod it is never closed, for nobody could reach it to correct what is wrong. One that has a policy keeps it (its last good
 * set) until the next one is in the kernel whole.
 */
import type { DesiredHost } from "../compute/desired.ts";
import type { Problem } from "../model/status.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { u32 } from "../native/layout.ts";
import { type Endpoint, EndpointFlags, endpoint, IdentityNumber } from "../native/layouts.gen.ts";
import type { EndpointContext } from "./endpoints.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import { endpointFlags } from "./policy-encode.ts";
import type { EntryFailure } from "./problems.ts";

const key = keyText(u32.encode(0));

const open: Endpoint = {
  ifindex: 0,
  identity: 0,
  policySet: 0,
  policyRevision: 0,
  flags: 0,
  ipv4: 0,
  ipv6: new Uint8Array(16),
  podMac: new Uint8Array(6),
  hostMac: new Uint8Array(6),
  id: 0,
};

export class HostReconciler {
  readonly counters = new Counters();
  readonly table: MapTable;
  readonly #nextRevision: () => number;

  /** @param nextRevision one that no endpoint and no flow has had */
  constructor(native: MapNative, map: MapInfo, nextRevision: () => number) {
    this.table = new MapTable(native, map, this.counters, () => "the node");
    this.#nextRevision = nextRevision;
  }

  /** What the kernel has. */
  known(): Endpoint {
    const bytes = this.table.actual.get(key);
    return bytes === undefined ? open : endpoint.decode(bytes);
  }

  async apply(
    desired: DesiredHost | undefined,
    context: Pick<EndpointContext, "sets" | "numberOf" | "isStale">,
  ): Promise<{ readonly failures: readonly EntryFailure[]; readonly problems: readonly Problem[] }> {
    const { value, problems } = this.#decide(desired, context);
    const nothing = value.flags === 0 && this.table.actual.size === 0;
    this.table.replaceDesired(new Map(nothing ? [] : [[key, endpoint.encode(value)]]));
    return { failures: await this.table.write(), problems };
  }

  #decide(
    desired: DesiredHost | undefined,
    { sets, numberOf, isStale }: Pick<EndpointContext, "sets" | "numberOf" | "isStale">,
  ): { readonly value: Endpoint; readonly problems: readonly Problem[] } {
    const before = this.known();
    if (desired === undefined) return { value: open, problems: [] };
    const set = sets.get(desired.set);
    const number = set === undefined || set.refused !== null ? null : numberOf(set);
    if (set === undefined || number === null) {
      const renewed = before.flags !== 0 && isStale(before.policySet, before.flags);
      const value = renewed ? { ...before, policyRevision: this.#nextRevision() } : before;
      return { value, problems: [heldBack(set?.refused ?? null, before.flags !== 0)] };
    }
    const policy = endpointFlags(set);
    if (policy === 0) return { value: open, problems: [] };
    const flags = policy | (desired.audit ? EndpointFlags.audit : 0);
    const same = before.policySet === number && before.flags === flags && !isStale(number, flags);
    const policyRevision = same ? before.policyRevision : this.#nextRevision();
    return {
      value: { ...open, identity: IdentityNumber.host, policySet: number, policyRevision, flags },
      problems: [],
    };
  }
}

function heldBack(refused: string | null, kept: boolean): Problem {
  return {
    code: refused === null ? "POLICY_NOT_WRITTEN" : "POLICY_REFUSED",
    severity: "error",
    object: "the node itself",
    field: "",
    message: `its policy is not in the kernel: ${refused ?? "the policy maps did not take it"}; ${kept ? "it keeps the policy that it had" : "its own traffic is not judged"}`,
    remedy: refused === null ? "see the problem of that map" : "merge or remove rules that select this node",
  };
}
