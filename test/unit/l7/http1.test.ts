/** HTTP/1 between a client and a server: what is judged, what goes on, and what each side gets when the other one errs. */
import test from "ava";
import type { L7HttpRule } from "../../../src/native/l7-contract.ts";
import { httpRules, runFilter, statuses, type Step } from "../../support/l7-runner.ts";

const ask = (path: string, fields = "", method = "GET", body = "") =>
  `${method} ${path} HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n${body}`;
const ok = (body: string, fields = "") => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n${fields}\r\n${body}`;
const client = (bytes: string): Step => ["client", bytes];
const server = (bytes: string): Step => ["server", bytes];

const publicOnly = { egress: httpRules({ method: "GET", path: "/public/.*" }) };

test("what a rule allows goes on as it was sent, and the connection goes on", (t) => {
  const first = ask("/public/a?b=c", "X-A:  spaced \r\n");
  const {
    server: sent,
    client: got,
    connections,
    records,
  } = runFilter(publicOnly, client(first), server(ok("hello")), client(ask("/public/b")), server(ok("again")));
  t.is(sent, first + ask("/public/b"));
  t.is(got, ok("hello") + ok("again"));
  t.is(connections, 1);
  t.deepEqual(
    records.map(({ verdict, ruleSet, detail }) => [verdict, ruleSet, detail.http?.path, detail.http?.status]),
    [
      ["forwarded", 1, "/public/a?b=c", 200],
      ["forwarded", 1, "/public/b", 200],
    ],
  );
});

test("403 as Cilium says it, in its turn, and the connection goes on; a server is not even asked", (t) => {
  const {
    client: got,
    server: sent,
    finished,
    records,
  } = runFilter(
    publicOnly,
    client(ask("/public/a") + ask("/private") + ask("/public/b")),
    server(ok("1")),
    server(ok("2")),
  );
  t.is(statuses(got), "200 403 200");
  t.true(got.includes("content-type: text/plain\r\ncontent-length: 15\r\n\r\nAccess denied\r\n"));
  t.is(sent, ask("/public/a") + ask("/public/b"));
  t.false(finished);
  t.like(records[1], { verdict: "denied", direction: "egress", ruleSet: 0 });
});

test("both ends' rules have to allow, and it is said whose did not", (t) => {
  const options = { egress: httpRules({ path: "/a.*" }), ingress: httpRules({ path: "/ab.*" }) };
  t.is(runFilter(options, client(ask("/abc"))).server, ask("/abc"));
  t.like(runFilter(options, client(ask("/ac"))).records[0], { verdict: "denied", direction: "ingress" });
  t.like(runFilter(options, client(ask("/b"))).records[0], { verdict: "denied", direction: "egress" });
});

test("patterns match whole texts: methods, hosts with their port, paths with their query", (t) => {
  const allows = (rule: Partial<L7HttpRule>, bytes: string) =>
    runFilter({ egress: httpRules(rule) }, client(bytes)).server !== "";
  t.true(allows({ method: "GET|HEAD" }, ask("/")));
  t.false(allows({ method: "GE" }, ask("/")));
  t.false(allows({ method: "get" }, ask("/")));
  t.true(allows({ host: "a\\.example" }, ask("/")));
  t.false(allows({ host: "example" }, ask("/")));
  t.false(allows({ path: "/public" }, ask("/public?x")));
  t.true(allows({ path: "/public\\?x=[0-9]+" }, ask("/public?x=12")));
});

test("headers: each value counts, and what does not match may be logged, added, removed or replaced", (t) => {
  const rules = (mismatch: "refuse" | "log" | "add" | "remove" | "replace", value: string | null = "good") => ({
    egress: httpRules({ headers: [{ name: "x-a", value, mismatch }] }),
  });
  const sent = (options: ReturnType<typeof rules>, fields: string) =>
    runFilter(options, client(ask("/", fields))).server;
  t.is(sent(rules("refuse"), "X-A: good\r\n"), ask("/", "X-A: good\r\n"));
  t.is(sent(rules("refuse"), "X-A: bad\r\n"), "");
  t.is(sent(rules("refuse"), ""), "");
  t.is(sent(rules("refuse"), "X-A: good\r\nX-a: bad\r\n"), "", "a second, different value");
  t.is(sent(rules("refuse", null), "x-A: anything\r\n"), ask("/", "x-A: anything\r\n"));
  t.is(sent(rules("add"), "X-A: bad\r\n"), ask("/", "X-A: bad\r\nx-a: good\r\n"));
  t.is(sent(rules("replace"), "X-A: bad\r\nB: c\r\n"), ask("/", "B: c\r\nx-a: good\r\n"));
  t.is(sent(rules("remove"), "X-A: bad\r\nB: c\r\n"), ask("/", "B: c\r\n"));
  const logged = runFilter(rules("log"), client(ask("/", "X-A: bad\r\n")), server(ok("")));
  t.is(logged.server, ask("/", "X-A: bad\r\n"));
  t.deepEqual(logged.records[0]?.detail.http?.mismatches, ["x-a"]);
});

test("paths are normalised before rules see them; escaped slashes are asked for again", (t) => {
  const outcome = (path: string) => {
    const { server: sent, client: got } = runFilter(publicOnly, client(ask(path)));
    return sent === "" ? statuses(got) : (sent.split(" ")[1] ?? "");
  };
  t.is(outcome("/public//a"), "/public/a");
  t.is(outcome("/public/./a/../b"), "/public/b");
  t.is(outcome("/public/%61"), "/public/a");
  t.is(outcome("/public/%e2%82%ac"), "/public/%E2%82%AC");
  t.is(outcome("/public/../private"), "403");
  t.is(outcome("/public/%2e%2E/private"), "403");
  t.is(outcome("/../public/a"), "/public/a");
  t.is(outcome("/public/a%2f..%2f..%2fprivate"), "307");
  t.is(outcome("/public/%"), "400");
  t.is(outcome("/public/%00"), "400");
  t.is(outcome("/public/a#b"), "400");
  const { client: got } = runFilter(publicOnly, client(ask("/public/a%2Fb?c%2Fd")));
  t.regex(got, /\r\nlocation: \/public\/a\/b\?c%2Fd\r\n/);
  const off = runFilter({ ...publicOnly, normalizePath: false }, client(ask("/public/../private")));
  t.is(off.server, ask("/public/../private"), "as it was sent, where that is switched off");
});

test("a path that servers read differently passes only if every reading of it may", (t) => {
  const sent = (path: string) => runFilter(publicOnly, client(ask(path))).server !== "";
  t.false(sent("/public/..\\..\\private"));
  t.false(sent("/public/..%5c..%5cprivate"));
  t.false(sent("/public/..;/..;x/private"));
  t.false(sent("/public/..%3b/private"));
  t.true(sent("/public/a;v=1/b"));
  t.true(sent("/public/a\\b"));
});

test("bodies: by length, in chunks, and what comes before its answer; a denied one is dropped if it is small", (t) => {
  const upload = ask("/up", "Content-Length: 5\r\n", "POST", "hello");
  const pieces = [...upload].map((byte) => client(byte));
  t.is(runFilter({}, ...pieces, server(ok("")), client(ask("/next"))).server, upload + ask("/next"));
  const chunked = ask("/up", "Transfer-Encoding: chunked\r\n", "POST", "5\r\nhello\r\n3\r\nyou\r\n0\r\nT: x\r\n\r\n");
  t.is(runFilter({}, ...[...chunked].map((byte) => client(byte))).server, chunked);
  const denied = runFilter(publicOnly, client(upload + ask("/public/a")), server(ok("")));
  t.is(statuses(denied.client), "403 200");
  t.is(denied.server, ask("/public/a"));
  const large = runFilter(publicOnly, client(ask("/up", "Content-Length: 1000000\r\n", "POST", "x")));
  t.is(statuses(large.client), "403");
  t.true(large.finished, "a body that is too large to be dropped ends the connection");
  const early = runFilter({}, client(ask("/up", "Content-Length: 5\r\n", "POST", "he")), server(ok("no", "")));
  t.true(early.finished, "an answer before the request is whole ends the connection");
});

test("Expect: 100-continue is the server's; who is denied is not made to send the body", (t) => {
  const asks = ask("/up", "Expect: 100-continue\r\nContent-Length: 2\r\n", "POST");
  const run = runFilter({}, client(asks), server("HTTP/1.1 100 Continue\r\n\r\n"), client("hi"), server(ok("")));
  t.is(statuses(run.client), "100 200");
  t.is(run.server, `${asks}hi`);
  const denied = runFilter(publicOnly, client(asks));
  t.is(statuses(denied.client), "403");
  t.true(denied.finished);
});

test("WebSocket: the request is judged, then everything passes; HTTP/2 within is not asked for", (t) => {
  const upgrade = ask("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
  const answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const run = runFilter(
    {},
    client(upgrade),
    server(`${answer}\x81\x02hi`),
    client("\x81\x82abcdGET /x HTTP/1.1\r\n\r\n"),
  );
  t.is(run.server, `${upgrade}\x81\x82abcdGET /x HTTP/1.1\r\n\r\n`);
  t.is(run.client, `${answer}\x81\x02hi`);
  const unasked = runFilter({}, client(ask("/")), server(answer));
  t.is(statuses(unasked.client), "502");
  const h2c = runFilter(
    {},
    client(ask("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nB: c\r\n")),
  );
  t.is(h2c.server, ask("/", "B: c\r\n"));
});

test("CONNECT by its rules, then everything passes", (t) => {
  const connect = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
  const options = { egress: httpRules({ method: "CONNECT", host: "a\\.example:443" }) };
  const run = runFilter(
    options,
    client(connect),
    server("HTTP/1.1 200 OK\r\n\r\n"),
    client("\x16\x03"),
    server("\x16"),
  );
  t.is(run.server, `${connect}\x16\x03`);
  t.is(statuses(runFilter(publicOnly, client(connect)).client), "403");
});

test("what is wrong with a chunked body is the same thing however its bytes come", (t) => {
  const upload = (line: string) => ask("/up", "Transfer-Encoding: chunked\r\n", "POST", line);
  const cases = [
    ["a\rb c\n", "a CR without LF in a chunked body"],
    ["a\r\r\n", "a CR without LF in a chunked body"],
    ["ab\n\r", "a line of a chunked body that ends without CR"],
    [`1;${"x".repeat(4095)}\r\na\r\n0\r\n\r\n`, "a line of a chunked body that is too long"],
    [`0\r\nT: ${"x".repeat(4096)}\r\n\r\n`, "a line of a chunked body that is too long"],
  ] as const;
  for (const [line, reason] of cases) {
    const whole = runFilter({}, client(upload(line)));
    const split = runFilter({}, ...[...upload(line)].map((byte) => client(byte)));
    for (const { records } of [whole, split])
      t.deepEqual(
        records.map((record) => record.reason),
        [reason],
      );
    t.is(split.client, whole.client);
    t.is(split.server, whole.server);
  }
  const longest = `1;${"x".repeat(4094)}\r\na\r\n0\r\n\r\n`;
  t.is(runFilter({}, client(upload(longest))).server, upload("1\r\na\r\n0\r\n\r\n"));
});

test("answers: without a body, until the end, in chunks; those that nobody can frame are 502", (t) => {
  const answered = (...steps: readonly Step[]) => runFilter({}, client(ask("/", "", "GET")), ...steps);
  t.is(
    answered(server("HTTP/1.1 200 OK\r\n\r\npart"), server("more"), server("end")).client,
    "HTTP/1.1 200 OK\r\n\r\npartmore",
  );
  t.true(answered(server("HTTP/1.1 200 OK\r\n\r\npart"), server("end")).finished);
  const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
  t.is(answered(server(chunks)).client, chunks);
  const headed = runFilter(
    {},
    client(ask("/", "", "HEAD")),
    server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
    client(ask("/2")),
  );
  t.is(headed.server, ask("/", "", "HEAD") + ask("/2"));
  for (const bad of [
    "HTTP/1.1 200 OK\nX: y\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "garbage\r\n\r\n",
  ]) {
    t.is(statuses(answered(server(bad)).client), "502", bad);
  }
  const broken = answered(server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), server("broke"));
  t.true(broken.reset, "half of an answer is not taken for the whole");
});

test("a server that is not there, breaks off, or says nothing", (t) => {
  t.is(statuses(runFilter({}, client(ask("/")), server("broke")).client), "503");
  t.is(statuses(runFilter({}, client(ask("/")), ["client", "late"]).client), "504");
  const reused = runFilter({}, client(ask("/1")), server(ok("")), client(ask("/2")), server("end"), server(ok("")));
  t.is(statuses(reused.client), "200 200", "one that ended just then is asked again");
  t.is(reused.connections, 2);
  const posted = runFilter(
    {},
    client(ask("/1")),
    server(ok("")),
    client(ask("/2", "Content-Length: 1\r\n", "POST", "x")),
    server("end"),
  );
  t.is(statuses(posted.client), "200 502", "but not for what is not to be done twice");
  const unasked = runFilter(
    {},
    client(ask("/1")),
    server(ok("") + ok("poison")),
    client(ask("/2")),
    server(ok("good")),
  );
  t.is(unasked.client, ok("") + ok("good"), "an answer that nobody asked for is nobody's");
});

test("limits: heads that are too large, too many fields, a head that does not come", (t) => {
  t.is(statuses(runFilter({}, client(ask("/", `X: ${"y".repeat(62_000)}\r\n`))).client), "400");
  t.is(statuses(runFilter({}, client(ask("/", "X: y\r\n".repeat(101)))).client), "400");
  t.is(statuses(runFilter({}, client("GET / HTT"), ["client", "late"]).client), "408");
  const idle = runFilter({}, client(ask("/")), server(ok("")), ["client", "late"]);
  t.true(idle.finished);
  t.is(statuses(idle.client), "200");
});

test("half-closed clients get their answers; HTTP/1.0 ends when it does not ask to go on", (t) => {
  const half = runFilter({}, client(ask("/1") + ask("/2")), ["client", "end"], server(ok("1")), server(ok("2")));
  t.is(statuses(half.client), "200 200");
  t.true(half.finished);
  const old = runFilter({}, client("GET / HTTP/1.0\r\n\r\n"), server(ok("")));
  t.true(old.finished);
  const kept = runFilter(
    {},
    client("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    server(ok("", "connection: keep-alive\r\n")),
  );
  t.false(kept.finished);
});
