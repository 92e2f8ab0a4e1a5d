/**
 * Which devices lead to other nodes: those that the setting names, or by "auto" those that look like it. A device that is
 * taken for an uplink by mistake gets programs that judge its traffic; one that is missed lets traffic past them.
 */
import type { Problem } from "../../model/status.ts";
import type { UplinkRow } from "../../model/tables.ts";
import type { AddressRow, LinkRow } from "../../native/netlink-contract.ts";

/** IFF_UP and IFF_LOOPBACK (linux/if.h). */
const flag = { up: 1, loopback: 8 } as const;
/** ARPHRD_ETHER: packets begin with an Ethernet header. kube-router's tun-* have none. */
const ethernet = 1;
/** RT_SCOPE_UNIVERSE: an address that other hosts may use. */
const global = 0;

/** Kinds whose addresses say nothing of other nodes: they count only where a route of BGP leaves through them. */
const inward: ReadonlySet<string> = new Set(["bridge", "dummy"]);

export interface UplinkChoice {
  /** Sorted by ifindex. */
  readonly uplinks: readonly UplinkRow[];
  readonly problems: readonly Problem[];
}

/** Names and aliases as `cni/wiring-plan.ts` gives them. */
export function isPodDevice({ name, alias }: Pick<LinkRow, "name" | "alias">): boolean {
  return alias.startsWith("tandem:") || /^tdm[0-9a-f]{11}$/.test(name);
}

/**
 * @param setting names, globs (* and ?), or "auto"
 * @param routed indexes of devices that a route of BGP leaves through
 */
export function chooseUplinks(
  setting: readonly string[],
  links: Iterable<LinkRow>,
  addresses: Iterable<AddressRow>,
  routed: ReadonlySet<number>,
): UplinkChoice {
  const addressed = new Set([...addresses].filter(({ scope }) => scope === global).map(({ index }) => index));
  const eligible = [...links].filter((link) => (link.flags & flag.loopback) === 0 && !isPodDevice(link));
  const isAuto = (link: LinkRow) =>
    (link.flags & flag.up) !== 0 && (routed.has(link.index) || (addressed.has(link.index) && !inward.has(link.kind)));

  const chosen = new Map<number, LinkRow>();
  const problems: Problem[] = [];
  for (const pattern of setting) {
    const found = eligible.filter(pattern === "auto" ? isAuto : ({ name }) => fits(pattern, name));
    for (const link of found) chosen.set(link.index, link);
    if (found.length === 0 && pattern !== "auto") problems.push(missing(pattern, eligible));
  }
  if (chosen.size === 0) problems.push(none(setting));
  const uplinks = [...chosen.values()]
    .sort((a, b) => a.index - b.index)
    .map(({ index, name, mtu, type }) => ({ ifindex: index, name, mtu, l3: type !== ethernet }));
  return { uplinks, problems };
}

/** A whole name against a pattern with * and ?. */
function fits(pattern: string, name: string): boolean {
  const literal = (text: string) => text.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${literal(pattern).replaceAll("*", ".*").replaceAll("?", ".")}$`).test(name);
}

function missing(pattern: string, links: readonly LinkRow[]): Problem {
  const isGlob = /[*?]/.test(pattern);
  const names = links.map(({ name }) => name).sort();
  const known = names.length > 8 ? `${names.slice(0, 8).join(", ")}, …` : names.join(", ") || "none";
  return {
    code: "UPLINK_MISSING",
    severity: isGlob ? "warning" : "error",
    object: `device ${pattern}`,
    field: "uplinks",
    message: isGlob ? "no device of this node has such a name" : "this node has no device of this name",
    remedy: `change the setting \`uplinks\`, or make the device: it is taken as soon as it is there (there are: ${known})`,
  };
}

function none(setting: readonly string[]): Problem {
  return {
    code: "NO_UPLINK",
    severity: "warning",
    object: "this node",
    field: "uplinks",
    message: `no device leads to other nodes (setting: ${setting.join(", ")}); only pods of this node are reached`,
    remedy: "give a device a global address and set it up, or name one with the setting `uplinks`",
  };
}
