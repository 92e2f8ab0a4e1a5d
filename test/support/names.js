/**
 * What tests of names need outside of a cluster, each a process: `node names.js dns HOST PORT RECORDS BEGUN` is a DNS server over UDP and TCP whose
 * records are the JSON of the file RECORDS as it is at each question ({"api.test": {"A": [...], "AAAA": [...], "CNAME": "other.test", "ttl": 1}};
 * "SERVFAIL": true fails, "delay" are ms before an answer over UDP, "who": true gives the address of who asks, "poison" what is told besides, see below).
 * RECORDS.asked gets a line for each question: ms and name. `node names.js web PORT BEGUN` answers HTTP, and lines of flow.js. BEGUN is made when it listens.
 * It speaks the wire by its own means, so that a mistake in the product's codec cannot hide in it.
 */
import { createSocket } from "node:dgram";
import { appendFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, isIPv6 } from "node:net";

const [mode, ...words] = process.argv.slice(2);
const types = { A: 1, NS: 2, CNAME: 5, AAAA: 28 };
/** Bytes of an answer that go over UDP where the question says nothing else: the least that RFC 1035 grants. */
const mostDatagram = 512;
const optType = 41;

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

function numberBytes(number) {
  return Buffer.of(number >> 8, number & 255);
}

function questionBytes(name, type) {
  return Buffer.concat([nameBytes(name), numberBytes(type), numberBytes(1)]);
}

function messageBytes(id, code, question, { answers = [], authorities = [], additional = [] }, limit = Infinity) {
  const counts = (cut) => [1, cut ? 0 : answers.length, authorities.length, additional.length].map(numberBytes);
  const header = (cut) => [numberBytes(id), numberBytes(0x8180 | (cut ? 0x0200 : 0) | code), ...counts(cut)];
  const whole = Buffer.concat([...header(false), question, ...answers, ...authorities, ...additional]);
  return whole.length > limit ? Buffer.concat([...header(true), question]) : whole;
}

/**
 * What whoever wants to open addresses sends before the right answer, and puts into it: {"id": [addresses], "question": [addresses],
 * "beside": [addresses]} are given with a number that nobody asked with, as the answer to a question about another name, and as
 * records of other names within the right answer.
 */
function poisoned(id, question, name, poison) {
  const given = (of, addresses = []) => addresses.map((address) => record(of, types.A, 300, addressBytes(address)));
  const other = `other.${name.slice(name.indexOf(".") + 1)}`;
  return {
    before: [
      messageBytes(id ^ 0x5555, 0, question, { answers: given(name, poison.id) }),
      messageBytes(id, 0, questionBytes(other, types.A), { answers: given(other, poison.question) }),
    ],
    answers: given(other, poison.beside),
    authorities: [record(name, types.NS, 300, nameBytes(other))],
    additional: given(other, poison.beside),
  };
}

let known = { stamp: "", records: {} };

/** As the file has them now; read again when another one has its name. */
function recordsOf(path) {
  const { ino, mtimeMs } = statSync(path);
  const stamp = `${ino} ${mtimeMs}`;
  if (stamp !== known.stamp) known = { stamp, records: JSON.parse(readFileSync(path, "utf8")) };
  return known.records;
}

function answer(query, path, limit, from) {
  let at = 12;
  const labels = [];
  while (query[at] !== 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
    at += query[at] + 1;
  }
  const question = query.subarray(12, at + 5);
  const type = query.readUInt16BE(at + 1);
  const id = query.readUInt16BE(0);
  // A first additional record that says how much the client takes (RFC 6891).
  const extended = query.readUInt16BE(10) > 0 && query[at + 5] === 0 && query.readUInt16BE(at + 6) === optType;
  const most = Math.max(limit, extended ? query.readUInt16BE(at + 8) : 0);
  const records = recordsOf(path);
  const answers = [];
  const asked = labels.join(".").toLowerCase();
  appendFileSync(`${path}.asked`, `${Date.now()} ${asked}\n`);
  let name = asked;
  let entry = records[name];
  const code = entry?.SERVFAIL === true ? 2 : entry === undefined ? 3 : 0;
  const { delay = 0, poison, who } = entry ?? {};
  while (entry?.CNAME !== undefined) {
    answers.push(record(name, types.CNAME, entry.ttl ?? 1, nameBytes(entry.CNAME)));
    name = entry.CNAME;
    entry = records[name];
  }
  const own = from.replace(/^::ffff:/, "");
  const plain = type === types.A ? entry?.A : entry?.AAAA;
  const wanted = who === true ? [own].filter((each) => isIPv6(each) === (type === types.AAAA)) : plain;
  for (const address of wanted ?? []) answers.push(record(name, type, entry.ttl ?? 1, addressBytes(address)));
  if (poison === undefined || type !== types.A)
    return { bytes: messageBytes(id, code, question, { answers }, most), before: [], delay };
  const { before, ...rest } = poisoned(id, question, asked, poison);
  return {
    bytes: messageBytes(id, code, question, { ...rest, answers: [...rest.answers, ...answers] }, most),
    before,
    delay,
  };
}

function serveNames(host, port, path, begun) {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  socket.on("message", (query, { port: from, address }) => {
    const { bytes, before, delay } = answer(query, path, mostDatagram, address);
    for (const each of before) socket.send(each, from, address);
    if (delay > 0) setTimeout(() => socket.send(bytes, from, address), delay);
    else socket.send(bytes, from, address);
  });
  const server = createServer((connection) => {
    connection.on("error", () => connection.destroy());
    connection.on("data", (bytes) => {
      const { bytes: response } = answer(bytes.subarray(2), path, 65_535, connection.remoteAddress ?? "");
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
