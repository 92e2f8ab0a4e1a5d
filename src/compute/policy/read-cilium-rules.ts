/** The entries of ingress, egress, ingressDeny and egressDeny of a Cilium policy. */
import { fieldNames } from "../../lib/schema.ts";
import { allowedPortsSchema, demandFields, deniedPortsSchema, peerNames, ruleSchemas } from "./cilium-schema.ts";
import { at, type Fields, type Place, readEach, readFields, refuse, warn } from "./fields.ts";
import { readCidrSet } from "./read-cilium-cidr.ts";
import { readAuthentication, readDemands } from "./read-cilium-l7.ts";
import { readNamesPeer, readNodesPeer, refuseCloudGroup } from "./read-cilium-peers.ts";
import { readEndpointPeer, readRequirement } from "./read-cilium-selector.ts";
import { readServicePeer } from "./read-cilium-services.ts";
import { checkCount, readEntity, readIcmps, readPortProtocol } from "./read-cilium-values.ts";
import { readPrefix } from "./read-values.ts";
import type { Direction, Peer, Port, Requires, Rule } from "./rules.ts";

export interface CiliumRuleScope {
  /** Of the policy; null: clusterwide. */
  readonly namespace: string | null;
  readonly direction: Direction;
  readonly denies: boolean;
  /** The policy is about nodes. */
  readonly ofNodes: boolean;
  /** "CiliumNetworkPolicy shop/api ingressDeny"; the entry's index is appended. */
  readonly origin: string;
}

interface Read {
  readonly rules: readonly Rule[];
  readonly requires: readonly Requires[];
}

/** Ports with what is demanded of their traffic. */
interface PortRule {
  readonly ports: readonly Port[];
  readonly l7: string;
}

export function readCiliumRules(value: unknown, place: Place, scope: CiliumRuleScope): Read {
  let index = 0;
  const entries = readEach(value, place, (entry, entryPlace) => {
    const origin = `${scope.origin}[${index++}]`;
    if (entry === null) refuse(entryPlace, "POLICY_TYPE", "the rule is empty", "write {} or remove it");
    return readRule(entry, entryPlace, scope, origin);
  });
  return {
    rules: (entries ?? []).flatMap(({ rules }) => rules),
    requires: (entries ?? []).flatMap(({ requires }) => requires),
  };
}

/** What a denial cannot ask for: name -> remedy. */
const deniedDemands = [...demandFields, "authentication", "toFQDNs"].map((name): [string, string] => [
  name,
  "a denial knows addresses and ports only: remove it, or write what is allowed instead",
]);

/** The names that the fields have in this direction. */
function namesIn({ direction, denies }: CiliumRuleScope): {
  readonly side: "from" | "to";
  readonly peers: readonly string[];
  readonly known: readonly string[];
  readonly misplaced: ReadonlyMap<string, string>;
} {
  const side = direction === "ingress" ? "from" : "to";
  const rule = ruleSchemas[denies ? (`${direction}Deny` as const) : direction];
  const both = peerNames(ruleSchemas.ingress).map((name) => name.slice("from".length));
  const other = side === "from" ? "to" : "from";
  const misplaced = new Map([
    ...[...both, "Requires"].map((name): [string, string] => [other + name, `at ${direction} it is ${side}${name}`]),
    ...["toServices", "toFQDNs"].map((name): [string, string] => [name, "write it in an egress rule"]),
    ...(denies ? deniedDemands : []),
  ]);
  return { side, peers: peerNames(rule), known: fieldNames(rule), misplaced };
}

function readRule(value: unknown, place: Place, scope: CiliumRuleScope, origin: string): Read | null {
  const names = namesIn(scope);
  const fields = readFields(value, place, names.known, names.misplaced);
  if (fields === null) return null;
  const peers = readPeers(fields, place, scope, names);
  const portRules = readPortRules(fields, place, scope);
  const authentication = readAuthentication(fields.authentication, at(place, "authentication"));
  const rules = portRules.flatMap(({ ports, l7 }): Rule[] => {
    const demands = [l7, authentication].filter((text) => text !== "").join("\n");
    // Without peers the rule is about everybody, but only if it says of which ports.
    const everybody: readonly Peer[] = ports.some(({ kind }) => kind === "everything") ? [] : [{ kind: "any" }];
    return [
      {
        direction: scope.direction,
        action: scope.denies ? "deny" : demands === "" ? "allow" : "redirect",
        peers: peers ?? everybody,
        ports,
        l7: demands,
        origin,
      },
    ];
  });
  const requiresField = `${names.side}Requires`;
  const requires = readEach(fields[requiresField], at(place, requiresField), (entry, entryPlace): Requires | null => {
    const selector = readRequirement(entry, entryPlace, scope.namespace);
    return selector === null ? null : { direction: scope.direction, denies: scope.denies, selector };
  });
  return { rules, requires: requires ?? [] };
}

