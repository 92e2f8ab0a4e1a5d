/** How kube-router marks and names what it makes in the kernel. */
import { sha256 } from "./digest.ts";

/** RTPROT of its routes: its constant calls it Zebra's, iproute2 knows no name for it. */
export const kubeRouterProtocol = 17;

const tunnelPrefix = "tun-";

export const isTunnelDevice = (device: string): boolean => device.startsWith(tunnelPrefix);

/** Of its overlay's device to that next hop (`GenerateTunnelName`): without dots and colons, as names of devices end at 15 characters. */
export function tunnelName(nextHop: string): string {
  return `${tunnelPrefix}${sha256(nextHop.replaceAll(/[.:]/g, "")).slice(0, 11)}`;
}
