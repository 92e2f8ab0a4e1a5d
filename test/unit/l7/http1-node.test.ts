/**
 * The engine's reading of HTTP/1 against Node's own parser (llhttp), by messages made at random: what is passed on is read by Node's server as the very
 * requests that were judged, without a complaint, and ends where Node says that it ends.
 */
import { createServer, type Server } from "node:http";
import test from "ava";
import fc from "fast-check";
import { httpRules } from "../../support/l7-runner.ts";
import { Replay } from "../../support/l7-replay.ts";

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly body: string;
}

/** One in three is not as `otherwise`. */
const sometimes = <T>(odd: fc.Arbitrary<T>, otherwise: T) =>
  fc.oneof({ arbitrary: odd, weight: 1 }, { arbitrary: fc.constant(otherwise), weight: 2 });

const blanks = fc.constantFrom("", " ", "\t", "  ");
const name = fc.constantFrom(
  "X-A",
  "Accept",
  "Content-Length",
  "Transfer-Encoding",
  "Host",
  "Connection",
  "Expect",
  "Cookie",
  "x_b",
  "Te",
);
const value = fc.constantFrom(
  "a",
  "5",
  "0",
  "chunked",
  "close",
  "keep-alive",
  "identity",
  "chunked, chunked",
  "+5",
  "0x5",
  "\x0bchunked",
  "caf\xe9",
  "",
);
const field = fc
  .tuple(name, blanks, value, blanks)
  .map(([name, before, value, after]) => `${name}:${before}${value}${after}\r\n`);
const target = sometimes(
  fc.constantFrom(
    "/",
    "/a/../b",
    "//a",
    "/a%2eb",
    "/a?b=/../c",
    "http://web/a",
    "*",
    "/a\xe9",
    "/a b",
    "/a#b",
    "web:80",
  ),
  "/a",
);
const method = fc.constantFrom("GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE");
const chunk = sometimes(
  fc.constantFrom(
    "5\r\nhello\r\n",
    "5;x=y\r\nhello\r\n",
    "05\r\nhello\r\n",
    "a\r\n0123456789\r\n",
    "5 \r\nhello\r\n",
    "5\nhello\r\n",
    "-1\r\n",
  ),
  "5\r\nhello\r\n",
);
const end = fc.constantFrom(
  "0\r\n\r\n",
  "0\r\nX-T: a\r\n\r\n",
  "0\r\nContent-Length: 3\r\n\r\n",
  "0;x\r\n\r\n",
  "00\r\n\r\n",
);
const framing = fc.oneof(
  fc.constant("\r\n"),
  fc.constantFrom("hello", "hell", "").map((body) => `Content-Length: ${body.length}\r\n\r\n${body}`),
  fc
    .tuple(fc.array(chunk, { maxLength: 3 }), end)
    .map(([chunks, end]) => `Transfer-Encoding: chunked\r\n\r\n${chunks.join("")}${end}`),
);
const request = fc
  .tuple(
    method,
    target,
    fc.constantFrom("HTTP/1.1", "HTTP/1.1", "HTTP/1.0"),
    sometimes(fc.array(field, { minLength: 1, maxLength: 2 }), []),
    framing,
  )
  .map(
    ([method, target, version, fields, framing]) =>
      `${method} ${target} ${version}\r\nHost: web\r\n${fields.join("")}${framing}`,
  );
/** Now and then a byte is another one, or not there. */
const mutation = fc.tuple(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.constantFrom("", "\r", "\n", " ", "\t", ":", "\0", "0", "\r\n"),
);
const message = fc
  .tuple(
    fc.array(request, { minLength: 1, maxLength: 3 }),
    sometimes(fc.array(mutation, { minLength: 1, maxLength: 1 }), []),
  )
  .map(([requests, mutations]) => {
    let bytes = requests.join("");
    for (const [where, by] of mutations) {
      const at = Math.floor(where * bytes.length);
      bytes = bytes.slice(0, at) + by + bytes.slice(at + 1);
    }
    return bytes;
  });

/** Until nothing moves any more. */
async function quiet(moved: () => number): Promise<void> {
  for (let still = 0, last = -1; still < 8; still++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (moved() !== last) still = 0;
    last = moved();
  }
}

function serve(seen: Seen[], complaints: string[]): Server {
  const server = createServer({ insecureHTTPParser: false, requireHostHeader: false }, (message, response) => {
    const parts: Buffer[] = [];
    message.on("data", (part: Buffer) => parts.push(part));
    message.on("error", () => undefined);
    message.on("end", () => {
      const { method = "", url = "", headers } = message;
      seen.push({ method, path: url, host: headers.host ?? "", body: Buffer.concat(parts).toString("latin1") });
      response.end();
    });
  });
  server.on("clientError", (error: Error & { readonly code?: string }) => complaints.push(error.code ?? error.message));
  return server;
}

/** It knows its own list of methods; no reader takes another one for a different request. */
const stricter = new Set(["HPE_INVALID_METHOD"]);

test("what passes is read by Node as what was judged", async (t) => {
  let passed = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(message, async (bytes) => {
      const seen: Seen[] = [];
      const complaints: string[] = [];
      const server = serve(seen, complaints);
      const replay = new Replay(
        { egress: httpRules({}), ingress: null, normalizePath: true, limits: {} },
        (connection) => {
          connection.on("error", () => undefined);
          server.emit("connection", connection);
        },
      );
      replay.client.on("error", () => undefined);
      replay.client.resume();
      replay.client.write(Buffer.from(bytes, "latin1"));
      await quiet(() => replay.result.client.bytes.length + replay.result.server.bytes.length + seen.length);
      const told = replay.result.records
        .filter(({ verdict }) => verdict === "forwarded")
        .map(
          ({ detail }) =>
            JSON.parse(detail).http as { readonly method: string; readonly host: string; readonly path: string },
        );
      passed += told.length;
      refused += replay.result.records.length - told.length;
      const context = JSON.stringify({
        bytes,
        told,
        seen,
        complaints,
        out: replay.result.server.bytes.toString("latin1"),
      });
      const isStricter = complaints.some((code) => stricter.has(code));
      if (complaints.length > 0 && !isStricter) throw new Error(`Node complains: ${context}`);
      if (isStricter ? seen.length > told.length : told.length !== seen.length)
        throw new Error(`not as many: ${context}`);
      seen.forEach((request, at) => {
        const same = told[at];
        if (same?.method !== request.method || same.host !== request.host)
          throw new Error(`another request: ${context}`);
      });
    }),
    { numRuns: Number(process.env.TANDEM_DIFFERENTIAL_RUNS ?? 1500) },
  );
  t.log(`${passed} requests passed, ${refused} refused`);
  t.true(passed > 500 && refused > 300, `${passed} ${refused}`);
});
