/** The socket that the server listens on, plain or TLS, and who is let in by it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { TLSSocket } from "node:tls";
import { ApiFailure, unauthorized } from "./failure.ts";

/** PEM texts: the server's own, and the authority whose certificates of clients are believed. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** What real servers tell everybody. */
const publicPaths = ["/healthz", "/readyz", "/livez", "/version"];

/** @returns the listening server and its port */
export async function listen(
  { host, port }: { readonly host: string; readonly port: number },
  tls: TlsIdentity | null,
  handler: Handler,
): Promise<{ readonly server: Server; readonly port: number }> {
  const server =
    tls === null
      ? createServer(handler)
      : createSecureServer({ ...tls, requestCert: true, rejectUnauthorized: false }, handler);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve());
  });
  return { server, port: (server.address() as AddressInfo).port };
}

/**
 * Over TLS one needs a certificate or a token, but for what everybody may read; otherwise a token, if there are any.
 * @throws ApiFailure 401, 403
 */
export function letIn(request: IncomingMessage, tokens: ReadonlySet<string> | null, path: string): void {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
  if (!(request.socket instanceof TLSSocket)) {
    if (tokens !== null && !tokens.has(token)) throw unauthorized();
    return;
  }
  if (request.socket.authorized || tokens?.has(token) === true) return;
  if (token !== "") throw unauthorized();
  if (!publicPaths.includes(path))
    throw new ApiFailure(403, "Forbidden", `forbidden: User "system:anonymous" cannot get path "${path}"`, {});
}
