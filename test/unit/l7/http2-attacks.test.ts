import test from "ava";
import { loadNative } from "../../../src/native/index.ts";
import type { L7Runner, L7Step } from "../../../src/native/l7-contract.ts";
import {
  block,
  endHeaders,
  endStream,
  frame,
  framesOf,
  get,
  number,
  opening,
  preface,
  request,
  types,
} from "../../support/h2-frames.ts";
import { httpRules } from "../../support/l7-runner.ts";

const native = loadNative() as unknown as L7Runner;
const calm = 11;

function run(bytes: Buffer | readonly (Buffer | "late")[], limits = {}) {
  const steps = (Buffer.isBuffer(bytes) ? [bytes] : bytes).map((bytes): L7Step => ({ from: "client", bytes }));
  const options = { egress: httpRules({ path: "/.*" }), ingress: null, normalizePath: true, limits };
  const { client, server, records } = native.runL7Filter(options, steps);
  const sent = framesOf(client.bytes);
  const passed = framesOf(server.bytes);
  return {
    client,
    records,
    sent,
    requests: passed.filter(({ type }) => type === types.headers),
    ended: passed.filter(({ type, flags }) => type <= types.headers && (flags & endStream) !== 0),
    goaways: sent.filter(({ type }) => type === types.goaway).map(({ payload }) => payload.readUInt32BE(4)),
    resets: sent
      .filter(({ type }) => type === types.reset)
      .map(({ stream, payload }) => [stream, payload.readUInt32BE(0)]),
  };
}

function ids(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => 2 * at + 1);
}

const base = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "web"],
  [":path", "/"],
] as const;

const with_ = (...fields: readonly (readonly [string, string])[]) => [...base, ...fields];
const but = (name: string, ...values: readonly string[]) => [
  ...base.filter(([known]) => known !== name),
  ...values.map((value) => [name, value] as const),
];

// RFC 9113 8.2 and 8.3 unless another source is named.
const malformed: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  "no method": but(":method"),
  "no path": but(":path"),
  "no scheme": but(":scheme"),
  "two methods": with_([":method", "PUT"]),
  "two paths": with_([":path", "/other"]),
  "two authorities": with_([":authority", "other"]),
  "an unknown pseudo-header": with_([":admin", "yes"]),
  "a response's pseudo-header": with_([":status", "200"]),
  "an extended CONNECT that was not offered (RFC 8441)": with_([":protocol", "websocket"]),
  "a pseudo-header after others": [["x-a", "b"], ...base],
  "an empty path": but(":path", ""),
  "a path without a slash": but(":path", "admin"),
  "an absolute path": but(":path", "http://other/"),
  "a path with a space": but(":path", "/a b"),
  "a request line in the path (H2.X, Kettle 2021)": but(":path", "/ HTTP/1.1\r\nhost: other\r\n\r\nGET /admin"),
  "a path with a tab": but(":path", "/a\tb"),
  "a path with bytes above ASCII": but(":path", "/\u00e9"),
  "a path with a fragment": but(":path", "/a#b"),
  "a star of another method than OPTIONS": but(":path", "*"),
  "a method with a space": but(":method", "GET /admin HTTP/1.1"),
  "an empty method": but(":method", ""),
  "an authority with a path": but(":authority", "web/admin"),
  "an authority with a user (RFC 9113 8.3.1)": but(":authority", "user@web"),
  "an authority with a line's end": but(":authority", "web\r\nx: y"),
  "no authority": but(":authority"),
  "another Host": with_(["host", "other"]),
  "two Hosts": [...but(":authority"), ["host", "web"], ["host", "other"]],
  "an upper-case name": with_(["X-Team", "a"]),
  "a name with a colon (H2.X, Kettle 2021)": with_(["x:y", "a"]),
  "a name with a space": with_(["x y", "a"]),
  "a name with a line's end": with_(["x\r\ny", "a"]),
  "an empty name": with_(["", "a"]),
  "a value with CR and LF": with_(["x-a", "b\r\ntransfer-encoding: chunked"]),
  "a value with LF": with_(["x-a", "b\nc"]),
  "a value with NUL": with_(["x-a", "b\0c"]),
  "Transfer-Encoding (H2.TE)": with_(["transfer-encoding", "chunked"]),
  Connection: with_(["connection", "keep-alive"]),
  "Connection that names Host": with_(["connection", "host"]),
  "Keep-Alive": with_(["keep-alive", "1"]),
  "Proxy-Connection": with_(["proxy-connection", "keep-alive"]),
  Upgrade: with_(["upgrade", "h2c"]),
  "TE of more than trailers": with_(["te", "gzip"]),
  "two lengths (H2.CL)": with_(["content-length", "0"], ["content-length", "5"]),
  "a length that is no number": with_(["content-length", "+5"]),
  "a length of a request without a body": with_(["content-length", "5"]),
  "CONNECT with a path": but(":method", "CONNECT"),
  "CONNECT without a port": [
    [":method", "CONNECT"],
    [":authority", "web"],
  ],
};

