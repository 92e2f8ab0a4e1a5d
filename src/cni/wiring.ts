/** Makes, compares and removes the network of one pod in the kernel. */
import type { NativeBinding } from "../native/contract.ts";
import type { LinkRow, NetlinkChange } from "../native/netlink-contract.ts";
import type { EndpointRecord } from "./endpoint-files.ts";
import { CniError, cniCodes, describe } from "./errors.ts";
import {
  addressesOf,
  aliasOf,
  hostChanges,
  hostDeviceName,
  hostSysctls,
  macBytes,
  podChanges,
  podSysctls,
} from "./wiring-plan.ts";

const iffUp = 1;

/** Makes the veth pair, its pod end inside the pod's namespace. Nothing is configured yet. */
export async function createLink(
  native: NativeBinding,
  record: EndpointRecord,
): Promise<{ readonly index: number; readonly peerIndex: number }> {
  const { row } = record;
  try {
    const [own, pods] = await settleAll([native.netnsCookie(null), native.netnsCookie(row.netns)]);
    // A default route to a gateway that nobody has would cut the node off.
    if (own === pods) throw new Error(`CNI_NETNS ${row.netns} is the node's own network namespace`);
    return await native.createVeth(null, {
      name: record.hostDevice,
      peerName: row.ifname,
      peerNetns: row.netns,
      mtu: record.mtu,
      mac: macBytes(row.hostMac),
      peerMac: macBytes(row.podMac),
      alias: aliasOf(row.pod),
    });
  } catch (cause) {
    throw kernelError(record, describe(cause), cause);
  }
}

/** Addresses, routes, neighbours and settings of both ends, each end in one go and both at once. */
export async function configureLink(native: NativeBinding, record: EndpointRecord, podIfindex: number): Promise<void> {
  const { netns } = record.row;
  try {
    const pod = native
      .writeSysctls(netns, podSysctls(record))
      .then(() => apply(native, record, netns, podChanges(record, podIfindex)));
    const host = native
      .writeSysctls(null, hostSysctls(record))
      .then(() => apply(native, record, null, hostChanges(record)));
    await settleAll([pod, host]);
  } catch (cause) {
    throw cause instanceof CniError ? cause : kernelError(record, describe(cause), cause);
  }
}

/** Removes the pod's link wherever its other end is; its routes and neighbours go with it. Missing is no error. */
export async function removeLink(native: NativeBinding, containerId: string): Promise<void> {
  const name = hostDeviceName(containerId);
  const link = (await native.links(null)).find((one) => one.name === name);
  if (link !== undefined) await deleteLinks(native, [link]);
}

export async function deleteLinks(native: NativeBinding, links: readonly LinkRow[]): Promise<void> {
  const failures = await native.applyNetlink(
    null,
    links.map((link) => ({ kind: "link", op: "delete", index: link.index })),
  );
  for (const failure of failures) {
    // The pod's namespace may take the link with it at the same moment.
    if (failure.code === "ENODEV") continue;
    throw new CniError({
      code: "CNI_KERNEL",
      cniCode: cniCodes.kernel,
      object: `device ${links[failure.at]?.name}`,
      message: `delete link: ${failure.code}${failure.log === null ? "" : ` (${failure.log})`}`,
      remedy: "the runtime tries again; the agent's log has more",
    });
  }
}

/** What differs from what ADD made, in words; empty: nothing. */
export async function compareLink(
  native: NativeBinding,
  record: EndpointRecord,
  netns: string,
): Promise<readonly string[]> {
  const { row } = record;
  const [hostLinks, hostRoutes, podLinks, podAddresses, podRoutes] = await settleAll([
    native.links(null),
    native.routes(null, { family: null, table: 254, protocol: null }),
    native.links(netns),
    native.addresses(netns),
    native.routes(netns, { family: null, table: 254, protocol: null }),
  ]);
  const problems: string[] = [];
  const host = hostLinks.find((link) => link.index === row.ifindex && link.name === record.hostDevice);
  if (host === undefined) problems.push(`device ${record.hostDevice} is gone`);
  else if ((host.flags & iffUp) === 0) problems.push(`device ${record.hostDevice} is down`);
  const pod = podLinks.find((link) => link.name === row.ifname);
  if (pod === undefined) return [...problems, `device ${row.ifname} is not in ${netns}`];
  if ((pod.flags & iffUp) === 0) problems.push(`device ${row.ifname} of the pod is down`);
  if (pod.mtu !== record.mtu) problems.push(`the MTU of ${row.ifname} is ${pod.mtu}, not ${record.mtu}`);
  for (const { address, gateway } of addressesOf(record)) {
    const held = podAddresses.some((one) => one.index === pod.index && same(one.address, address.bytes));
    if (!held) problems.push(`address ${address.text} is not on ${row.ifname}`);
    const out = podRoutes.some(
      (route) =>
        route.family === address.family &&
        route.prefixLength === 0 &&
        route.nextHops.some(
          (hop) => hop.index === pod.index && hop.gateway !== null && same(hop.gateway, gateway.bytes),
        ),
    );
    if (!out) problems.push(`the pod has no default route via ${gateway.text}`);
    const back = hostRoutes.some(
      (route) =>
        route.prefixLength === address.bytes.length * 8 &&
        same(route.destination, address.bytes) &&
        route.nextHops.some((hop) => hop.index === row.ifindex),
    );
    if (!back) problems.push(`the node has no route to ${address.text} by ${record.hostDevice}`);
  }
  return problems;
}

async function apply(
  native: NativeBinding,
  record: EndpointRecord,
  netns: string | null,
  changes: readonly NetlinkChange[],
): Promise<void> {
  const [failure] = await native.applyNetlink(netns, changes);
  if (failure === undefined) return;
  const change = changes[failure.at];
  const place = netns === null ? record.hostDevice : `${record.row.ifname} in ${netns}`;
  const detail = failure.log === null ? failure.code : `${failure.code} (${failure.log})`;
  throw kernelError(record, `${change?.op} ${change?.kind} on ${place}: ${detail}`, null);
}

/** Like Promise.all, but waits for all to end: what a roll-back undoes must not go on being made. */
async function settleAll<T extends readonly unknown[]>(promises: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const outcomes = await Promise.allSettled(promises);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return Promise.all(promises) as unknown as Promise<T>;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function kernelError(record: EndpointRecord, message: string, cause: unknown): CniError {
  return new CniError({
    code: "CNI_KERNEL",
    cniCode: cniCodes.kernel,
    object: `Pod ${record.row.pod}`,
    message,
    remedy: "look at the pod's network namespace and at the agent's log",
    ...(cause === null ? {} : { cause }),
  });
}
