/** Connections that the conntrack of a node's namespace has, for programs that go by it. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { ProgramNode } from "./programs.ts";

const run = promisify(execFile);
/** Nobody answers at this port. */
export const unanswered = 81;

/** Real connections over the loopback device leave their entries: they are kept for two minutes after the end. */
const connections = `const { createServer, connect } = require("node:net");
const open = ([from, localPort, to, port, asked = to]) => new Promise((resolve, reject) => {
  const server = createServer((socket) => socket.end("answer")).listen(port, to, () => {
    const socket = connect({ host: asked, port, localAddress: from, localPort });
    const end = () => { socket.destroy(); server.close(); resolve(); };
    socket.setTimeout(500, end);
    socket.on("error", reject).on("close", end).resume();
  });
});
(async () => { for (const each of JSON.parse(process.argv[1])) await open(each); })();`;

/** `asked` is the address that the client knows, if a rule leads to the server's from there. */
type Connection = readonly [from: string, fromPort: number, to: string, port: number, asked?: string];

/** The kernel of the node's namespace has had these connections; what goes to port 81 found no answer. */
export async function connectInKernel(node: ProgramNode, list: readonly Connection[]): Promise<() => Promise<void>> {
  const addresses = [...new Set(list.flatMap(([from, , to]) => [from, to]))];
  const inside = (...words: readonly string[]) => run("nsenter", [`--net=/run/netns/${node.netns}`, ...words]);
  await node.ip("link", "set", "lo", "up");
  for (const address of addresses) await node.ip("addr", "add", address, "dev", "lo", "nodad");
  const renamed = list.map(([, , to, , asked]) =>
    asked === undefined ? "" : `${to.includes(":") ? "ip6" : "ip"} daddr ${asked} dnat to ${to}`,
  );
  const rules = `table inet track {
    chain out { type filter hook output priority 0; ct state new accept
    }
    chain renames { type nat hook output priority -100;
      ${renamed.join("\n")}
    }
    chain in { type filter hook prerouting priority -300; tcp dport ${unanswered} drop
    }
  }`;
  await inside("/usr/sbin/nft", rules);
  await inside(process.execPath, "-e", connections, JSON.stringify(list));
  return async () => {
    await inside("/usr/sbin/nft", "delete table inet track");
    for (const address of addresses) await node.ip("addr", "del", address, "dev", "lo");
  };
}
