/**
 * One flow that lives on, run inside of a pod: `node flow.js udp|tcp HOST PORT SECONDS [EVERY_MS]` sends a line each EVERY_MS (20)
 * over one socket and counts the answers; over TCP the next line waits for the answer, since a server that reads two at once
 * answers once. Prints {"sent", "answered", "from"}: from are the names that answered.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";

const [kind, host, port, seconds, everyMs = "20"] = process.argv.slice(2);
const seen = { sent: 0, answered: 0, from: new Set() };
let received = "";

function take(chunk) {
  received += chunk;
  const lines = received.split("\n");
  received = lines.pop();
  for (const line of lines) {
    seen.answered++;
    seen.from.add(line.split(" ")[0]);
  }
}

function start(send, close) {
  const timer = setInterval(() => {
    if (kind === "tcp" && seen.answered < seen.sent) return;
    seen.sent++;
    send(`${seen.sent}\n`);
  }, Number(everyMs));
  setTimeout(() => clearInterval(timer), Number(seconds) * 1000);
  // The last answers are still on their way.
  setTimeout(
    () => {
      close();
      console.log(JSON.stringify({ ...seen, from: [...seen.from].sort() }));
    },
    Number(seconds) * 1000 + 1000,
  );
}

if (kind === "udp") {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", take);
  socket.bind(0, () =>
    start(
      (text) => socket.send(text, Number(port), host),
      () => socket.close(),
    ),
  );
} else {
  const socket = connect({ host, port: Number(port), noDelay: true });
  socket.on("data", take);
  socket.on("error", (error) => console.error(String(error)));
  socket.once("connect", () =>
    start(
      (text) => socket.write(text),
      () => socket.destroy(),
    ),
  );
}
