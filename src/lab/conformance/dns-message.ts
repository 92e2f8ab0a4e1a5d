/** Questions of DNS and their answers (RFC 1035, section 4), by means of a run's own: a mistake of the product's must not hide in it. */
import type { DnsRequest } from "./case.ts";
import type { Outcome } from "./outcome.ts";

const headerBytes = 12;
const types = { A: 1, AAAA: 28 } as const;
const text = 16;
const refused = 5;

export function dnsQuestion(id: number, { name, type }: DnsRequest): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id & 0xffff, 0);
  header.writeUInt16BE(0x0100, 2); // recursion desired
  header.writeUInt16BE(1, 4);
  const labels = name.replace(/\.$/, "").split(".");
  const written = labels.map((label) => Buffer.concat([Buffer.of(Buffer.byteLength(label)), Buffer.from(label)]));
  return Buffer.concat([header, ...written, Buffer.of(0, 0, types[type], 0, 1)]);
}

/** REFUSED is the proxy's: no server of a run says that. The last record of an answer names its server. */
export function readDnsAnswer(bytes: Buffer, ms: number): Outcome {
  if (bytes.length < headerBytes) return { kind: "failed", why: "an answer shorter than a header" };
  const code = bytes.readUInt8(3) & 15;
  if (code === refused) return { kind: "forbidden", how: "REFUSED", ms };
  if (code !== 0) return { kind: "failed", why: `code ${code} of DNS` };
  let at = headerBytes;
  while (at < bytes.length && bytes[at] !== 0) at += 1 + (bytes[at] ?? 0);
  at += 5;
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10);
  let name: string | null = null;
  for (let i = 0; i < records; i++) {
    // A pointer, or the root.
    at += (bytes[at] ?? 0) >= 0xc0 ? 2 : 1;
    if (at + 10 > bytes.length) break;
    const data = bytes.subarray(at + 10, at + 10 + bytes.readUInt16BE(at + 8));
    if (bytes.readUInt16BE(at) === text) name = data.subarray(1).toString();
    at += 10 + data.length;
  }
  return name === null ? { kind: "failed", why: "an answer of another server" } : { kind: "answer", name, ms };
}
