/** What is really in the kernel's maps, in the API's words. */
import type { CtDto, IpcacheDto, NatDto, PolicyMapDto, ServiceDto } from "../api/dto.ts";
import type { DesiredFrontend } from "../compute/desired.ts";
import type {
  Endpoint,
  KernelFlow,
  KernelGroup,
  KernelIdentity,
  KernelPolicySet,
  KernelRenaming,
  KernelService,
} from "../datapath/report.ts";
import { compareAddresses } from "../model/ip.ts";
import type { ServiceRow } from "../model/tables.ts";
import { frontendType } from "./services.ts";
import { portsText, protocolName, socketText } from "./text.ts";

export type LabelsOf = (identity: number) => readonly string[];

export function flowReport(flow: KernelFlow): CtDto {
  return {
    family: flow.family,
    protocol: protocolName(flow.protocol),
    source: textOf(flow.source),
    destination: textOf(flow.destination),
    state: flow.state,
    idleSeconds: flow.idleSeconds,
    ageSeconds: flow.ageSeconds,
    nat: flow.nat === null ? null : textOf(flow.nat),
    egressRevision: flow.egressRevision,
    ingressRevision: flow.ingressRevision,
  };
}

/** By who sends and to whom: the kernel's order means nothing. */
export function renamingReport(flows: readonly KernelRenaming[]): readonly NatDto[] {
  const by = (a: Endpoint, b: Endpoint) => compareAddresses(a.address, b.address) || a.port - b.port;
  return [...flows]
    .sort((a, b) => by(a.source, b.source) || by(a.destination, b.destination) || a.protocol - b.protocol)
    .map(({ family, protocol, source, destination, to, kind, state, idleSeconds }) => ({
      family,
      protocol: protocolName(protocol),
      source: textOf(source),
      destination: textOf(destination),
      newSource: textOf(to.source),
      newDestination: textOf(to.destination),
      kind,
      state,
      idleSeconds,
    }));
}

/** Sorted by address: the kernel's order means nothing. */
export function identityReport(entries: readonly KernelIdentity[], labelsOf: LabelsOf): readonly IpcacheDto[] {
  return [...entries]
    .sort((a, b) => compareAddresses(a.address, b.address))
    .map(({ address, identity }) => ({ address: address.text, identity, labels: labelsOf(identity) }));
}

export function policySetReport(set: KernelPolicySet, labelsOf: LabelsOf): PolicyMapDto {
  return {
    set: set.set,
    direction: set.direction,
    enforced: set.enforced,
    groups: set.groups.map((group) => ({
      group: group.group,
      action: group.action,
      peers: peersOf(group, labelsOf),
      ports: group.ports.filter((entry) => !isCovered(entry, group.ports)).map(portsText),
      origins: group.origins,
    })),
  };
}

/** @param frontends those that compute wants, which know the names of their services */
export function kernelServiceReport(
  kernel: readonly KernelService[],
  frontends: readonly DesiredFrontend[],
  services: ReadonlyMap<string, ServiceRow>,
): readonly ServiceDto[] {
  const known = new Map(frontends.map((frontend) => [frontendKey(frontend, frontend.protocol), frontend]));
  const outsideOf = new Map(
    kernel.flatMap((entry) =>
      entry.outside ? [[frontendKey(entry.frontend, entry.protocol), entry.backends.map(textOf)] as const] : [],
    ),
  );
  const inside = kernel.filter(({ outside }) => !outside);
  const sorted = inside.sort(
    (a, b) => compareAddresses(a.frontend.address, b.frontend.address) || a.frontend.port - b.frontend.port,
  );
  return sorted.map(({ frontend, protocol, backends }) => {
    const wanted = known.get(frontendKey(frontend, protocol));
    return {
      service: wanted?.service ?? "",
      type: wanted === undefined ? "" : frontendType(wanted, services),
      frontend: textOf(frontend),
      protocol: protocolName(protocol),
      backends: backends.map(textOf),
      outside: outsideOf.get(frontendKey(frontend, protocol)) ?? null,
    };
  });
}

export const textOf = ({ address, port }: Endpoint): string => socketText(address, port);

export const frontendKey = ({ address, port }: Endpoint, protocol: number): string =>
  `${address.text} ${port} ${protocol}`;

type PortEntry = KernelGroup["ports"][number];

/** A longer prefix carries the groups of the shorter ones: what a shorter one of the same group says already is not said again. */
function isCovered(entry: PortEntry, all: readonly PortEntry[]): boolean {
  return all.some((wide) => wide.bits < entry.bits && keyBits(wide, wide.bits) === keyBits(entry, wide.bits));
}

/** The first bits of protocol (8) and port (16). */
function keyBits({ protocol, port }: PortEntry, bits: number): number {
  return Math.floor((protocol * 2 ** 16 + port) / 2 ** (24 - bits));
}

/** Labels that pods were given, and their namespace; the others follow from it. */
const isOfPod = (label: string): boolean => !label.startsWith("k8s:io.cilium.k8s.");

function peersOf({ identities, prefixes }: KernelGroup, labelsOf: LabelsOf): readonly string[] {
  const named = identities.map((identity) =>
    identity === 0 ? "ANY" : [identity, ...labelsOf(identity).filter(isOfPod)].join(" "),
  );
  return [...named, ...prefixes.map(({ text }) => text)];
}
