/**
 * Questions of DNS from one port, none of them asked twice: `node dns-load.js SERVER COUNT PAUSE_MS` asks for n0.open.test to n<COUNT-1>.open.test,
 * one every PAUSE_MS, waits 15 s for the last answers, and prints {"lost": [names], "codes": {"0": count}}.
 */
import { createSocket } from "node:dgram";

const [server, count, pause] = process.argv.slice(2);
const socket = createSocket("udp4");
const open = new Map();
const codes = {};

socket.on("message", (answer) => {
  const id = answer.readUInt16BE(0);
  if (!open.delete(id)) codes.twice = (codes.twice ?? 0) + 1;
  const code = answer[3] & 15;
  codes[code] = (codes[code] ?? 0) + 1;
});

for (let id = 0; id < Number(count); id++) {
  const name = `n${id}.open.test`;
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  open.set(id, name);
  socket.send(Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]), 53, server);
  await new Promise((resolve) => setTimeout(resolve, Number(pause)));
}
for (let waited = 0; waited < 15_000 && open.size > 0; waited += 50)
  await new Promise((resolve) => setTimeout(resolve, 50));
console.log(JSON.stringify({ lost: [...open.values()], codes }));
socket.close();
