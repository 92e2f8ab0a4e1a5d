// Clients of 127.0.0.1 that say nothing, in a process of their own: their files are not those of the process that is tested.
//   node idle-clients.js PORT COUNT      Each line on its output is how many were taken and how many were reset so far.
import { connect } from "node:net";

const [port, count] = process.argv.slice(2).map(Number);
// As many as a listener's queue takes at once.
const atOnce = 500;
let made = 0;
let taken = 0;
let reset = 0;

function next() {
  if (made === count) return;
  made++;
  const socket = connect(port, "127.0.0.1");
  socket.resume();
  let isTaken = false;
  // A reset may come before the connection is told.
  const take = () => {
    if (isTaken) return;
    isTaken = true;
    taken++;
    next();
  };
  socket.once("connect", take);
  socket.on("error", () => undefined);
  socket.once("close", () => {
    take();
    reset++;
  });
}

for (let each = 0; each < atOnce; each++) next();
setInterval(() => console.log(`${taken} ${reset}`), 50);
// With its parent.
process.stdin.on("end", () => process.exit(0)).resume();
