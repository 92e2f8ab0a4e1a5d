/**
 * Ends of DNS over UDP in a network namespace, each a process told by lines of JSON on stdin and telling by lines on stdout:
 * `node dns-process.js proxy ADDON`: the product's proxy ({"open": options, "records": true}, {"written": [...]}, {"connected": true}, {"counts": true}, …);
 * `node dns-process.js server PORT HOST...`: answers with the address of who asks, or as the name's first label says;
 * `node dns-process.js client HOST`: sends {"to": [port, host], "hex": "…"} from one socket, and tells what comes.
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [mode, ...words] = process.argv.slice(2);
const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const lines = (take) => createInterface({ input: process.stdin }).on("line", (line) => take(JSON.parse(line)));
const socketOf = (host) => createSocket(isIPv6(host) ? "udp6" : "udp4");

function proxy(addon) {
  const native = createRequire(import.meta.url)(addon);
  let dns = null;
  lines(async ({ open, records, written, connected, forget, demand, counts }) => {
    if (open !== undefined) {
      const { host, port, ...options } = open;
      const address = isIPv6(host) ? Buffer.alloc(16) : Buffer.alloc(4);
      const made = await native.openSocket(null, {
        type: "udp",
        address,
        port,
        transparent: true,
        mark: null,
        reusePort: false,
        listen: null,
      });
      const onRecord = records ? (line) => tell({ record: JSON.parse(line) }) : null;
      dns = native.openDns({ ...options, socket: made.fd }, (lookups) => tell({ lookups }), onRecord);
    }
    if (connected !== undefined) native.dnsConnected(dns, connected);
    if (written !== undefined) native.dnsWritten(dns, written);
    if (forget !== undefined) native.dnsForget(dns, forget);
    if (demand !== undefined) native.dnsDemand(dns, demand);
    tell(counts ? { counts: native.dnsCounts(dns) } : { done: true });
  });
}

/** The question's first label, its type, and its bytes. */
function questionOf(query) {
  let at = 12;
  while (query[at] !== 0) at += query[at] + 1;
  const first = query.toString("latin1", 13, 13 + query[12]);
  return { first, type: query.readUInt16BE(at + 1), bytes: query.subarray(12, at + 5) };
}

/** A hundred addresses, which no other number has. */
function hundred(query, { bytes, type }, number) {
  const header = Buffer.from(query.subarray(0, 12));
  for (const [at, value] of [0x8180, 1, 100, 0, 0].entries()) header.writeUInt16BE(value, 2 + 2 * at);
  const records = Array.from({ length: 100 }, (_, at) =>
    Buffer.of(
      0xc0,
      12,
      0,
      type,
      0,
      1,
      0,
      0,
      1,
      44,
      0,
      4,
      100 + (number >> 14),
      (number >> 6) & 255,
      (number & 63) * 4,
      at,
    ),
  );
  return Buffer.concat([header, bytes, ...records]);
}

/** Fifteen texts of 254 bytes, and behind them what stood behind the question. */
function large(query, { bytes, type }) {
  const header = Buffer.from(query.subarray(0, 12));
  for (const [at, value] of [0x8180, 1, 15, 0].entries()) header.writeUInt16BE(value, 2 + 2 * at);
  const text = Buffer.concat([Buffer.of(0xc0, 12, 0, type, 0, 1, 0, 0, 1, 44, 0, 255, 254), Buffer.alloc(254, "x")]);
  return Buffer.concat([header, bytes, ...Array(15).fill(text), query.subarray(12 + bytes.length)]);
}

function response(query, { bytes, type }, data, change) {
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  for (const [at, value] of [
    [4, 1],
    [6, 1],
    [8, 0],
    [10, 0],
  ])
    header.writeUInt16BE(value, at);
  const record = Buffer.alloc(12);
  record.writeUInt16BE(0xc00c, 0);
  record.writeUInt16BE(type, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(60, 6);
  record.writeUInt16BE(data.length, 10);
  const whole = Buffer.concat([header, bytes, record, data]);
  change?.(whole);
  return whole;
}

function server(port, hosts) {
  for (const host of hosts) {
    const socket = socketOf(host);
    const asked = new Map();
    socket.on("message", (query, from) => {
      const question = questionOf(query);
      const own = isIPv6(from.address)
        ? Buffer.from(
            from.address
              .split("::")
              .map((part) =>
                part
                  .split(":")
                  .map((each) => each.padStart(4, "0"))
                  .join(""),
              )
              .reduce((head, tail) => head + tail.padStart(32 - head.length, "0")),
            "hex",
          )
        : Buffer.from(from.address.split(".").map(Number));
      const data =
        question.type === 28 && own.length === 4
          ? Buffer.alloc(16, 0x20)
          : question.type === 1 && own.length === 16
            ? Buffer.of(192, 0, 2, 99)
            : own;
      const send = (bytes) => socket.send(bytes, from.port, from.address);
      if (question.first === "silent") return;
      const [, number = null] = /^hundred-(\d+)$/.exec(question.first) ?? [];
      if (number !== null) return send(hundred(query, question, Number(number)));
      if (question.first === "large") return send(large(query, question));
      if (question.first === "late") return setTimeout(() => send(response(query, question, data)), 1_000);
      if (question.first === "poisoned") {
        const bad = Buffer.from(data).fill(6);
        send(response(query, question, bad, (whole) => whole.writeUInt16BE(query.readUInt16BE(0) ^ 0x5555, 0)));
        send(
          response(query, question, bad, (whole) => {
            whole[13] ^= 1;
          }),
        );
        send(
          response(query, question, bad, (whole) => {
            whole[2] = 0;
          }),
        );
        send(Buffer.from([1, 2, 3]));
      }
      if (question.first === "second") {
        // Only whoever asks again is answered, and then twice.
        const key = query.readUInt16BE(0);
        asked.set(key, (asked.get(key) ?? 0) + 1);
        if (asked.get(key) === 1) return;
        send(response(query, question, data));
      }
      if (question.first === "cut")
        return send(
          response(query, question, data, (whole) => {
            whole[2] |= 2;
          }),
        );
      send(response(query, question, data));
    });
    socket.bind(Number(port), host, () => tell({ listening: host }));
  }
}

function client(host) {
  const socket = socketOf(host);
  socket.on("message", (bytes, { address, port }) => tell({ from: [port, address], hex: bytes.toString("hex") }));
  socket.bind(0, host, () => tell({ port: socket.address().port }));
  lines(({ to: [port, address], hex }) => socket.send(Buffer.from(hex, "hex"), port, address));
}

if (mode === "proxy") proxy(...words);
else if (mode === "server") server(words[0], words.slice(1));
else client(...words);
