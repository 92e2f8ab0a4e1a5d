/**
 * Run inside of a pod: `node policy-probe.js HOST PORT FILE OPEN CLOSED TIMES`. Replaces FILE by OPEN and by CLOSED (files beside each other, so a
 * rename) in turn while it sends a datagram each millisecond over one socket, and prints {"open": [ms…], "closed": [ms…]}: from the
 * rename to the sending of the first datagram that is answered, or of the first after which none is. null: that never came; the next
 * turn has another socket.
 */
import { createSocket } from "node:dgram";
import { copyFile, rename } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const [host, port, file, open, closed, times] = process.argv.slice(2);
/** ms that a state is watched for: a datagram that still obeys the old one would be seen. */
const watchMs = 150;
const deadlineMs = 7_000;

let socket;
/** performance.now() of datagrams that were sent, in the order of sending; answers come in the same one. */
let sent = [];
let answered = [];

function openSocket() {
  socket?.close();
  socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", () => answered.push(performance.now()));
  socket.on("error", (error) => console.error(String(error)));
  socket.bind(0);
}

openSocket();
const timer = setInterval(() => {
  sent.push(performance.now());
  socket.send("x\n", Number(port), host);
}, 1);

async function change(to) {
  const fresh = `${file}.next`;
  await copyFile(to, fresh);
  // Not in step with the timers of anything.
  await sleep(100 + Math.random() * 50);
  sent = [];
  answered = [];
  const at = performance.now();
  await rename(fresh, file);
  return at;
}

async function untilOpen() {
  const at = await change(open);
  while (answered.length === 0) {
    if (performance.now() - at > deadlineMs) throw new Error("the pod did not become reachable");
    await sleep(5);
  }
  const first = answered[0];
  await sleep(watchMs);
  // The datagram that the first answer is for is the last one sent before it came.
  return Math.max(...sent.filter((each) => each <= first)) - at;
}

async function untilClosed() {
  const at = await change(closed);
  for (;;) {
    const before = answered.length;
    await sleep(watchMs);
    if (answered.length === before) break;
    if (performance.now() - at > deadlineMs) {
      openSocket();
      return null;
    }
  }
  const last = answered.at(-1) ?? at;
  const next = sent.find((each) => each > last);
  if (next === undefined) throw new Error("nothing was sent");
  return next - at;
}

const result = { open: [], closed: [] };
for (let i = 0; i < Number(times); i++) {
  result.open.push(await untilOpen());
  result.closed.push(await untilClosed());
}
clearInterval(timer);
socket.close();
console.log(JSON.stringify(result));
