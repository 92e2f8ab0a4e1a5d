/**
 * The ends of a path for `bench bgp-failover`: `path-watch.js send ADDRESS PORT` sends a datagram each ms; `path-watch.js receive ADDRESS PORT` prints a line for the
 * first one after a line that it was told: ms of the machine's monotonic clock, which all processes share.
 */
import { createSocket } from "node:dgram";

const [role, address = "", port = "0"] = process.argv.slice(2);
const socket = createSocket("udp4");

if (role === "send") {
  // One that fails is a packet that is lost: for that there are others.
  socket.on("error", () => undefined);
  setInterval(() => socket.send("x", Number(port), address, () => undefined), 1);
} else {
  let isAsked = false;
  process.stdin.on("data", () => {
    isAsked = true;
  });
  process.stdin.on("end", () => process.exit(0));
  socket.on("message", () => {
    if (!isAsked) return;
    isAsked = false;
    console.log(String(Number(process.hrtime.bigint() / 1_000n) / 1_000));
  });
  socket.bind(Number(port), address, () => console.log("ready"));
}
