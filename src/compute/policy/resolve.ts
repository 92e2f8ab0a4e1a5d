/**
 * Rules with their peers and ports looked up: selectors become identities, port names numbers, entities what they stand for. What is
 * left knows of no policy and of no pod, and the compiler only has to group it.
 */
import type { NamePattern } from "../../model/dns-names.ts";
import { makeSelector, type Selector, selects } from "../../model/labels.ts";
import type { ContainerPort } from "../../model/tables.ts";
import { identityNumbers } from "../identity/reserved.ts";
import { groupBlocks } from "./groups.ts";
import { everything, makePortSet, type PortRange, type PortSet, portSetText } from "./port-sets.ts";
import type { Action, Block, Direction, Entity, Peer, Port, Rule, Spec } from "./rules.ts";
import { namedRanges, peersByPorts } from "./named-ports.ts";
import { Recorder, type Reads } from "./reads.ts";
import { type Peers, podsBehind, type RuleSurroundings, servicesOf, type Surroundings } from "./surroundings.ts";

/** One thing that the subject's rules say: these peers on these ports. */
export interface Entry extends Peers {
  readonly action: Action;
  readonly l7: string;
  readonly ports: PortSet;
  /** Single ports of these that it does not mean. */
  readonly except?: PortSet;
  readonly origin: string;
  /** Allows before anything is denied: for what must not be locked out. */
  readonly guard?: true;
}

const { host, world, unmanaged, health, init, remoteNode, kubeApiserver, ingress, worldIpv4, worldIpv6 } =
  identityNumbers;

/** Kubelet's probes must reach the pods of its node, whatever allows are missing; denies come first. */
export const ownNode: Entry = {
  action: "allow",
  l7: "",
  ports: everything,
  any: false,
  identities: [[host]],
  blocks: [],
  origin: "the pod's own node",
};

export interface Subject {
  /** Those that select it. */
  readonly specs: readonly Spec[];
  /** Of its pods, which all have the same ones under the names that its rules use. */
  readonly ports: readonly ContainerPort[];
  /** It is a node, not a pod with a node that must reach it. */
  readonly isNode?: boolean;
}

/** What rules say of a subject, with what was asked to know it. */
export class Resolution {
  readonly entries: readonly Entry[];
  readonly #parts: readonly Resolved[];

  constructor(entries: readonly Entry[], parts: readonly Resolved[]) {
    this.entries = entries;
    this.#parts = parts;
  }

  /** Whether the same rules say the same as things are now. */
  holds(surroundings: Surroundings): boolean {
    return this.#parts.every(({ reads }) => reads.hold(surroundings));
  }
}

/** Of one rule. */
interface Resolved {
  readonly entries: readonly Entry[];
  readonly reads: Reads;
}

/** Meanings of one rule to different subjects that are kept; there are as many as its subjects name ports differently. */
const mostVariants = 64;

/** Resolves rules for one subject after the other. What does not depend on the subject is resolved once, and again only if what it asked changed. */
export class RuleResolver {
  /** By what a subject adds to them. */
  readonly #resolved = new WeakMap<Rule, Map<string, Resolved>>();

  /**
   * @param enforced default deny holds in this direction. Without, only denies matter: what is allowed anyway needs no rule, and L7
   *   rules refuse nothing where nothing is closed.
   * @returns entries, each the same object as before if it is the same
   */
  resolve(subject: Subject, direction: Direction, enforced: boolean, surroundings: Surroundings): Resolution {
    const entries: Entry[] = enforced && direction === "ingress" && subject.isNode !== true ? [ownNode] : [];
    const parts: Resolved[] = [];
    for (const denies of [true, false]) {
      if (!denies && !enforced) continue;
      const required = requiredOf(subject, direction, denies);
      for (const { rules } of subject.specs) {
        for (const rule of rules) {
          if (rule.direction !== direction || (rule.action === "deny") !== denies) continue;
          const resolved = this.#rule(rule, subject.ports, required, surroundings);
          entries.push(...resolved.entries);
          parts.push(resolved);
        }
      }
    }
    return new Resolution(entries, parts);
  }