for (const [what, fields] of Object.entries(malformed)) {
  test(`never passed on: ${what}`, (t) => {
    const { requests, records } = run(Buffer.concat([opening, request(1, fields)]));
    t.is(requests.length, 0);
    t.deepEqual(
      records.map(({ verdict, protocol }) => [verdict, protocol]),
      [["refused", "http/2"]],
    );
    t.truthy(records[0]?.reason);
  });
}

test("a well-formed request passes: what is refused above is refused for what it says", (t) => {
  t.is(run(Buffer.concat([opening, request(1, base)])).requests.length, 1);
  t.is(run(Buffer.concat([opening, request(1, with_(["te", "trailers"], ["host", "web"]))])).requests.length, 1);
  t.is(run(Buffer.concat([opening, request(1, [...but(":authority"), ["host", "web"]])])).requests.length, 1);
});

test("a body of another length than was said never ends for the server", (t) => {
  for (const [length, body] of [
    ["3", "hello"],
    ["9", "hello"],
  ] as const) {
    const bytes = Buffer.concat([
      opening,
      request(1, with_(["content-length", length]), endHeaders),
      frame(types.data, endStream, 1, Buffer.from(body)),
    ]);
    const { ended, resets } = run(bytes);
    t.is(ended.length, 0);
    t.deepEqual(resets, [[1, 1]]);
  }
});

test("trailers with pseudo-headers never end a request", (t) => {
  const bytes = Buffer.concat([opening, request(1, base, endHeaders), request(1, [[":path", "/admin"]])]);
  t.is(run(bytes).ended.length, 0);
});

test("the same bytes in any pieces are the same requests", (t) => {
  const bytes = Buffer.concat([
    opening,
    get(1, "/a"),
    get(3, "/b/../c"),
    request(5, with_(["X", "y"])),
    get(7, "/d%2fe"),
  ]);
  const whole = run(bytes);
  for (const size of [1, 2, 7, 24, 33]) {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    const split = run(pieces);
    t.deepEqual(split.records, whole.records);
    t.deepEqual(split.requests, whole.requests);
  }
  t.is(whole.requests.length, 2);
});

test("rapid resets end the connection (CVE-2023-44487), and the server sees no more than a burst", (t) => {
  const attack = ids(5000).flatMap((id) => [get(id, "/"), frame(types.reset, 0, id, number(8))]);
  const { goaways, requests, records, client } = run([opening, ...attack.slice(0, 4000), ...attack.slice(4000)]);
  t.deepEqual(goaways, [calm]);
  t.true(client.finished);
  t.true(requests.length <= 1001, `${requests.length}`);
  t.true(records.length <= 1002);
});

test("a request that is taken back at once is over", (t) => {
  const { requests, records, client, goaways } = run([
    Buffer.concat([opening, get(1, "/"), frame(types.reset, 0, 1, number(8))]),
    "late",
  ]);
  t.is(requests.length, 0);
  t.like(records[0], { verdict: "failed", reason: "reset by the client: CANCEL" });
  t.deepEqual(goaways, [0]);
  t.true(client.finished);
});

test("streams that the client makes the proxy reset count as well (CVE-2025-8671)", (t) => {
  const attack = ids(3000).flatMap((id) => [
    request(id, base, endHeaders),
    frame(types.windowUpdate, 0, id, number(0)),
  ]);
  const { goaways, requests } = run([opening, ...attack]);
  t.true(goaways.length > 0);
  t.true(requests.length <= 1001, `${requests.length}`);
});

