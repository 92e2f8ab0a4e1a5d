/** Who is behind a connection to the agent's socket. */
import type { Socket } from "node:net";
import type { NativeBinding } from "../native/contract.ts";

/**
 * Node gives no public way to a socket's descriptor. Where its handle has none, the answer is null and the mode of the socket file
 * (0600) is what protects.
 */
export function peerUidOf(native: Pick<NativeBinding, "peerCredentials">): (socket: Socket) => number | null {
  return (socket) => {
    const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: unknown } | null };
    const fd = handle?.fd;
    return typeof fd === "number" && fd >= 0 ? native.peerCredentials(fd).uid : null;
  };
}
