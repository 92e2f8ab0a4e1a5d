/** Frames of HTTP/2 (RFC 9113 section 4) by hand, for what no well-behaved library sends. */

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const types = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const endStream = 1;
export const endHeaders = 4;

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals that leave the tables of HPACK alone (RFC 7541 6.2.2), without Huffman coding. */
export function block(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const parts = fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]);
  return Buffer.concat(parts);
}

export function request(
  stream: number,
  fields: readonly (readonly [name: string, value: string])[],
  flags = endStream | endHeaders,
): Buffer {
  return frame(types.headers, flags, stream, block(fields));
}

export function get(stream: number, path: string): Buffer {
  return request(stream, [
    [":method", "GET"],
    [":scheme", "http"],
    [":authority", "web"],
    [":path", path],
  ]);
}

export function number(value: number): Buffer {
  const made = Buffer.alloc(4);
  made.writeUInt32BE(value);
  return made;
}

/** What the client's side begins with: preface and empty settings. */
export const opening = Buffer.concat([preface, frame(types.settings, 0, 0)]);

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** @param bytes whole frames, of the client's side with its preface. */
export function framesOf(bytes: Buffer): readonly Frame[] {
  const found: Frame[] = [];
  let at = bytes.subarray(0, preface.length).equals(preface) ? preface.length : 0;
  while (at + 9 <= bytes.length) {
    const size = bytes.readUIntBE(at, 3);
    found.push({
      type: bytes[at + 3] as number,
      flags: bytes[at + 4] as number,
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload: bytes.subarray(at + 9, at + 9 + size),
    });
    at += 9 + size;
  }
  return found;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length, 7), bytes]);
}

/** RFC 7541 5.1, with zeros before it. */
function integer(value: number, bits: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([value]);
  const bytes = [most];
  let rest = value - most;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}
