/**
 * One at a time: the agent's keeper and `tandem cni` write the same files. Who has the turn listens on a socket of the abstract namespace
 * (unix(7)), which the kernel takes back with the process, so that nobody's crash keeps others out. It is one per network
 * namespace: a command has to run in the node's, as the agent does.
 */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:net";
import { resolve } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { TandemError } from "../../lib/errors.ts";

/** ms that one waits for one's turn: an installation writes a few small files. */
const patienceMs = 10_000;
const lookMs = 20;

/**
 * Runs `work` while nobody else does with this folder.
 * @throws TandemError CNI_INSTALL_BUSY, and what `work` throws
 */
export async function exclusively<T>(
  folder: string,
  clock: Pick<Clock, "monotonicMs" | "sleep">,
  work: () => Promise<T>,
): Promise<T> {
  const name = `\0tandem-cni-install/${createHash("sha256").update(resolve(folder)).digest("hex").slice(0, 32)}`;
  const end = clock.monotonicMs() + patienceMs;
  const server = createServer((peer) => peer.destroy());
  while (!(await listens(server, name))) {
    if (clock.monotonicMs() >= end) throw busy(folder);
    await clock.sleep(lookMs);
  }
  try {
    return await work();
  } finally {
    await new Promise<void>((done) => server.close(() => done()));
  }
}

/** False: somebody else does. */
function listens(server: Server, name: string): Promise<boolean> {
  return new Promise((done, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      server.off("listening", listening);
      if (error.code === "EADDRINUSE") done(false);
      else reject(error);
    };
    const listening = () => {
      server.off("error", failed);
      done(true);
    };
    server.once("error", failed).once("listening", listening).listen(name);
  });
}

function busy(folder: string): TandemError {
  return new TandemError({
    code: "CNI_INSTALL_BUSY",
    object: folder,
    message: `another process has been installing or uninstalling for ${patienceMs / 1000} s`,
    remedy: "try again; if it stays so, see what hangs: its disk may",
  });
}
