/**
 * Questions of DNS that do not end: `node dns-steady.js SERVER FILE PAUSE_MS` asks for n0.open.test, n1.open.test, … one every PAUSE_MS and none twice,
 * every tenth time for n9.shut.example and so on instead; every other one from a port of its own, the others from one port. FILE.begun is made
 * after the first answer; FILE.end ends it after 2 s more. Then a line of JSON: {"asked": [{"name", "at", "answeredAt", "code", "address"}], "stray": count},
 * times in ms of the system's clock, null where no answer came, stray: what came beside the one answer to each question.
 */
import { createSocket } from "node:dgram";
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [server = "", file = "", pause = ""] = process.argv.slice(2);
const asked = [];
let stray = 0;
let answered = 0;

/** The only address that the answer has behind its question, or null. */
function addressIn(answer) {
  return answer.readUInt16BE(6) === 1 && answer.length >= 14 ? [...answer.subarray(-4)].join(".") : null;
}

function take(answer) {
  const question = asked[answer.readUInt16BE(0)];
  if (question === undefined || question.answeredAt !== null || !answer.includes(question.bytes)) {
    stray++;
    return;
  }
  question.answeredAt = Date.now();
  question.code = answer[3] & 15;
  question.address = addressIn(answer);
  if (++answered === 1) writeFileSync(`${file}.begun`, "");
}

const shared = createSocket("udp4").on("message", take);
const own = [];
for (let id = 0; id < 65_536 && !existsSync(`${file}.end`); id++) {
  const name = id % 10 === 9 ? `n${id}.shut.example` : `n${id}.open.test`;
  const bytes = Buffer.from([
    ...name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]),
    0,
    0,
    1,
    0,
    1,
  ]);
  asked.push({ name, bytes, at: Date.now(), answeredAt: null, code: null, address: null });
  const socket = id % 2 === 0 ? shared : createSocket("udp4").on("message", take);
  if (socket !== shared) own.push(socket);
  socket.send(Buffer.concat([Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), bytes]), 53, server);
  while (own.length > 500) own.shift().close();
  await sleep(Number(pause));
}
await sleep(2_000);
for (const socket of [shared, ...own]) socket.close();
console.log(JSON.stringify({ asked: asked.map(({ bytes: _, ...rest }) => rest), stray }));
