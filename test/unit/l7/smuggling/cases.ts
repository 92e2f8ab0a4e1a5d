/**
 * Techniques of request smuggling: bytes of which two readers make two different requests. Each says where it is known from. Collected in our own
 * words from the specifications, the literature and the advisories of servers that were caught by them.
 *
 * `one`: what may go on, as exactly one request that everybody reads the same way. Without it the request is refused, and nothing of it goes on.
 */
export interface SmugglingCase {
  readonly name: string;
  readonly source: string;
  readonly bytes: string;
  readonly one?: string;
}

const get = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
const post = (fields: string, body = "") => `POST /ok HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
const head = (line: string, fields = "Host: a\r\n") => `${line}\r\n${fields}\r\n`;
const chunked = (body: string) => post("Transfer-Encoding: chunked\r\n", body);

const linhart = "Linhart, Klein, Heled, Orrin: HTTP Request Smuggling, 2005";
const kettle = "Kettle: HTTP Desync Attacks, 2019";
const treqs = "Jabiyev et al.: T-Reqs, CCS 2021";
const funky = "Weikop: Funky chunks, 2025";

export const cases: readonly SmugglingCase[] = [
  // ---- two lengths
  {
    name: "CL.TE",
    source: kettle,
    bytes: post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${get}`),
  },
  {
    name: "TE.CL",
    source: kettle,
    bytes: post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", `1\r\nZ\r\n0\r\n\r\n${get}`),
  },
  { name: "two lengths that differ", source: linhart, bytes: post("Content-Length: 0\r\nContent-Length: 34\r\n", get) },
  {
    name: "two lengths that are equal",
    source: "RFC 9112 6.3 lets a recipient choose",
    bytes: post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
  },
  { name: "a list of lengths", source: "RFC 9110 8.6", bytes: post("Content-Length: 5, 5\r\n", "hello") },
  {
    name: "a length with a sign",
    source: "CVE-2018-7159 (http_parser)",
    bytes: post("Content-Length: +5\r\n", "hello"),
  },
  { name: "a negative length", source: treqs, bytes: post("Content-Length: -1\r\n", "hello") },
  {
    name: "a length with a blank inside",
    source: "CVE-2018-7159 (http_parser)",
    bytes: post("Content-Length: 1 0\r\n", "helloworld"),
  },
  { name: "a length in hexadecimal", source: treqs, bytes: post("Content-Length: 0x5\r\n", "hello") },
  {
    name: "a length with an underscore",
    source: "CVE-2023-25577 family: int() of Python",
    bytes: post("Content-Length: 1_0\r\n", "helloworld"),
  },
  { name: "a length with a fraction", source: treqs, bytes: post("Content-Length: 5.0\r\n", "hello") },
  {
    name: "a length beyond 64 bits",
    source: "CVE-2021-40346 (haproxy): overflow of a length",
    bytes: post("Content-Length: 18446744073709551617\r\n", "h"),
  },
  { name: "an empty length", source: treqs, bytes: post("Content-Length:\r\n", "hello") },
  {
    name: "digits of another alphabet",
    source: "CVE-2023-27522 family",
    bytes: post("Content-Length: \xb2\r\n", "he"),
  },
  {
    name: "leading zeroes that some read as octal",
    source: treqs,
    bytes: post("Content-Length: 010\r\n", "helloworld"),
    one: post("Content-Length: 010\r\n", "helloworld"),
  },
  // ---- transfer codings
  {
    name: "a coding that is not chunked",
    source: "RFC 9112 6.1",
    bytes: post("Transfer-Encoding: identity\r\n", "hello"),
  },
  {
    name: "chunked, and another behind it",
    source: kettle,
    bytes: post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
  },
  {
    name: "another, and chunked behind it",
    source: kettle,
    bytes: post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
  },
  {
    name: "chunked twice",
    source: "CVE-2022-32215 (llhttp)",
    bytes: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  },
  {
    name: "chunked in one field, identity in the next",
    source: kettle,
    bytes: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
  },
  { name: "xchunked", source: kettle, bytes: post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n") },
  { name: "chunked in quotes", source: treqs, bytes: post('Transfer-Encoding: "chunked"\r\n', "0\r\n\r\n") },
  { name: "chunked with a parameter", source: treqs, bytes: post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n") },
  {
    name: "chunked behind a vertical tab",
    source: "CVE-2019-16785 (waitress)",
    bytes: post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
  },
  { name: "chunked behind a form feed", source: treqs, bytes: post("Transfer-Encoding: \x0cchunked\r\n", "0\r\n\r\n") },
  {
    name: "chunked and a comma",
    source: "CVE-2022-32215 (llhttp)",
    bytes: post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"),
  },
  {
    name: "chunked in HTTP/1.0",
    source: "RFC 9112 6.1",
    bytes: "POST /ok HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  },
  { name: "an empty coding", source: treqs, bytes: post("Transfer-Encoding:\r\n", "0\r\n\r\n") },
  // ---- how fields are written
  {
    name: "a blank before the colon",
    source: "RFC 9112 5.1; CVE-2019-16869 (netty)",
    bytes: post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
  },
  { name: "a tab before the colon", source: kettle, bytes: post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n") },
  {
    name: "a folded field",
    source: "RFC 9112 5.2; CVE-2022-32213 (llhttp)",
    bytes: post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
  },
  {
    name: "a field that begins with a blank",
    source: kettle,
    bytes: head("POST /ok HTTP/1.1", "Host: a\r\n Transfer-Encoding: chunked\r\n"),
  },
  {
    name: "a first field that begins with a blank",
    source: "CVE-2024-27982 (Node)",
    bytes: head("POST /ok HTTP/1.1", " Content-Length: 34\r\nHost: a\r\n"),
  },
  {
    name: "a field without a name",
    source: "CVE-2023-25725 (haproxy)",
    bytes: head("GET /ok HTTP/1.1", "Host: a\r\n: x\r\nContent-Length: 5\r\n"),
  },
  {
    name: "a field without a colon",
    source: treqs,
    bytes: head("GET /ok HTTP/1.1", "Host: a\r\nTransfer-Encoding chunked\r\n"),
  },
  {
    name: "a NUL in a name",
    source: kettle,
    bytes: head("POST /ok HTTP/1.1", "Host: a\r\nTransfer-Encoding\x00: chunked\r\n"),
  },
  { name: "a NUL in a value", source: "RFC 9110 5.5", bytes: head("POST /ok HTTP/1.1", "Host: a\r\nX: a\x00b\r\n") },
  {
    name: "a CR alone inside a value",
    source: "RFC 9112 2.2; CVE-2024-1135 (gunicorn)",
    bytes: head("POST /ok HTTP/1.1", "Host: a\r\nX: y\rTransfer-Encoding: chunked\r\n"),
  },
  { name: "a CR alone as a line's end", source: "RFC 9112 2.2", bytes: "POST /ok HTTP/1.1\rHost: a\r\r\n\r\n" },
  { name: "LF alone as a line's end", source: "CVE-2023-30589 (llhttp)", bytes: "GET /ok HTTP/1.1\nHost: a\n\n" },
  {
    name: "LF alone behind one field",
    source: "CVE-2022-32214 (llhttp)",
    bytes: head("POST /ok HTTP/1.1", "Host: a\nTransfer-Encoding: chunked\r\n"),
  },
  {
    name: "LF, CR, LF at the end of the head",
    source: "CVE-2022-35256 (llhttp)",
    bytes: `GET /ok HTTP/1.1\r\nHost: a\n\r\n${get}`,
  },
  {
    name: "a name with a character of no token",
    source: "RFC 9110 5.6.2",
    bytes: head("POST /ok HTTP/1.1", "Host: a\r\nContent-Length\xff: 5\r\n"),
  },
  {
    name: "a name in brackets",
    source: treqs,
    bytes: head("POST /ok HTTP/1.1", "Host: a\r\n(Transfer-Encoding): chunked\r\n"),
  },
  // ---- the request line
  { name: "two blanks between words", source: "RFC 9112 3", bytes: head("GET  /ok HTTP/1.1") },
  { name: "a tab between words", source: "RFC 9112 3", bytes: head("GET\t/ok HTTP/1.1") },
  { name: "a blank in the target", source: "RFC 9112 3.2", bytes: head("GET /ok /hidden HTTP/1.1") },
  { name: "a blank at the end of the line", source: treqs, bytes: head("GET /ok HTTP/1.1 ") },
  { name: "a line without a version", source: "HTTP/0.9", bytes: "GET /ok\r\n\r\n" },
  { name: "another minor version", source: treqs, bytes: head("GET /ok HTTP/1.2") },
  { name: "another major version", source: "RFC 9112 2.3", bytes: head("GET /ok HTTP/2.0") },
  { name: "a version in small letters", source: treqs, bytes: head("GET /ok http/1.1") },
  { name: "a method with a character of no token", source: "RFC 9110 9.1", bytes: head("GE(T /ok HTTP/1.1") },
  { name: "a NUL in the target", source: treqs, bytes: head("GET /ok\x00 HTTP/1.1") },
  { name: "bytes beyond ASCII in the target", source: "RFC 3986 2", bytes: head("GET /ok\xe2 HTTP/1.1") },
  {
    name: "an empty line before the request",
    source: "RFC 9112 2.2",
    bytes: `\r\n${head("GET /ok HTTP/1.1")}`,
    one: head("GET /ok HTTP/1.1"),
  },
  // ---- whom it is for
  { name: "no Host", source: "RFC 9112 3.2", bytes: head("GET /ok HTTP/1.1", "X: y\r\n") },
  {
    name: "two Hosts",
    source: "RFC 9112 3.2; Chen et al.: Host of Troubles, CCS 2016",
    bytes: head("GET /ok HTTP/1.1", "Host: a\r\nHost: b\r\n"),
  },
  {
    name: "two Hosts that are equal",
    source: "Host of Troubles",
    bytes: head("GET /ok HTTP/1.1", "Host: a\r\nHost: a\r\n"),
  },
  {
    name: "a Host with a user before it",
    source: "Host of Troubles",
    bytes: head("GET /ok HTTP/1.1", "Host: a@b\r\n"),
  },
  {
    name: "a Host with a path behind it",
    source: "Host of Troubles",
    bytes: head("GET /ok HTTP/1.1", "Host: a/hidden\r\n"),
  },
  { name: "a list of Hosts", source: "Host of Troubles", bytes: head("GET /ok HTTP/1.1", "Host: a, b\r\n") },
  {
    name: "an absolute target for another host",
    source: "RFC 9112 3.2.2; Host of Troubles",
    bytes: head("GET http://b/ok HTTP/1.1"),
  },
  { name: "an absolute target with a user", source: "Host of Troubles", bytes: head("GET http://a@b/ok HTTP/1.1") },
  { name: "an absolute target of another scheme", source: "Host of Troubles", bytes: head("GET ftp://a/ok HTTP/1.1") },
  {
    name: "an absolute target, in agreement",
    source: "RFC 9112 3.2.2",
    bytes: head("GET http://a/ok HTTP/1.1"),
    one: head("GET /ok HTTP/1.1"),
  },
  { name: "an authority for another method than CONNECT", source: "RFC 9112 3.2.3", bytes: head("GET a:80 HTTP/1.1") },
  {
    name: "CONNECT with a body",
    source: "RFC 9110 9.3.6",
    bytes: head("CONNECT a:80 HTTP/1.1", "Host: a:80\r\nContent-Length: 5\r\n"),
  },
  // ---- chunks
  { name: "a chunk that is longer than it says", source: funky, bytes: chunked(`1\r\nZZ\r\n0\r\n\r\n`) },
  {
    name: "LF alone behind a chunk's size",
    source: `${funky}; CVE-2025-22871 (Go)`,
    bytes: chunked(`1\nZ\r\n0\r\n\r\n`),
  },
  { name: "LF alone behind a chunk's data", source: funky, bytes: chunked(`1\r\nZ\n0\r\n\r\n`) },
  { name: "LF alone in an extension (TERM.EXT)", source: funky, bytes: chunked(`1;\nZZ\r\n0\r\n\r\n`) },
  { name: "CR alone in an extension (EXT.TERM)", source: funky, bytes: chunked(`1;a\rb\r\nZ\r\n0\r\n\r\n`) },
  { name: "a size with a sign", source: treqs, bytes: chunked("+1\r\nZ\r\n0\r\n\r\n") },
  { name: "a size with 0x", source: "CVE-2022-24801 (Twisted)", bytes: chunked("0x1\r\nZ\r\n0\r\n\r\n") },
  { name: "a size with a blank before it", source: treqs, bytes: chunked(" 1\r\nZ\r\n0\r\n\r\n") },
  { name: "a size with a blank behind it", source: "CVE-2022-24801 (Twisted)", bytes: chunked("1 \r\nZ\r\n0\r\n\r\n") },
  {
    name: "a size beyond 64 bits",
    source: "CVE-2013-2028 (nginx), CVE-2015-3183 (Apache)",
    bytes: chunked("10000000000000001\r\nZ\r\n0\r\n\r\n"),
  },
  { name: "an empty size", source: treqs, bytes: chunked("\r\nZ\r\n0\r\n\r\n") },
  {
    name: "a Content-Length in the trailers",
    source: "RFC 9110 6.5.1",
    bytes: chunked("0\r\nContent-Length: 34\r\n\r\n"),
  },
  {
    name: "a Transfer-Encoding in the trailers",
    source: "RFC 9110 6.5.1",
    bytes: chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"),
  },
  { name: "a blank before the colon in the trailers", source: treqs, bytes: chunked("0\r\nX : y\r\n\r\n") },
  {
    name: "an extension, which is dropped",
    source: "RFC 9112 7.1.1",
    bytes: chunked('1;a="b"\r\nZ\r\n0\r\n\r\n'),
    one: chunked("1\r\nZ\r\n0\r\n\r\n"),
  },
  // ---- hop by hop
  {
    name: "Connection names the length",
    source: "Davison: hop-by-hop headers, 2019",
    bytes: post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
  },
  {
    name: "Connection names the coding",
    source: "Davison: hop-by-hop headers, 2019",
    bytes: post("Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
  },
  {
    name: "Connection names the host",
    source: "Davison: hop-by-hop headers, 2019",
    bytes: head("GET /ok HTTP/1.1", "Host: a\r\nConnection: host\r\n"),
  },
  {
    name: "another expectation",
    source: "Kettle: Expect-based desync, 2025",
    bytes: post("Expect: y100-continue\r\nContent-Length: 5\r\n", "hello"),
  },
  {
    name: "two expectations",
    source: "Kettle: Expect-based desync, 2025",
    bytes: post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
  },
];
