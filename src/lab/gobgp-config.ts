/** gobgpd's TOML: of what plays kube-router on a node, and of a router that is gobgpd. */
import type { Peer } from "./bgp-peers.ts";

export interface Speaker {
  readonly as: number;
  /** An address of IPv4. */
  readonly routerId: string;
  /** On which it listens. */
  readonly addresses: readonly string[];
  readonly peers: readonly Peer[];
  readonly timers: Timers;
  /** Peers keep a vanished speaker's routes for a while. */
  readonly gracefulRestart: boolean;
  /** s of that while; left out: 90, as kube-router's. */
  readonly restartSeconds?: number | undefined;
  /** All paths that are equally good are told, and not the one best. */
  readonly multipath: boolean;
  /** Sections with the sets, policies and what is done by default; none: everything is accepted. */
  readonly policies?: string;
}

/** s */
export interface Timers {
  readonly hold: number;
  readonly keepalive: number;
}

/** Of all reflectors: they serve the same clients. */
export const clusterId = "10.0.0.1";

export function gobgpToml(speaker: Speaker): string {
  return `
[global.config]
  as = ${speaker.as}
  router-id = "${speaker.routerId}"
  port = 179
  local-address-list = ${JSON.stringify(speaker.addresses)}
${speaker.multipath ? "[global.use-multiple-paths.config]\n  enabled = true\n" : ""}${speaker.policies ?? ""}
${speaker.peers.map((peer) => neighbor(peer, speaker)).join("")}
`;
}

export function prefixSet(name: string, prefix: string, range: string): string {
  return `[[defined-sets.prefix-sets]]
  prefix-set-name = "${name}"
  [[defined-sets.prefix-sets.prefix-list]]
    ip-prefix = "${prefix}"
    masklength-range = "${range}"`;
}

export function neighborSet(name: string, hosts: readonly string[]): string {
  return `[[defined-sets.neighbor-sets]]
  neighbor-set-name = "${name}"
  neighbor-info-list = ${JSON.stringify(hosts)}`;
}

/** @param neighbors null: whoever it is; prefixes likewise */
export function statement(
  name: string,
  prefixes: string | null,
  neighbors: string | null,
  disposition: "accept-route" | "reject-route",
  nextHop: "self" | "unchanged" | null = null,
): string {
  const condition = (kind: "prefix" | "neighbor", set: string | null) =>
    set === null
      ? ""
      : `
    [policy-definitions.statements.conditions.match-${kind}-set]
      ${kind}-set = "${set}"
      match-set-options = "any"`;
  const nextHopAction = `
      [policy-definitions.statements.actions.bgp-actions]
        set-next-hop = "${nextHop}"`;
  return `  [[policy-definitions.statements]]
    name = "${name}"${condition("prefix", prefixes)}${condition("neighbor", neighbors)}
    [policy-definitions.statements.actions]
      route-disposition = "${disposition}"${nextHop === null ? "" : nextHopAction}`;
}

function neighbor(peer: Peer, speaker: Speaker): string {
  const {
    gracefulRestart,
    restartSeconds = 90,
    timers: { hold, keepalive },
  } = speaker;
  const restart = `
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = ${restartSeconds}
    deferral-time = 360`;
  const family = (name: string) => `
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${name}-unicast"${
        gracefulRestart
          ? `
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true`
          : ""
      }`;
  const reflector = `
  [neighbors.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "${clusterId}"`;
  return `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${peer.address}"
    peer-as = ${peer.as}
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
    hold-time = ${hold}
    keepalive-interval = ${keepalive}
  [neighbors.transport.config]
    local-address = "${peer.localAddress}"
    remote-port = 179${peer.client ? reflector : ""}${gracefulRestart ? restart : ""}${peer.families.map(family).join("")}
`;
}
