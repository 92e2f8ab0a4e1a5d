/**
 * What a pod of the lab runs when its manifest names no command: a server on each of its ports, so that a connection shows who
 * was reached and whom it saw. One line for each message: "<namespace>/<pod> peer <address>:<port>"; HTTP requests get it as
 * a body, on connections that stay open. There is no SCTP: Node has none.
 *
 * Arguments: NAME tcp:80 udp:53 …; when all listen, a byte goes to the file descriptor TANDEM_READY_FD, if set.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeSync } from "node:fs";
import { createServer, type Socket } from "node:net";

const [name = "", ...ports] = process.argv.slice(2);

function line(address: string, port: number): string {
  const plain = address.startsWith("::ffff:") ? address.slice(7) : address;
  return `${name} peer ${plain.includes(":") ? `[${plain}]` : plain}:${port}\n`;
}

function serve(socket: Socket): void {
  const answer = line(socket.remoteAddress ?? "", socket.remotePort ?? 0);
  let pending = "";
  let http: boolean | null = null;
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    pending += chunk.toString("latin1");
    http ??= /^[A-Z]{3,7} /.test(pending);
    if (!http) {
      // Lines that came in one piece are several messages; a piece without an end of line is one, too.
      socket.write(answer.repeat(Math.max(1, pending.split("\n").length - 1)));
      pending = "";
      return;
    }
    pending = answerHttp(socket, pending, answer);
  });
  socket.on("end", () => {
    // Someone who only listens, as `nc HOST PORT < /dev/null`, is answered too.
    if (http === null) socket.write(answer);
    socket.end();
  });
}

/** Answers each complete request and gives back what is left. */
function answerHttp(socket: Socket, text: string, body: string): string {
  let rest = text;
  for (let end = rest.indexOf("\r\n\r\n"); end >= 0; end = rest.indexOf("\r\n\r\n")) {
    const head = rest.slice(0, end);
    const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
    if (rest.length < end + 4 + length) break;
    rest = rest.slice(end + 4 + length);
    const close = /^connection: *close/im.test(head) || / HTTP\/1\.0$/m.test(head.split("\r\n")[0] ?? "");
    const payload = head.startsWith("HEAD ") ? "" : body;
    socket.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nX-Pod: ${name}\r\n` +
        `Connection: ${close ? "close" : "keep-alive"}\r\n\r\n${payload}`,
    );
    if (close) socket.end();
  }
  return rest;
}

async function listen(spec: string): Promise<void> {
  const [protocol, port] = spec.split(":");
  if (protocol === "tcp") {
    const server = createServer({ allowHalfOpen: true }, serve);
    // "::" takes IPv4 too.
    server.listen(Number(port), "::");
    await once(server, "listening");
  } else {
    const socket = createSocket({ type: "udp6" });
    socket.on("message", (_, peer) => socket.send(line(peer.address, peer.port), peer.port, peer.address));
    socket.bind(Number(port), "::");
    await once(socket, "listening");
  }
}

for (const spec of ports) await listen(spec);
process.stdout.write(`${name} listens on ${ports.join(" ") || "nothing"}\n`);
if (process.env.TANDEM_READY_FD !== undefined) writeSync(Number(process.env.TANDEM_READY_FD), "r");
// A pod without ports lives too.
setInterval(() => {}, 1 << 30);
process.once("SIGTERM", () => process.exit(0));
