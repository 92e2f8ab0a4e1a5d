/** Names of DNS on the wire (RFC 1035, sections 3.1 and 4.1.4), to and from the text that policies and tables use. */

/** Bytes that are no message; the text completes "the message is: ". */
export class MessageError extends Error {
  override readonly name = "MessageError";
}

const mostBytes = 255;
const mostLabelBytes = 63;

/**
 * @returns the name in lower case without the final dot ("." for the root), and where reading goes on. Bytes that no host name has are
 *   written \DDD, so that no label can look like two.
 * @throws MessageError for what is no name
 */
export function readName(bytes: Buffer, start: number): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let at = start;
  let end = -1;
  let length = 1;
  // A pointer leads before all that was read so far, so there is no way in circles.
  let before = start;
  for (;;) {
    const size = bytes[at];
    if (size === undefined) throw new MessageError("ends within a name");
    if (size === 0) {
      return { name: labels.length === 0 ? "." : labels.join("."), end: end === -1 ? at + 1 : end };
    }
    if (size >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) throw new MessageError("ends within a name");
      if (end === -1) end = at + 2;
      at = ((size & 0x3f) << 8) | low;
      if (at >= before) throw new MessageError("a name that points forwards");
      before = at;
      continue;
    }
    if (size > mostLabelBytes) throw new MessageError("a name with an unknown kind of label");
    if (at + 1 + size > bytes.length) throw new MessageError("ends within a name");
    length += size + 1;
    if (length > mostBytes) throw new MessageError("a name that is too long");
    labels.push(labelText(bytes, at + 1, at + 1 + size));
    at += 1 + size;
  }
}

/** @throws MessageError for a text that has no form on the wire */
export function writeName(name: string): Buffer {
  if (name === ".") return Buffer.of(0);
  const parts: Buffer[] = [];
  for (const text of name.split(".")) {
    const label = labelBytes(text);
    if (label.length === 0 || label.length > mostLabelBytes)
      throw new MessageError(`no label: ${JSON.stringify(text)}`);
    parts.push(Buffer.of(label.length), label);
  }
  const whole = Buffer.concat([...parts, Buffer.of(0)]);
  if (whole.length > mostBytes) throw new MessageError("a name that is too long");
  return whole;
}

function labelText(bytes: Buffer, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0;
    const letter = String.fromCharCode(byte);
    text += /[-_a-zA-Z0-9]/.test(letter) ? letter.toLowerCase() : `\\${String(byte).padStart(3, "0")}`;
  }
  return text;
}

function labelBytes(text: string): Buffer {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const escaped = /^\\([01]\d\d|2[0-4]\d|25[0-5])/.exec(text.slice(at, at + 4));
    const code = escaped === null ? text.charCodeAt(at) : Number(escaped[1]);
    if (escaped === null && (code > 126 || code < 33 || text[at] === "\\")) {
      throw new MessageError(`no label: ${JSON.stringify(text)}`);
    }
    bytes.push(code);
    if (escaped !== null) at += 3;
  }
  return Buffer.from(bytes);
}
