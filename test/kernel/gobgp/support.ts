/** A real gobgpd on the loopback, which speaks to nobody, and calls that our client has no words for. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionContext } from "ava";
import { GobgpClient } from "../../../src/sources/gobgp/client.ts";

export interface Gobgpd {
  readonly address: string;
  readonly client: GobgpClient;
}

/** @param config besides [global.config] */
export async function startGobgpd(t: ExecutionContext, config = ""): Promise<Gobgpd> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-gobgp-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "gobgpd.toml");
  await writeFile(file, `[global.config]\n  as = 64512\n  router-id = "192.0.2.1"\n  port = -1\n${config}`);
  const address = `127.0.0.1:${await freePort()}`;
  const daemon = spawn("gobgpd", ["-f", file, "--api-hosts", address, "--pprof-disable"], { stdio: "ignore" });
  t.teardown(() => void daemon.kill("SIGKILL"));
  const { signal } = new AbortController();
  for (let tries = 0; ; tries++) {
    try {
      const client = await GobgpClient.connect(address, signal);
      t.teardown(() => client.close());
      return { address, client };
    } catch (error) {
      if (tries > 200) throw error;
      await sleep(100);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** One call of the API with messages as they are. @returns the gRPC status */
export async function rawCall(address: string, path: string, ...bodies: readonly Uint8Array[]): Promise<string> {
  const session = connect(`http://${address}`);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": `/${path}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let status = "";
    stream.on("response", (headers) => (status = String(headers["grpc-status"] ?? status)));
    stream.on("trailers", (headers) => (status = String(headers["grpc-status"] ?? status)));
    for (const body of bodies) {
      const head = Buffer.alloc(5);
      head.writeUInt32BE(body.length, 1);
      stream.write(Buffer.concat([head, body]));
    }
    stream.end();
    stream.resume();
    await new Promise((resolve, reject) => stream.once("close", resolve).once("error", reject));
    return status;
  } finally {
    session.close();
  }
}
