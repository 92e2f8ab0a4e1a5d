/** Answers as JSON. A list may have hundreds of thousands of rows (flows): it is written in slices, so that nothing else waits for it. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";

/** Rows that are made into text at once: some ms. */
const sliceRows = 1_000;

const contentType = { "content-type": "application/json" } as const;

export function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { ...contentType, "content-length": Buffer.byteLength(text) });
  response.end(text);
}

/** Resolves when it is written, or the reader went away. */
export async function sendJson(response: ServerResponse, value: unknown): Promise<void> {
  if (!Array.isArray(value) || value.length <= sliceRows) return sendText(response, 200, JSON.stringify(value));
  response.writeHead(200, contentType);
  const rows: readonly unknown[] = value;
  for (let at = 0; at < rows.length && !response.destroyed; at += sliceRows) {
    const slice = JSON.stringify(rows.slice(at, at + sliceRows)).slice(1, -1);
    const open = response.write(at === 0 ? `[${slice}` : `,${slice}`);
    if (open) await new Promise((resolve) => setImmediate(resolve));
    else await drained(response);
  }
  if (!response.destroyed) response.end("]");
}

async function drained(response: ServerResponse): Promise<void> {
  const stop = new AbortController();
  const { signal } = stop;
  try {
    await Promise.race([once(response, "drain", { signal }), once(response, "close", { signal })]);
  } finally {
    stop.abort();
  }
}
