/**
 * Who answers new sockets at one place, run inside of a pod, a node or a host outside: `node who-answers.js tcp|udp HOST PORT COUNT SECONDS FIRST`. One after the
 * other, from a port of its own from FIRST on, asks for SECONDS at most, datagrams again and again. Prints the names that answered, and "none" if a socket got no answer, sorted.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";

const [kind, host, port, count, seconds, first] = process.argv.slice(2);
const againMs = 300;
const nameOf = (answer) => answer.toString("latin1").split(" ")[0];

function overTcp(localPort) {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), localPort }, () => socket.write("x\n"));
    const end = (name) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(name);
    };
    const timer = setTimeout(end, Number(seconds) * 1_000, "none");
    socket.on("error", () => end("none"));
    socket.on("close", () => end("none"));
    socket.on("data", (answer) => end(nameOf(answer)));
  });
}

function overUdp(localPort) {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    // A service without a backend refuses each; it may have one soon.
    const send = () => socket.send("x\n", Number(port), host, () => undefined);
    const end = (name) => {
      clearInterval(again);
      clearTimeout(timer);
      socket.close();
      resolve(name);
    };
    const again = setInterval(send, againMs);
    const timer = setTimeout(end, Number(seconds) * 1_000, "none");
    socket.on("message", (answer) => end(nameOf(answer)));
    socket.on("error", () => undefined);
    socket.bind(localPort, send);
  });
}

const names = new Set();
const ask = kind === "udp" ? overUdp : overTcp;
for (let at = 0; at < Number(count); at++) names.add(await ask(Number(first) + at));
console.log([...names].sort().join(" "));
process.exit(0);
