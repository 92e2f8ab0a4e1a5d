/**
 * Whether a verdict that conntrack keeps may be wrong after addresses changed hands. Conntrack keeps a verdict under the policy revision of
 * the local end; who the peer is, is not part of it. When an address of identity A gets identity B (a pod's address is reused within
 * milliseconds), flows with that address would go on as allowed for A. So the revision of every endpoint whose policy may be less
 * generous to B than to A moves on, and its flows are judged again, once, by their next packet.
 *
 * Only allowed flows have an entry, so only a change that can take away matters: an allow that A had and B has not, or a deny (or
 * redirect) that B has and A had not. A new pod that policies merely allow changes no revision.
 */
import type { CompiledDirection, CompiledSet } from "../compute/desired.ts";
import { IdentityNumber } from "../native/layouts.gen.ts";
import type { IdentityChange } from "./ipcache.ts";

const outside: ReadonlySet<number> = new Set([
  IdentityNumber.world,
  IdentityNumber.worldIpv4,
  IdentityNumber.worldIpv6,
]);

export function mayTakeAway(set: CompiledSet, changes: readonly IdentityChange[]): boolean {
  return changes.some((change) => takesAway(set.egress, change) || takesAway(set.ingress, change));
}

function takesAway(direction: CompiledDirection, { before, after }: IdentityChange): boolean {
  // Prefix groups that count outside of the cluster only hold for one of the two: which ones, the address decides. Rare: be careful.
  if (direction.outsideOnly.length > 0 && outside.has(before) !== outside.has(after)) return true;
  const had = direction.peers.get(before) ?? [];
  const has = direction.peers.get(after) ?? [];
  const { guards = 0, denies } = direction;
  const allows = (group: number) =>
    group < guards || (group >= guards + denies && group < guards + denies + direction.allows);
  return (
    had.some((group) => allows(group) && !has.includes(group)) ||
    has.some((group) => !allows(group) && !had.includes(group))
  );
}
