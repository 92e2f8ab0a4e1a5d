/**
 * What tests of names need outside of a cluster, each a process: `node names.js dns HOST PORT RECORDS BEGUN` is a DNS server over UDP and TCP whose
 * records are the JSON of the file RECORDS, read for each question ({"api.test": {"A": [...], "AAAA": [...], "CNAME": "other.test", "ttl": 1}};
 * "SERVFAIL": true fails, "delay" are ms before an answer over UDP); `node names.js web PORT BEGUN` answers HTTP, and lines of flow.js. BEGUN is made when it listens.
 * It speaks the wire by its own means, so that a mistake in the product's codec cannot hide in it.
 */
import { createSocket } from "node:dgram";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { isIPv6 } from "node:net";

const [mode, ...words] = process.argv.slice(2);
const types = { A: 1, CNAME: 5, AAAA: 28 };
/** Bytes of an answer that go over UDP: the least that RFC 1035 grants, so that larger ones are asked for over TCP. */
const mostDatagram = 512;

function nameBytes(name) {
  const labels = name.split(".").map((label) => [label.length, ...Buffer.from(label)]);
  return Buffer.from([...labels.flat(), 0]);
}

function addressBytes(text) {
  if (!isIPv6(text)) return Buffer.from(text.split(".").map(Number));
  const [head, tail = null] = text.split("::");
  const groups = (part) => (part ? part.split(":") : []);
  const zeros = tail === null ? [] : Array(8 - groups(head).length - groups(tail).length).fill("0");
  const all = [...groups(head), ...zeros, ...groups(tail)];
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]));
}

function record(name, type, ttl, data) {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([nameBytes(name), fixed, data]);
}

function answer(query, path, limit) {
  let at = 12;
  const labels = [];
  while (query[at] !== 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
    at += query[at] + 1;
  }
  const question = query.subarray(12, at + 5);
  const type = query.readUInt16BE(at + 1);
  const records = JSON.parse(readFileSync(path, "utf8"));
  const found = [];
  let name = labels.join(".").toLowerCase();
  let entry = records[name];
  const failing = entry?.SERVFAIL === true;
  const isKnown = entry !== undefined;
  const delay = entry?.delay ?? 0;
  while (entry?.CNAME !== undefined) {
    found.push(record(name, types.CNAME, entry.ttl ?? 1, nameBytes(entry.CNAME)));
    name = entry.CNAME;
    entry = records[name];
  }
  const wanted = type === types.A ? entry?.A : entry?.AAAA;
  for (const address of wanted ?? []) found.push(record(name, type, entry.ttl ?? 1, addressBytes(address)));
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(1, 4);
  const whole = Buffer.concat([header, question, ...found]);
  const cut = whole.length > limit;
  const code = failing ? 2 : isKnown ? 0 : 3;
  header.writeUInt16BE(0x8180 | (cut ? 0x0200 : 0) | code, 2);
  header.writeUInt16BE(cut ? 0 : found.length, 6);
  return { bytes: Buffer.concat(cut ? [header, question] : [header, question, ...found]), delay };
}

function serveNames(host, port, path, begun) {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  socket.on("message", (query, { port: from, address }) => {
    const { bytes, delay } = answer(query, path, mostDatagram);
    if (delay > 0) setTimeout(() => socket.send(bytes, from, address), delay);
    else socket.send(bytes, from, address);
  });
  const server = createServer((connection) => {
    connection.on("error", () => connection.destroy());
    connection.on("data", (bytes) => {
      const { bytes: response } = answer(bytes.subarray(2), path, 65_535);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(response.length);
      connection.write(Buffer.concat([length, response]));
    });
  });
  server.listen(Number(port), host, () => socket.bind(Number(port), host, () => writeFileSync(begun, "")));
}

function serveWeb(port, begun) {
  const server = createServer((connection) => {
    connection.on("error", () => connection.destroy());
    connection.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      if (text.startsWith("GET ")) {
        const { localAddress } = connection;
        const body = `outside ${localAddress}\n`;
        connection.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
      } else for (const _line of text.trimEnd().split("\n")) connection.write("outside\n");
    });
  });
  server.listen(Number(port), "::", () => writeFileSync(begun, ""));
}

if (mode === "dns") serveNames(...words);
else serveWeb(...words);