/** Null where no peer field is there at all; an empty list is nobody. */
function readPeers(
  fields: Fields,
  place: Place,
  scope: CiliumRuleScope,
  names: { readonly side: string; readonly peers: readonly string[] },
): readonly Peer[] | null {
  const given = names.peers.filter((name) => fields[name] !== undefined && fields[name] !== null);
  const filled = given.filter(
    (name) => !Array.isArray(fields[name]) || (fields[name] as readonly unknown[]).length > 0,
  );
  if (filled.length > 1) {
    refuse(place, "POLICY_COMBINED", `${filled.join(" and ")} in one rule`, "write a rule for each: rules add up");
  }
  if (given.length === 0) return null;
  return given.flatMap((name) => {
    const reader = peerReader(name.slice(names.side.length), scope);
    return readEach(fields[name], at(place, name), reader) ?? [];
  });
}

function peerReader(kind: string, scope: CiliumRuleScope): (value: unknown, place: Place) => Peer | null {
  switch (kind) {
    case "Endpoints":
      return (value, place) => readEndpointPeer(value, place, scope.namespace);
    case "CIDR":
      return (value, place) => {
        const prefix = readPrefix(value, place, true);
        return prefix === null ? null : { kind: "block", block: { prefix, except: [], outsideOnly: true } };
      };
    case "CIDRSet":
      return readCidrSet;
    case "Entities":
      return (value, place) => {
        const entity = readEntity(value, place);
        return entity === null ? null : { kind: "entity", entity };
      };
    case "Services":
      return (value, place) => readServicePeer(value, place, scope.namespace);
    case "FQDNs":
      return readNamesPeer;
    case "Nodes":
      return readNodesPeer;
    default:
      return refuseCloudGroup;
  }
}

/** One for each entry of toPorts, one for all ICMP types; one for everything, if neither is there. */
function readPortRules(fields: Fields, place: Place, scope: CiliumRuleScope): readonly PortRule[] {
  const portsPlace = at(place, "toPorts");
  const icmps = readIcmps(fields.icmps, at(place, "icmps"));
  const portRules = readEach(fields.toPorts, portsPlace, (entry, entryPlace) => readPortRule(entry, entryPlace, scope));
  const hasPorts = Array.isArray(fields.toPorts) && fields.toPorts.length > 0;
  const hasIcmps = Array.isArray(fields.icmps) && fields.icmps.length > 0;
  if (hasPorts && hasIcmps) {
    refuse(
      at(place, "icmps"),
      "POLICY_COMBINED",
      "toPorts and icmps in one rule",
      "write a rule for each: rules add up",
    );
  }
  if (hasPorts) return portRules ?? [];
  return [{ ports: hasIcmps ? (icmps ?? []) : [{ kind: "everything" }], l7: "" }];
}

function readPortRule(value: unknown, place: Place, scope: CiliumRuleScope): PortRule | null {
  const known = fieldNames(scope.denies ? deniedPortsSchema : allowedPortsSchema);
  const fields = readFields(value, place, known, new Map(scope.denies ? deniedDemands : []));
  if (fields === null) {
    if (value === null) refuse(place, "POLICY_TYPE", "the entry is empty", "write ports");
    return null;
  }
  const portsPlace = at(place, "ports");
  checkCount(fields.ports, portsPlace);
  const ports = (readEach(fields.ports, portsPlace, readPortProtocol) ?? []).flat();
  const l7 = readDemands(fields, place, scope, ports);
  if (!Array.isArray(fields.ports) || fields.ports.length === 0) {
    warn(portsPlace, "POLICY_NO_EFFECT", "no port is named, so this matches nothing", 'write port "0" for every port');
  }
  return l7 === null ? null : { ports, l7 };
}
