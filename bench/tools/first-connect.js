// Connects to HOST PORT again and again until it is answered; prints when that was, in ms since the epoch.
//   node bench/tools/first-connect.js HOST PORT      prints "trying", then the time
import { connect } from "node:net";

const [host, port] = process.argv.slice(2);
const attemptMs = 25;
const restMs = 1;

function answered() {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const end = (isAnswered) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(isAnswered);
    };
    const timer = setTimeout(() => end(false), attemptMs);
    socket.once("data", () => end(true));
    socket.once("error", () => end(false));
  });
}

console.log("trying");
while (!(await answered())) await new Promise((resolve) => setTimeout(resolve, restMs));
console.log(performance.timeOrigin + performance.now());
