import test from "ava";
import { parseAddress } from "../../../src/model/ip.ts";
import { portsText, protocolName, socketText } from "../../../src/observe/text.ts";

test("protocols have their names, and a number where they have none", (t) => {
  t.deepEqual([6, 17, 58, 132, 250].map(protocolName), ["TCP", "UDP", "ICMPv6", "SCTP", "250"]);
});

test("sockets are written as URLs write them", (t) => {
  const text = (address: string) => {
    const parsed = parseAddress(address);
    return parsed === null ? address : socketText(parsed, 80);
  };
  t.is(text("10.0.0.1"), "10.0.0.1:80");
  t.is(text("fd00::1"), "[fd00::1]:80");
});

test("a port entry is one port, a range by its prefix, a protocol, or anything", (t) => {
  const cases = [
    [{ protocol: 6, port: 80, bits: 24 }, "80/TCP"],
    [{ protocol: 17, port: 8000, bits: 18 }, "8000-8063/UDP"],
    [{ protocol: 6, port: 0, bits: 9 }, "0-32767/TCP"],
    [{ protocol: 132, port: 0, bits: 8 }, "SCTP"],
    [{ protocol: 0, port: 0, bits: 0 }, "ANY"],
  ] as const;
  for (const [entry, wanted] of cases) t.is(portsText(entry), wanted);
});
