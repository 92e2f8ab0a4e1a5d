// A client of a service whose one backend moves between two addresses of this namespace; it has both, and asks with a new socket each time.
//   node bench/tools/moved.js HOST PORT TARGET_PORT ADDRESS…    prints "trying"; for each line ADDRESS on stdin the time, in ms since the epoch, at
//   which the first datagram came there. Those after it have to come there too.
// It rests between two questions: one that never does takes a processor from those whose work it times, and is put off itself when it matters.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createInterface } from "node:readline";

const [host, port, targetPort, ...addresses] = process.argv.slice(2);
/** After the first one that comes right. */
const confirmed = 50;
const attemptMs = 20;
/** Timers of Node take whole ones. */
const restMs = 0.1;
const never = new Int32Array(new SharedArrayBuffer(4));

let asked = 0;
let arrived = () => undefined;
for (const address of addresses) {
  const server = createSocket("udp4");
  // what was given up may come late
  server.on("message", (text) => Number(text) === asked && arrived(address));
  server.bind(Number(targetPort), address);
  await once(server, "listening");
}

/** Where a datagram comes to; null: nowhere, or late. */
function ask() {
  Atomics.wait(never, 0, 0, restMs);
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const end = (address) => {
      clearTimeout(timer);
      arrived = () => undefined;
      socket.close();
      resolve(address);
    };
    const timer = setTimeout(end, attemptMs, null);
    arrived = end;
    socket.on("error", () => end(null));
    socket.send(String(++asked), Number(port), host, (error) => error && end(null));
  });
}

console.log("trying");
for await (const line of createInterface({ input: process.stdin })) {
  while ((await ask()) !== line);
  const at = performance.timeOrigin + performance.now();
  for (let i = 0; i < confirmed; i++) {
    const address = await ask();
    if (address !== null && address !== line) throw new Error(`after ${line} one came to ${address}`);
  }
  console.log(at);
}
