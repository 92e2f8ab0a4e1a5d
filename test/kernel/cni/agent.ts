/**
 * An agent's CNI half as a process of its own: CniService with the real addon behind a unix socket, in whatever network
 * namespace it is started. Policy is always ready, unless the file SOCKET.hold holds it up: this is about wiring.
 */
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { CniRequest } from "../../../src/api/dto.ts";
import { type CniOptions, CniService } from "../../../src/cni/index.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { parsePrefix } from "../../../src/model/ip.ts";
import { TableStore } from "../../../src/model/store.ts";
import { loadNative } from "../../../src/native/index.ts";

const [stateDir = "", socket = ""] = process.argv.slice(2);

const log: CniOptions["log"] = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(JSON.stringify({ ...fields, message })),
  error: (fields, message) => console.error(JSON.stringify({ ...fields, message })),
  child: () => log,
};

const cni = new CniService({
  native: loadNative(),
  store: new TableStore(),
  config: { stateDir, ipv4: true, ipv6: true },
  mtu: () => 1420,
  log,
  clock: systemClock,
  ready: async (_endpoint, signal) => {
    while (existsSync(`${socket}.hold`)) await systemClock.sleep(20, signal);
  },
  podCidrs: () => ["10.77.1.0/24", "fd00:77:1::/64"].flatMap((text) => parsePrefix(text) ?? []),
});
await cni.restore();

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

const server = createServer((request, response) => {
  body(request)
    .then((text) => cni.handle(JSON.parse(text) as CniRequest, new AbortController().signal))
    .then((answer) => response.end(JSON.stringify(answer)))
    .catch((error: unknown) => response.writeHead(500).end(String(error)));
});
server.listen(socket, () => console.log("listening"));
