/** The file of a unix socket: a stale one is replaced, one that somebody answers on is not. */
import type { Server } from "node:http";
import { lstat, mkdir, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { TandemError } from "../lib/errors.ts";

/** Bytes of sun_path, with its closing zero (unix(7)). */
const pathLimit = 108;

/** Makes the path free to listen on. @throws TandemError AGENT_RUNNING, API_SOCKET */
export async function claimSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) >= pathLimit) {
    throw new TandemError({
      code: "API_SOCKET",
      object: path,
      message: `the path of the socket is longer than ${pathLimit - 1} bytes`,
      remedy: "set a shorter `socket`",
    });
  }
  await mkdir(dirname(path), { recursive: true });
  const found = await lstat(path).catch(() => null);
  if (found === null) return;
  if (!found.isSocket()) {
    throw new TandemError({
      code: "API_SOCKET",
      object: path,
      message: "there is a file that is not a socket",
      remedy: "remove it, or set another `socket`",
    });
  }
  if (await answers(path)) {
    throw new TandemError({
      code: "AGENT_RUNNING",
      object: path,
      message: "another agent answers on this socket",
      remedy: "stop it, or set another `socket`",
    });
  }
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Listens with mode 0600 from the first moment on: the file is made inside the call to listen(). */
export function listenPrivately(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}