  #rule(
    rule: Rule,
    subjectPorts: readonly ContainerPort[],
    required: readonly Selector[],
    surroundings: Surroundings,
  ): Resolved {
    const variants = this.#resolved.get(rule) ?? new Map<string, Resolved>();
    const added = contextOf(rule, subjectPorts, required);
    const before = variants.get(added);
    if (before?.reads.hold(surroundings) === true) return before;
    const resolved = resolveAgain(rule, subjectPorts, required, surroundings, before);
    if (variants.size >= mostVariants) variants.clear();
    variants.set(added, resolved);
    this.#resolved.set(rule, variants);
    return resolved;
  }
}

function requiredOf({ specs }: Subject, direction: Direction, denies: boolean): readonly Selector[] {
  const required: Selector[] = [];
  for (const { requires } of specs) {
    for (const each of requires) {
      if (each.direction === direction && each.denies === denies) required.push(each.selector);
    }
  }
  return required;
}

/** What the subject adds to the meaning of a rule, as a text. */
function contextOf(rule: Rule, subjectPorts: readonly ContainerPort[], required: readonly Selector[]): string {
  const named = rule.direction === "ingress" && rule.ports.some(({ kind }) => kind === "named");
  if (!named && required.length === 0) return "";
  const ports = named ? subjectPorts.map(({ name, protocol, port }) => `${name ?? ""} ${protocol} ${port}`).join() : "";
  return [ports, ...required.map(({ text }) => text)].join("\n");
}

function resolveAgain(
  rule: Rule,
  subjectPorts: readonly ContainerPort[],
  required: readonly Selector[],
  surroundings: Surroundings,
  before: Resolved | undefined,
): Resolved {
  const recorder = new Recorder(surroundings);
  const fresh = resolveRule(rule, subjectPorts, required, recorder);
  // The same objects for the same meaning: whoever compiled them need not look inside.
  const same = before !== undefined && sameEntries(before.entries, fresh);
  return { entries: same ? before.entries : fresh, reads: recorder.reads() };
}

function resolveRule(
  rule: Rule,
  subjectPorts: readonly ContainerPort[],
  required: readonly Selector[],
  surroundings: RuleSurroundings,
): readonly Entry[] {
  const peers = resolvePeers(rule.peers, required, surroundings);
  const named = rule.ports.filter((port) => port.kind === "named");
  const fixed = rule.ports.flatMap(fixedRanges);
  const entry = (ranges: readonly PortRange[], who: Peers): Entry[] =>
    ranges.length === 0 || isNobody(who)
      ? []
      : [{ action: rule.action, l7: rule.l7, origin: rule.origin, ports: makePortSet(ranges), ...who }];
  if (named.length === 0) return entry(fixed, peers);
  // A name is the destination's: at ingress that is the subject itself.
  if (rule.direction === "ingress") return entry([...fixed, ...namedRanges(named, subjectPorts)], peers);
  const byPorts = peersByPorts(named, peers, surroundings);
  return [...entry(fixed, peers), ...byPorts.flatMap(({ ranges, who }) => entry(ranges, who))];
}

function isNobody({ any, identities, blocks, names = [] }: Peers): boolean {
  return !any && blocks.length === 0 && names.length === 0 && identities.every((ids) => ids.length === 0);
}

function fixedRanges(port: Port): readonly PortRange[] {
  switch (port.kind) {
    case "everything":
      return everything;
    case "range":
      return [port];
    case "named":
      return [];
  }
}

function resolvePeers(peers: readonly Peer[], required: readonly Selector[], surroundings: RuleSurroundings): Peers {
  const parts = peers.map((peer) => resolvePeer(peer, required, surroundings));
  const names = parts.flatMap((part) => part.names ?? []);
  return {
    any: parts.some(({ any }) => any),
    identities: parts.flatMap(({ identities }) => identities),
    blocks: parts.flatMap(({ blocks }) => blocks),
    ...(names.length > 0 && { names }),
  };
}

function blocksOnly(blocks: readonly Block[]): Peers {
  return { any: false, identities: [], blocks };
}

const everybody: Peers = { any: true, identities: [], blocks: [] };

