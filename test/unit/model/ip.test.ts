import test from "ava";
import { addressFromBytes, makePrefix, parseAddress, parsePrefix } from "../../../src/model/ip.ts";

test("IPv6 text is written as RFC 5952 says", (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:DB8::AbCd", "2001:db8::abcd"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::ffff:c000:201", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
  ];
  for (const [given, text] of cases) t.is(parseAddress(given)?.text, text, given);
});

test("what is not exactly an address is none", (t) => {
  const cases =
    "1.2.3|1.2.3.4.5|01.2.3.4|1.2.3.256|1..3.4|1.2.3.4 | 1.2.3.4|0x1.2.3.4|:|:::|1:|:1|1::2::3|12345::|1:2:3:4:5:6:7:8:9";
  const more = "1:2:3:4:5:6:7|1:2:3:4:5:6:7:8::|fe80::1%eth0|1:2:3:4:5:6:7:1.2.3.4|::1.2.3|::g||10.0.0.0/8";
  for (const text of `${cases}|${more}`.split("|")) t.is(parseAddress(text), null, `"${text}"`);
});

test("a prefix clears its host bits, and an address alone is a prefix of one", (t) => {
  t.is(parsePrefix("10.1.255.3/20")?.text, "10.1.240.0/20");
  t.is(parsePrefix("fd00::1")?.text, "fd00::1/128");
  t.is(parsePrefix("fd00::ffff/0")?.text, "::/0");
  for (const text of ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/8/8", "::/129", "/8", "10.0.0.0/-1"]) {
    t.is(parsePrefix(text), null, text);
  }
});

test("bytes and lengths that no family has are refused", (t) => {
  t.throws(() => addressFromBytes(new Uint8Array(5)), { instanceOf: RangeError });
  t.throws(() => makePrefix(addressFromBytes(new Uint8Array(4)), 33), { instanceOf: RangeError });
});
