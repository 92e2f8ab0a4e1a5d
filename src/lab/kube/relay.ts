/**
 * Carries connections from one network namespace into another: sockets with a name in the file system know no namespaces. So the lab's
 * nodes reach an API server of the machine's, and nothing else there: one relay listens on the fabric and connects to such a socket, another
 * listens on it and connects to the API server.
 */
import { rm } from "node:fs/promises";
import { connect, createServer, type NetConnectOpts, type Socket } from "node:net";
import { once } from "node:events";

export type RelayEnd = { readonly path: string } | { readonly host: string; readonly port: number };

/** Listens at once; closes, with every connection, at the signal. */
export async function startRelay(from: RelayEnd, to: RelayEnd, signal: AbortSignal): Promise<void> {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  };
  // Each direction ends on its own, as in TCP.
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ ...to, allowHalfOpen: true } as NetConnectOpts);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      keep(one);
      one.setNoDelay(true);
      // What broke on one side is seen as broken on the other.
      one.on("error", () => other.destroy());
      one.once("close", () => other.destroySoon());
      one.pipe(other);
    }
  });
  if ("path" in from) await rm(from.path, { force: true });
  server.listen(from);
  await once(server, "listening");
  signal.addEventListener("abort", () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
}
