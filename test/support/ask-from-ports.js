/**
 * Who answers a datagram from each of some ports, run inside of a pod or a host: `node ask-from-ports.js HOST PORT FIRST COUNT`. One that is lost
 * is sent again from the same port. Prints the names that answered, in the order of ports; "none" where nobody does within 30 s.
 */
import { createSocket } from "node:dgram";

const [host, port, first, count] = process.argv.slice(2);
const againMs = 500;
const longMs = 30_000;

function ask(local) {
  return new Promise((resolve, reject) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const send = () => socket.send("who\n", Number(port), host);
    const again = setInterval(send, againMs);
    const end = (name) => {
      clearInterval(again);
      clearTimeout(long);
      socket.close();
      resolve(name);
    };
    const long = setTimeout(end, longMs, "none");
    socket.on("error", reject);
    socket.on("message", (answer) => end(String(answer).split(" ")[0]));
    socket.bind(local, send);
  });
}

const names = await Promise.all(Array.from({ length: Number(count) }, (_, at) => ask(Number(first) + at)));
console.log(JSON.stringify(names));
