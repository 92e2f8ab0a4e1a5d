/** Messages on a stream: JSON, one on each line. A line that is too long or is no JSON ends the conversation: what follows cannot be trusted. */

export class JsonLines {
  readonly #limit: number;
  readonly #decoder = new TextDecoder();
  #rest = "";

  /** @param limit characters of one line */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @returns the messages that are whole now @throws Error when the stream is no such conversation */
  push(chunk: Uint8Array): readonly unknown[] {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > this.#limit || lines.some((line) => line.length > this.#limit)) {
      this.#rest = "";
      throw new Error(`a line of more than ${this.#limit} characters`);
    }
    return lines.filter((line) => line !== "").map((line): unknown => JSON.parse(line));
  }
}

export function jsonLine(message: object): string {
  return `${JSON.stringify(message)}\n`;
}
