/**
 * One flow that lives on, run inside of a pod: `node flow.js udp|tcp HOST PORT FILE [EVERY_MS [LATE_MS [LOCAL_PORT]]]` sends a line each EVERY_MS (20) over
 * one socket, of that port if it is given (several may have it, as long as they ask different addresses), and counts the answers, until FILE.end is there, and for LATE_MS (3000) those that are on their way; over TCP the next line waits
 * for the answer, since a server that reads two at once answers once. When some lines were sent it makes FILE.begun, so that nobody has to guess
 * how long that takes on this machine. Prints {"sent", "answered", "from"}: from are the names that answered.
 */
import { createSocket } from "node:dgram";
import { existsSync, writeFileSync } from "node:fs";
import { connect } from "node:net";

const [kind, host, port, file, everyMs = "20", lateMs = "3000", localPort = "0"] = process.argv.slice(2);
/** Lines after which it counts as begun. */
const beginning = 20;
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
  const end = () => {
    close();
    console.log(JSON.stringify({ ...seen, from: [...seen.from].sort() }));
  };
  const waitForLast = (until) => {
    if (seen.answered >= seen.sent || performance.now() >= until) end();
    else setTimeout(waitForLast, 10, until);
  };
  const timer = setInterval(() => {
    if (existsSync(`${file}.end`)) {
      clearInterval(timer);
      waitForLast(performance.now() + Number(lateMs));
    } else if (kind === "udp" || seen.answered >= seen.sent) {
      send(`${++seen.sent}\n`);
      if (seen.sent === beginning) writeFileSync(`${file}.begun`, "");
    }
  }, Number(everyMs));
}

if (kind === "udp") {
  const shares = localPort !== "0";
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", reuseAddr: shares });
  socket.on("message", take);
  const begin = () =>
    start(
      (text) => (shares ? socket.send(text, () => undefined) : socket.send(text, Number(port), host)),
      () => socket.close(),
    );
  socket.bind(Number(localPort), () => (shares ? socket.connect(Number(port), host, begin) : begin()));
} else {
  const socket = connect({ host, port: Number(port), noDelay: true, localPort: Number(localPort) });
  socket.on("data", take);
  socket.on("error", (error) => console.error(String(error)));
  socket.once("connect", () =>
    start(
      (text) => socket.write(text),
      () => socket.destroy(),
    ),
  );
}
