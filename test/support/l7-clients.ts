/** Servers and clients of an engine on loopback. */
import { once } from "node:events";
import { type Agent, createServer, get, type IncomingMessage, type Server } from "node:http";
import { connect, type createServer as createTcp, type Socket } from "node:net";
import type { ExecutionContext } from "ava";
import type { TestEngine } from "./l7-engine.ts";

export async function listen(t: ExecutionContext, server: Server | ReturnType<typeof createTcp>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => void server.close());
  if ("closeAllConnections" in server) t.teardown(() => server.closeAllConnections());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export async function read(message: IncomingMessage): Promise<{ readonly bytes: number; readonly text: string }> {
  let bytes = 0;
  let text = "";
  for await (const chunk of message) {
    bytes += (chunk as Buffer).length;
    if (text.length < 1000) text += String(chunk).slice(0, 1000);
  }
  return { bytes, text };
}

export async function ask(engine: TestEngine, path: string, agent?: Agent): Promise<string> {
  const sent = get({ host: "127.0.0.1", port: engine.port, path, ...(agent && { agent }) });
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  return `${answer.statusCode} ${(await read(answer)).text.trim()}`;
}

export function open(engine: TestEngine): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(engine.port, "127.0.0.1", () => resolve(socket));
    socket.once("error", reject);
  });
}

export const hello = () => createServer((_request, response) => response.end("hello"));
