/**
 * Messages of DNS (RFC 1035, section 4), as far as questions for addresses need them. Strict, as anybody on the way may have written the
 * bytes: whatever is not exactly a message is refused as a whole, and reading takes no longer than the message is long.
 */
import { type Address, addressFromBytes } from "../model/ip.ts";
import { MessageError, readName, writeName } from "./name-bytes.ts";

/** Types of records (RFC 1035, section 3.2.2; RFC 3596; RFC 6891). */
export const recordTypes = { A: 1, CNAME: 5, AAAA: 28, OPT: 41 } as const;
/** Codes of answers (RFC 1035, section 4.1.1). */
export const responseCodes = {
  ok: 0,
  badFormat: 1,
  serverFailure: 2,
  noName: 3,
  notImplemented: 4,
  refused: 5,
} as const;

/** The Internet. */
const classIn = 1;
const headerBytes = 12;
/** What fits into a datagram on every path (dnsflagday.net/2020). */
const payloadBytes = 1232;

export interface Question {
  /** As `dns-names.ts` writes names. */
  readonly name: string;
  readonly type: number;
}

export type RecordData =
  | { readonly kind: "address"; readonly address: Address }
  /** The name stands for another. */
  | { readonly kind: "alias"; readonly target: string }
  | { readonly kind: "other" };

export interface ResourceRecord {
  readonly name: string;
  readonly type: number;
  /** Seconds, 0-2147483647. */
  readonly ttl: number;
  readonly data: RecordData;
}

export interface Response {
  readonly id: number;
  readonly code: number;
  /** Not all of it was sent: ask over TCP. Then there are no answers here. */
  readonly isTruncated: boolean;
  readonly question: Question;
  /** Of the class Internet. */
  readonly answers: readonly ResourceRecord[];
}

/**
 * A recursive question.
 * @param extended say that datagrams of 1232 bytes may come back (EDNS, RFC 6891)
 * @throws MessageError for a name that has no form on the wire
 */
export function encodeQuery(id: number, { name, type }: Question, extended: boolean): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2); // recursion desired
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(extended ? 1 : 0, 10);
  const fixed = Buffer.alloc(4);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(classIn, 2);
  const parts = [header, writeName(name), fixed];
  if (extended) {
    const option = Buffer.alloc(11); // the root's name, then type, size, flags and no data
    option.writeUInt16BE(recordTypes.OPT, 1);
    option.writeUInt16BE(payloadBytes, 3);
    parts.push(option);
  }
  return Buffer.concat(parts);
}

/** @throws MessageError for what is no response to one question */
export function decodeResponse(bytes: Buffer): Response {
  if (bytes.length < headerBytes) throw new MessageError("shorter than a header");
  const flags = bytes.readUInt16BE(2);
  if ((flags & 0x8000) === 0) throw new MessageError("a question");
  if ((flags & 0x7800) !== 0) throw new MessageError("another kind of response");
  if (bytes.readUInt16BE(4) !== 1) throw new MessageError("not about one question");
  const asked = readName(bytes, headerBytes);
  const end = asked.end + 4;
  if (end > bytes.length) throw new MessageError("ends within the question");
  if (bytes.readUInt16BE(asked.end + 2) !== classIn) throw new MessageError("of another class");
  const isTruncated = (flags & 0x0200) !== 0;
  return {
    id: bytes.readUInt16BE(0),
    code: flags & 15,
    isTruncated,
    question: { name: asked.name, type: bytes.readUInt16BE(asked.end) },
    answers: isTruncated ? [] : readRecords(bytes, end, bytes.readUInt16BE(6)),
  };
}

function readRecords(bytes: Buffer, start: number, count: number): readonly ResourceRecord[] {
  const records: ResourceRecord[] = [];
  let at = start;
  for (let read = 0; read < count; read++) {
    const { name, end } = readName(bytes, at);
    if (end + 10 > bytes.length) throw new MessageError("ends within a record");
    const type = bytes.readUInt16BE(end);
    const isInternet = bytes.readUInt16BE(end + 2) === classIn;
    const ttl = bytes.readUInt32BE(end + 4);
    const dataStart = end + 10;
    at = dataStart + bytes.readUInt16BE(end + 8);
    if (at > bytes.length) throw new MessageError("ends within the data of a record");
    if (!isInternet) continue;
    // RFC 2181, section 8: with the first bit set it is taken for 0.
    records.push({ name, type, ttl: ttl > 0x7fffffff ? 0 : ttl, data: readData(bytes, type, dataStart, at) });
  }
  return records;
}

function readData(bytes: Buffer, type: number, start: number, end: number): RecordData {
  switch (type) {
    case recordTypes.A:
    case recordTypes.AAAA:
      if (end - start !== (type === recordTypes.A ? 4 : 16)) throw new MessageError("an address of another length");
      return { kind: "address", address: addressFromBytes(Uint8Array.from(bytes.subarray(start, end))) };
    case recordTypes.CNAME: {
      const target = readName(bytes, start);
      if (target.end !== end) throw new MessageError("an alias with more than a name");
      return { kind: "alias", target: target.name };
    }
    default:
      return { kind: "other" };
  }
}
