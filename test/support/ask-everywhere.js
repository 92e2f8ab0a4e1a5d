/**
 * Who answers at many addresses, run inside of a pod, a node or a host outside: `node ask-everywhere.js FIRST QUESTIONS [one-port]` with a JSON list of
 * {kind: "tcp" | "udp" | "connected", host, port, count, bytes}. Each of `count` sockets of its own sends `bytes` bytes and wants as many back, from the
 * address that it asked. Each has a port of its own, from FIRST; or all ask at once from that one, UDP connected. Prints a JSON list, for each question the answers as "NAME PEER" (whom the server saw), or what went wrong, each once.
 * @see backendCode in ./everywhere.ts, who answers
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";

const [first, questions, how] = process.argv.slice(2);
const onePort = how === "one-port";
let nextPort = Number(first);
const ownPort = () => (onePort ? nextPort : nextPort++);
const againMs = 1_000;
const longMs = 20_000;
const socketMs = 6_000;
const none = "none in time";
const plain = (address) => address?.replace(/^::ffff:/, "");
const answered = (bytes) => bytes.toString("latin1").trimEnd();

function overTcp({ host, port, bytes }) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, localPort: ownPort() });
    let got = Buffer.alloc(0);
    const end = (result) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(longMs, () => end(none));
    socket.on("error", ({ code }) => end(String(code)));
    socket.on("connect", () => {
      if (plain(socket.remoteAddress) !== plain(host)) end(`is connected with ${socket.remoteAddress}`);
      socket.end(`${"x".repeat(bytes - 1)}\n`);
    });
    socket.on("data", (chunk) => {
      got = Buffer.concat([got, chunk]);
    });
    socket.on("end", () => end(got.length < bytes ? `${got.length} bytes` : answered(got)));
  });
}

/**
 * What is lost is sent again, and by another socket in the end, as resolvers do: a node's port for somebody else's flow may be the one that
 * it asks from itself, and such flows with one backend cannot be told apart (docs/datapath.md, "Not done").
 */
async function overUdp(question) {
  let result = none;
  for (let sockets = 0; result === none && sockets < 3; sockets++) result = await askOnce(question);
  return result;
}

function askOnce({ kind, host, port, bytes }) {
  return new Promise((resolve) => {
    const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", reuseAddr: onePort });
    const payload = Buffer.alloc(bytes, "x");
    const isConnected = kind === "connected";
    let again;
    const end = (result) => {
      clearInterval(again);
      clearTimeout(long);
      socket.close();
      resolve(result);
    };
    const long = setTimeout(end, socketMs, none);
    socket.on("error", ({ code }) => end(String(code)));
    socket.on("message", (message, { address, port: from }) => {
      if (plain(address) !== plain(host) || from !== port) end(`answered by ${address} port ${from}`);
      else end(message.length < bytes ? `${message.length} bytes` : answered(message));
    });
    const send = () => (isConnected ? socket.send(payload, () => undefined) : socket.send(payload, port, host));
    const begin = () => {
      send();
      again = setInterval(send, againMs);
    };
    socket.bind(ownPort(), () => (isConnected ? socket.connect(port, host, begin) : begin()));
  });
}

async function answersTo(question) {
  const ask = question.kind === "tcp" ? overTcp : overUdp;
  const all = await Promise.all(Array.from({ length: question.count }, () => ask(question)));
  return [...new Set(all)].sort();
}

const asked = JSON.parse(questions);
const results = onePort ? await Promise.all(asked.map(answersTo)) : [];
if (!onePort) for (const question of asked) results.push(await answersTo(question));
console.log(JSON.stringify(results));
process.exit(0);