test("more streams than the limit are refused without being seen by the server", (t) => {
  const { requests, resets } = run(Buffer.concat([opening, ...ids(150).map((id) => get(id, "/"))]));
  t.is(requests.length, 100);
  t.is(resets.length, 50);
  t.true(resets.every(([, code]) => code === 7));
});

test("a head beyond the limits is answered with 431 and not passed on", (t) => {
  const large = request(1, with_(...Array.from({ length: 8 }, (_, at) => [`x-${at}`, "v".repeat(1000)] as const)));
  const many = request(1, with_(...Array.from({ length: 60 }, (_, at) => [`x-${at}`, ""] as const)));
  for (const [bytes, limits] of [
    [large, { head: 4096 }],
    [many, { headers: 50 }],
  ] as const) {
    const { requests, records } = run(Buffer.concat([opening, bytes]), limits);
    t.is(requests.length, 0);
    t.like(records[0], { verdict: "refused", reason: "a head that is too large" });
    t.is(JSON.parse(records[0]?.detail ?? "").http.status, 431);
  }
});

test("a bomb of HPACK ends the connection before it is unpacked (CVE-2016-6581)", (t) => {
  const value = Buffer.alloc(3900, "v");
  // Kept in the table once, named by one byte each time.
  const kept = Buffer.concat([Buffer.from([0x40, 1]), Buffer.from("x"), Buffer.from([0x7f, 0xbd, 0x1d]), value]);
  const bomb = Buffer.concat([block(base), kept, Buffer.alloc(12_000, 0xbe)]);
  const { goaways, requests } = run(Buffer.concat([opening, frame(types.headers, endStream | endHeaders, 1, bomb)]));
  t.deepEqual(goaways, [calm]);
  t.is(requests.length, 0);
});

test("CONTINUATION without end ends the connection (CVE-2024-27316)", (t) => {
  const start = frame(types.headers, endStream, 1, block(base));
  const more = Array.from({ length: 500 }, (_, at) =>
    frame(types.continuation, 0, 1, block([[`x-${at}`, "v".repeat(500)]])),
  );
  const { client, requests } = run([opening, start, ...more]);
  t.is(requests.length, 0);
  t.true(client.finished || client.reset);
});

test("frames of nothing end the connection (CVE-2019-9518)", (t) => {
  const empty = Array.from({ length: 1500 }, () => frame(types.data, 0, 1));
  const { goaways, client } = run([opening, request(1, base, endHeaders), Buffer.concat(empty)]);
  t.deepEqual(goaways, [calm]);
  t.true(client.finished);
});

test("garbage instead of frames ends the connection and is told", (t) => {
  for (const garbage of [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    frame(types.settings, 0, 5),
    frame(types.data, 0, 0, Buffer.from("x")),
    frame(types.headers, 4, 2, block(base)),
    frame(types.continuation, 4, 1, block(base)),
    frame(types.windowUpdate, 0, 0, number(0)),
    frame(types.headers, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
    frame(types.ping, 0, 0, Buffer.alloc(7)),
  ]) {
    const { records, client, requests } = run([Buffer.concat([opening, garbage])]);
    t.is(requests.length, 0);
    t.true(client.finished || client.reset);
    t.is(records[0]?.verdict, "refused");
  }
});

test("what begins as the preface and goes on otherwise is no request of either version", (t) => {
  for (const text of [
    "PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nXX",
    "PRI /a HTTP/1.1\r\nhost: a\r\n\r\n",
  ]) {
    const { requests, records } = run(Buffer.from(text));
    t.is(requests.length, 0);
    if (text.startsWith("PRI *")) t.is(records[0]?.verdict, "refused");
  }
});

test("a head that does not come to its end is timed from its beginning, an idle connection says farewell", (t) => {
  const part = request(1, base).subarray(0, 20);
  t.like(run([opening, part, "late"]), {
    goaways: [0],
    records: [{ verdict: "refused", reason: "a head that did not come in time" }],
  });
  t.like(run([preface, "late"]), { goaways: [0], records: [{ verdict: "refused" }] });
  const idle = run([opening, "late"]);
  t.deepEqual(idle.goaways, [0]);
  t.true(idle.client.finished);
  t.is(idle.records.length, 0);
});
