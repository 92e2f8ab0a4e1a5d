/**
 * The MTU of pods that run, when the ways to other nodes change. Their default routes carry what is less than their devices'; where it is more the
 * devices grow, the host's end first, so that neither end ever sends what the other one drops. A device never shrinks: packets
 * that are on their way to a pod would be lost.
 */
import type { NativeBinding } from "../native/contract.ts";
import type { NetlinkChange } from "../native/netlink-contract.ts";
import type { EndpointRecord } from "./endpoint-files.ts";
import { defaultRoutes } from "./wiring-plan.ts";

/** RFC 8200 section 5: a link of IPv6 has at least that. */
const leastIpv6 = 1280;

/** @returns false: the pod or its device is gone, and its end is somebody else's to notice */
export async function setPodMtu(native: NativeBinding, record: EndpointRecord, mtu: number): Promise<boolean> {
  const { row, hostDevice } = record;
  const hostLink = (await native.links(null)).find(({ name }) => name === hostDevice);
  const podLink = await native.links(row.netns).then(
    (links) => links.find(({ name }) => name === row.ifname),
    () => undefined,
  );
  if (hostLink === undefined || podLink === undefined) return false;
  if (mtu > hostLink.mtu) await apply(native, null, [linkMtu(hostLink.index, mtu)]);
  const grown = mtu > podLink.mtu ? [linkMtu(podLink.index, mtu)] : [];
  const largest = Math.max(mtu, podLink.mtu);
  const routes = defaultRoutes(record, podLink.index).map((change) => {
    const bytes = change.route.family === 6 ? Math.max(mtu, leastIpv6) : mtu;
    return { ...change, route: { ...change.route, mtu: bytes < largest ? bytes : null } };
  });
  await apply(native, row.netns, [...grown, ...routes]);
  return true;
}

function linkMtu(index: number, mtu: number): NetlinkChange {
  return { kind: "link", op: "set", index, up: null, mtu, name: null, master: null, alias: null };
}

/** @throws Error with what the kernel said */
async function apply(native: NativeBinding, netns: string | null, changes: readonly NetlinkChange[]): Promise<void> {
  const [failure] = await native.applyNetlink(netns, changes);
  if (failure === undefined) return;
  const change = changes[failure.at];
  throw new Error(`${change?.op} ${change?.kind}: ${failure.log ?? failure.code}`);
}
