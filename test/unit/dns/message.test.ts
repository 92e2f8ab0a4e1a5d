import test from "ava";
import { addressesOf, isReachable } from "../../../src/dns/addresses.ts";
import { decodeResponse, encodeQuery } from "../../../src/dns/message.ts";
import { MessageError, readName, writeName } from "../../../src/dns/name-bytes.ts";
import { serversOf } from "../../../src/dns/resolv-conf.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import { A, AAAA, CNAME, nameOf, written } from "./wire.ts";

const texts = (bytes: Buffer) => addressesOf(decodeResponse(bytes)).map(({ address, ttl }) => `${address.text} ${ttl}`);

test("a question is recursive, for the Internet, and says that datagrams of 1232 bytes may come back", (t) => {
  const bytes = encodeQuery(0x1234, { name: "api.test", type: 28 }, true);
  t.is(
    bytes.toString("hex"),
    "123401000001000000000001" + "0361706904746573740000" + "1c0001" + "0000290" + "4d0000000000000",
  );
  t.is(encodeQuery(1, { name: "api.test", type: 1 }, false).length, 26);
});

test("addresses of the name, in both families, with the time that they hold", (t) => {
  t.deepEqual(texts(written({ answers: [{ name: "API.test", type: A, ttl: 5, data: [192, 0, 2, 1] }] })), [
    "192.0.2.1 5",
  ]);
  const six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
  const question = { name: "api.test", type: AAAA };
  t.deepEqual(texts(written({ question, answers: [{ name: "api.test", type: AAAA, data: six }] })), ["2001:db8::9 60"]);
});

test("aliases are followed, and an address holds no longer than the alias that leads to it", (t) => {
  const answers = [
    { name: "edge.test", type: A, ttl: 300, data: [192, 0, 2, 2] },
    { name: "api.test", type: CNAME, ttl: 30, data: "cdn.test" },
    { name: "cdn.test", type: CNAME, ttl: 10, data: "edge.test" },
  ];
  t.deepEqual(texts(written({ answers })), ["192.0.2.2 10"]);
});

test("records of other names are nobody's, and aliases in circles lead nowhere", (t) => {
  const other = { name: "bank.test", type: A, data: [192, 0, 2, 66] };
  t.deepEqual(texts(written({ answers: [other] })), []);
  const circle = [
    { name: "api.test", type: CNAME, data: "cdn.test" },
    { name: "cdn.test", type: CNAME, data: "api.test" },
  ];
  t.deepEqual(texts(written({ answers: [...circle, other] })), []);
  const long = Array.from({ length: 40 }, (_, at) => ({
    name: at === 0 ? "api.test" : `a${at}.test`,
    type: CNAME,
    data: `a${at + 1}.test`,
  }));
  t.deepEqual(texts(written({ answers: [...long, { name: "a40.test", type: A, data: [192, 0, 2, 1] }] })), []);
});

test("records of another class or type are passed over; a time with its first bit set is none (RFC 2181)", (t) => {
  const answers = [
    { name: "api.test", type: 16, data: [1, 65] },
    { name: "api.test", type: A, class: 3, data: [192, 0, 2, 9] },
    { name: "api.test", type: A, ttl: 0x80000001, data: [192, 0, 2, 1] },
  ];
  t.deepEqual(texts(written({ answers })), ["192.0.2.1 0"]);
});

test("an answer that was cut says so and gives nothing", (t) => {
  const answers = [{ name: "api.test", type: A, data: [192, 0, 2, 1] }];
  const { isTruncated, answers: read } = decodeResponse(written({ flags: 0x8380, answers }));
  t.true(isTruncated);
  t.deepEqual(read, []);
});

const refused: readonly (readonly [string, Buffer, RegExp])[] = [
  ["nothing", Buffer.alloc(0), /header/],
  ["a question", written({ flags: 0x0100 }), /a question/],
  ["another kind", written({ flags: 0x9180 }), /another kind/],
  ["an address of three bytes", written({ answers: [{ name: "api.test", type: A, data: [1, 2, 3] }] }), /length/],
  ["an IPv6 address of four", written({ answers: [{ name: "api.test", type: AAAA, data: [1, 2, 3, 4] }] }), /length/],
  ["an alias with more", written({ answers: [{ name: "api.test", type: CNAME, data: [...nameOf("x"), 1] }] }), /alias/],
  ["a record that is not there", Buffer.from(written({})).fill(1, 7, 8), /ends within/],
  ["two questions", Buffer.from(written({})).fill(2, 5, 6), /one question/],
  [
    "cut within a record",
    written({ answers: [{ name: "api.test", type: A, data: [1, 2, 3, 4] }] }).subarray(0, -1),
    /ends/,
  ],
];

for (const [what, bytes, why] of refused) {
  test(`no response: ${what}`, (t) => {
    t.throws(() => decodeResponse(bytes), { instanceOf: MessageError, message: why });
  });
}

test("names point backwards only, have labels of at most 63 bytes and 255 bytes in all", (t) => {
  const bytes = Buffer.from([3, 97, 98, 99, 0, 1, 120, 0xc0, 0]);
  t.deepEqual(readName(bytes, 5), { name: "x.abc", end: 9 });
  const wrong = (list: readonly number[], start = 0) => t.throws(() => readName(Buffer.from(list), start));
  wrong([0xc0, 0]);
  wrong([0xc0, 2, 0]);
  wrong([1, 97, 0xc0, 0]);
  wrong([0x40, 0]);
  wrong([5, 97]);
  wrong([]);
  wrong([0xc0]);
  const long = [...Array.from({ length: 4 }, () => [63, ...Buffer.alloc(63, 97)]).flat(), 0];
  wrong(long);
  t.is(readName(Buffer.from([...long.slice(0, 192), 61, ...Buffer.alloc(61, 97), 0]), 0).name.length, 253);
});

test("bytes of no host name are written with their numbers, so that no label looks like two", (t) => {
  t.is(readName(Buffer.from([3, 97, 46, 98, 0]), 0).name, "a\\046b");
  t.deepEqual([...writeName("a\\046b")], [3, 97, 46, 98, 0]);
  for (const name of ["", "a..b", ".a", "ü.test", "a b.test", `${"a".repeat(64)}.test`, "a\\999"]) {
    t.throws(() => writeName(name), { instanceOf: MessageError }, name);
  }
});

test("addresses that nobody outside has are told from those that somebody may have", (t) => {
  const reachable = (text: string) => {
    const address = parseAddress(text);
    return address !== null && isReachable(address);
  };
  for (const text of ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "::192.0.2.1"]) {
    t.false(reachable(text), text);
  }
  for (const text of ["192.0.2.1", "10.0.0.1", "169.254.169.254", "2001:db8::1", "fe80::1"])
    t.true(reachable(text), text);
});

test("servers of resolv.conf: the first three, whatever else is written", (t) => {
  const text =
    "# nameserver 192.0.2.1\nsearch a b\nnameserver 192.0.2.2\n  nameserver\t2001:db8::2 # x\nnameserver fe80::1%eth0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
  t.deepEqual(
    serversOf(text).map(({ text: each }) => each),
    ["192.0.2.2", "2001:db8::2", "192.0.2.3"],
  );
  t.deepEqual(serversOf(""), []);
});