function resolvePeer(peer: Peer, required: readonly Selector[], surroundings: RuleSurroundings): Peers {
  const { selectors } = surroundings;
  const pods = (selector: Selector, narrowed: boolean): readonly number[] =>
    selectors.match(narrowed && required.length > 0 ? allOf([selector, ...required]) : selector);
  switch (peer.kind) {
    case "any":
      return everybody;
    case "pods":
      return { any: false, identities: [pods(peer.selector, peer.narrowed)], blocks: [] };
    case "block":
      return blocksOnly([peer.block]);
    case "group":
      return blocksOnly(groupBlocks(peer, surroundings.groups));
    case "nodes": {
      const nodes = surroundings.nodes.filter(({ labels }) => selects(peer.selector, labels));
      return blocksOnly(nodes.flatMap(({ blocks }) => blocks));
    }
    case "names":
      // What they stand for is added to the compiled set (`names/`), as it changes far more often than rules do.
      return { ...blocksOnly([]), names: [peer.pattern] };
    case "entity":
      return resolveEntity(peer.entity, surroundings);
    case "service": {
      const services = servicesOf(peer, surroundings.services);
      // Cilium makes endpoint selectors of them, so what narrows those narrows these.
      const selectorsBehind = services.flatMap((service) => podsBehind(service) ?? []);
      const fixed = services.filter((service) => podsBehind(service) === null);
      return {
        any: false,
        identities: selectorsBehind.map((selector) => pods(selector, true)),
        blocks: fixed.flatMap(({ namespace, name }) => surroundings.endpoints.blocks(`${namespace}/${name}`)),
      };
    }
  }
}

function allOf(selectors: readonly Selector[]): Selector {
  return makeSelector(selectors.flatMap(({ requirements }) => requirements));
}

function resolveEntity(entity: Entity, { selectors, apiServer }: RuleSurroundings): Peers {
  const only = (...ids: readonly number[]): Peers => ({ any: false, identities: [ids], blocks: [] });
  switch (entity) {
    case "all":
      return everybody;
    case "cluster": {
      const reserved = [host, unmanaged, health, init, remoteNode, kubeApiserver, ingress];
      return { any: false, identities: [reserved, selectors.all], blocks: apiServer };
    }
    case "host":
      return only(host);
    case "remote-node":
      return only(remoteNode);
    case "world":
      return only(world, worldIpv4, worldIpv6);
    case "world-ipv4":
      return only(worldIpv4);
    case "world-ipv6":
      return only(worldIpv6);
    case "kube-apiserver":
      // Its addresses keep the identity that they have as a node or as the outside, so they are named one by one.
      return { any: false, identities: [[kubeApiserver]], blocks: apiServer };
    case "health":
      return only(health);
    case "init":
      return only(init);
    case "unmanaged":
      return only(unmanaged);
    case "ingress":
      return only(ingress);
    case "none":
      return only();
  }
}

function sameNumbers(left: readonly number[], right: readonly number[]): boolean {
  return left === right || (left.length === right.length && left.every((id, index) => id === right[index]));
}

function sameNames(left: readonly NamePattern[] = [], right: readonly NamePattern[] = []): boolean {
  if (left === right) return true;
  return (
    left.length === right.length &&
    left.every(({ kind, text }, index) => kind === right[index]?.kind && text === right[index].text)
  );
}

function sameBlocks(left: readonly Block[], right: readonly Block[]): boolean {
  if (left === right) return true;
  return (
    left.length === right.length &&
    left.every((block, index) => {
      const other = right[index];
      if (block === other) return true;
      return (
        other !== undefined &&
        block.prefix.text === other.prefix.text &&
        block.outsideOnly === other.outsideOnly &&
        block.except.length === other.except.length &&
        block.except.every((each, position) => each.text === other.except[position]?.text)
      );
    })
  );
}

/** Compiling both would give the same. Cheap where the parts are the same objects as before. */
export function sameEntries(left: readonly Entry[], right: readonly Entry[]): boolean {
  return (
    left.length === right.length &&
    left.every((entry, index) => {
      const other = right[index];
      if (entry === other) return true;
      return (
        other !== undefined &&
        entry.action === other.action &&
        entry.guard === other.guard &&
        entry.l7 === other.l7 &&
        entry.origin === other.origin &&
        entry.any === other.any &&
        portSetText(entry.ports) === portSetText(other.ports) &&
        entry.identities.length === other.identities.length &&
        entry.identities.every((ids, position) => sameNumbers(ids, other.identities[position] ?? [])) &&
        sameBlocks(entry.blocks, other.blocks) &&
        sameNames(entry.names, other.names)
      );
    })
  );
}
