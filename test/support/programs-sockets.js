// A process in a cgroup and a network namespace of a test's choice: serves and asks by real sockets, told by JSON lines on stdin.
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";

const text = ({ address, port }) => `${address} ${port}`;

/** Servers answer with their own address and port. */
const listen = ({ type, address, port }) =>
  new Promise((resolve, reject) => {
    const self = text({ address, port });
    if (type === "tcp") {
      const server = createServer((socket) => {
        socket.on("error", () => {});
        socket.end(self);
      });
      server.once("error", reject);
      server.listen(port, address, () => resolve(null));
    } else {
      const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
      socket.once("error", reject);
      socket.on("message", (_, from) => socket.send(self, from.port, from.address));
      socket.bind(port, address, () => resolve(null));
    }
  });

/** Sends back what it gets. */
const echo = ({ address, port }) =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    server.once("error", reject);
    server.listen(port, address, () => resolve(null));
  });

const pattern = (bytes) => Buffer.alloc(bytes).map((_, i) => (i * 131 + (i >> 8)) & 255);

/** Sends `bytes` to an echo, and says how many came back and whether they are the same ones. */
const exchange = ({ address, port, bytes, timeoutMs }) =>
  new Promise((resolve) => {
    const sent = pattern(bytes);
    const socket = connect({ host: address, port });
    const seen = createHash("sha256");
    let received = 0;
    const late = setTimeout(() => {
      socket.destroy();
      resolve({ error: "ETIMEDOUT", received });
    }, timeoutMs);
    socket.once("connect", () => socket.end(sent));
    socket.on("data", (data) => {
      received += data.length;
      seen.update(data);
    });
    socket.once("error", (error) => {
      clearTimeout(late);
      resolve({ error: error.code, received });
    });
    socket.once("close", () => {
      clearTimeout(late);
      resolve({ received, same: seen.digest("hex") === createHash("sha256").update(sent).digest("hex") });
    });
  });

/** What getpeername says, and what the server says. */
const ask = ({ address, port }) =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let answer = "";
    let peer = "";
    socket.once("connect", () => {
      peer = text({ address: socket.remoteAddress, port: socket.remotePort });
    });
    socket.on("data", (data) => {
      answer += data;
    });
    socket.once("error", (error) => resolve({ error: error.code }));
    socket.once("close", () => resolve({ peer, answer }));
  });

const receive = (socket) =>
  new Promise((resolve) => {
    const late = setTimeout(() => resolve({ error: "ETIMEDOUT" }), 60_000);
    socket.once("message", (data, from) => {
      clearTimeout(late);
      resolve({ from: text(from), answer: String(data) });
    });
  });

/** One socket that is not connected sends `count` datagrams, one after the other's answer. */
async function send({ family, address, port, count }) {
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  const seen = [];
  try {
    for (let i = 0; i < count; i++) {
      const answer = receive(socket);
      const error = await new Promise((done) => socket.send("?", port, address, done));
      if (error) return [{ error: error.code }];
      seen.push(await answer);
    }
    return seen;
  } finally {
    socket.close();
  }
}

/** A connected datagram socket. */
const converse = ({ family, address, port }) =>
  new Promise((resolve) => {
    const socket = createSocket(family === 6 ? "udp6" : "udp4");
    const end = (result) => {
      socket.close();
      resolve(result);
    };
    socket.connect(port, address, (error) => {
      if (error) return end({ error: error.code });
      const peer = text(socket.remoteAddress());
      void receive(socket).then((result) => end({ peer, ...result }));
      socket.send("?");
    });
  });

const operations = { listen, echo, exchange, ask, send, converse };

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, operation, ...request } = JSON.parse(line);
  const result = await operations[operation](request).catch((error) => ({ error: error.code ?? String(error) }));
  process.stdout.write(`${JSON.stringify({ id, result })}\n`);
});
