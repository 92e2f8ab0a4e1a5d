/** TLS by the names that clients ask for: hellos of Node's own client, whole and in every split. */
import { createServer } from "node:net";
import { connect } from "node:tls";
import test from "ava";
import type { L7RuleSet } from "../../../src/native/l7-contract.ts";
import { runFilter, type Step } from "../../support/l7-runner.ts";

const names = (...patterns: readonly string[]): readonly L7RuleSet[] => [
  { id: 7, protocol: "tls", rules: patterns.map((pattern) => ({ pattern })) },
];
const rules = { egress: names("api\\.example\\.com", "[^.]+\\.shop\\.example") };

/** What a client says first. */
function hello(servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.once("data", (bytes) => {
        resolve(bytes.toString("latin1"));
        socket.destroy();
        server.close();
      });
    });
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return;
      const client = connect({ port: address.port, host: "127.0.0.1", servername, rejectUnauthorized: false });
      client.on("error", () => undefined); // nobody answers it
    });
  });
}

/** The same message in records of so many bytes. */
function inRecords(bytes: string, size: number): string {
  const message = bytes.slice(5);
  const parts = Array.from({ length: Math.ceil(message.length / size) }, (_, at) =>
    message.slice(at * size, (at + 1) * size),
  );
  return parts.map((part) => `\x16\x03\x01${String.fromCharCode(part.length >> 8, part.length & 255)}${part}`).join("");
}

const alert = "\x15\x03\x03\x00\x02\x02\x31";

test("an allowed name passes with every byte, and everything behind it", async (t) => {
  const bytes = await hello("API.example.com");
  const run = runFilter(rules, ["client", bytes], ["server", "\x16answer"], ["client", "more"], ["server", "end"]);
  t.is(run.server, `${bytes}more`);
  t.is(run.client, "\x16answer");
  t.like(run.records, [{ verdict: "forwarded", ruleSet: 7, detail: { tls: { serverName: "api.example.com" } } }]);
  t.is(runFilter(rules, ["client", await hello("a.shop.example")]).connections, 1);
});

test("another name, or none, is told to the client and goes nowhere", async (t) => {
  for (const name of ["www.example.com", "a.b.shop.example", ""]) {
    const run = runFilter(rules, ["client", await hello(name)]);
    t.is(run.client, alert, name);
    t.true(run.finished);
    t.is(run.connections, 0);
    t.like(run.records, [{ verdict: "denied", direction: "egress", detail: { tls: { serverName: name } } }]);
  }
  const both = { egress: names(".*"), ingress: names("other") };
  t.like(runFilter(both, ["client", await hello("x.example")]).records, [{ verdict: "denied", direction: "ingress" }]);
});

test("in any split over segments and records it is the same hello", async (t) => {
  const bytes = await hello("api.example.com");
  const byByte = [...bytes].map((byte): Step => ["client", byte]);
  t.is(runFilter(rules, ...byByte).server, bytes);
  for (const size of [1, 2, 3, 4, 5, 50, 200]) {
    const split = inRecords(bytes, size);
    t.is(runFilter(rules, ["client", split]).server, split, `records of ${size}`);
    t.is(runFilter(rules, ["client", inRecords(await hello("no.example"), size)]).client, alert);
  }
});

test("what is no hello, or a broken one, is refused at once", async (t) => {
  const bytes = await hello("api.example.com");
  const at = bytes.indexOf("api.example.com");
  for (const [what, sent] of [
    ["no TLS", "GET / HTTP/1.1\r\n"],
    ["no TLS", "\x16\x02"],
    ["a record of no possible size", "\x16\x03\x01\x00\x00"],
    ["no ClientHello", "\x16\x03\x01\x00\x04\x02\x00\x00\x00"],
    ["a ClientHello that is too large", "\x16\x03\x01\x00\x04\x01\xff\xff\xff"],
    ["a character that no server name may have", `${bytes.slice(0, at)}api/example.com${bytes.slice(at + 15)}`],
    ["a server name that ends with a dot", `${bytes.slice(0, at)}api.example.co.${bytes.slice(at + 15)}`],
  ] as const) {
    const run = runFilter(rules, ["client", sent]);
    t.is(run.records[0]?.reason, what);
    t.is(run.records[0]?.verdict, "refused");
    t.is(run.connections, 0);
    t.true(run.finished);
  }
  const late = runFilter(rules, ["client", bytes.slice(0, 50)], ["client", "late"]);
  t.is(late.records[0]?.reason, "a hello that did not come in time");
});
