import test from "ava";
import fc from "fast-check";
import { EndpointIds } from "../../../src/cni/endpoint-ids.ts";
import { CniError } from "../../../src/cni/errors.ts";
import { AddressPools, type PodAddresses } from "../../../src/cni/ipam.ts";
import { parseAddress, prefixContains } from "../../../src/model/ip.ts";
import { prefix } from "./support.ts";

const small = [prefix("10.7.1.0/28"), prefix("fd00:7:1::/124")];
const families = [4, 6] as const;

const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("add" as const), ask: fc.option(fc.nat(20)) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove" as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
  ),
  { maxLength: 60 },
);

test("no address is held twice, reserved ones never, requested ones exactly, whatever restarts between", (t) => {
  fc.assert(
    fc.property(steps, (sequence) => {
      let pools = new AddressPools(() => small);
      const held = new Map<string, PodAddresses>();
      let serial = 0;
      for (const step of sequence) {
        if (step.kind === "restart") {
          pools = new AddressPools(() => small);
          for (const [pod, { ipv4, ipv6 }] of held) {
            for (const address of [ipv4, ipv6]) if (address !== null) t.is(pools.claim(address, pod), null);
          }
        } else if (step.kind === "remove") {
          const pod = [...held.keys()][step.which % Math.max(held.size, 1)];
          const addresses = pod === undefined ? undefined : held.get(pod);
          if (pod === undefined || addresses === undefined) continue;
          pools.release(addresses);
          held.delete(pod);
        } else {
          const pod = `shop/p${serial++}`;
          const wanted = step.ask === null ? null : parseAddress(`10.7.1.${step.ask}`);
          const taken = [...held.values()];
          const isFree = wanted === null || !taken.some(({ ipv4 }) => ipv4?.text === wanted.text);
          const isGood = step.ask === null || (step.ask > 1 && step.ask < 15);
          try {
            const given = pools.allocate(pod, families, wanted === null ? [] : [wanted]);
            t.true(isFree && isGood && taken.length < 13);
            if (wanted !== null) t.is(given.ipv4?.text, wanted.text);
            t.false(taken.some(({ ipv4, ipv6 }) => ipv4?.text === given.ipv4?.text || ipv6?.text === given.ipv6?.text));
            t.false(["10.7.1.0", "10.7.1.1", "10.7.1.15"].includes(given.ipv4?.text ?? ""));
            t.true(
              given.ipv6 !== null && small.some((cidr) => given.ipv6 !== null && prefixContains(cidr, given.ipv6)),
            );
            held.set(pod, given);
          } catch (error) {
            t.true(error instanceof CniError, String(error));
            t.true(!isFree || !isGood || taken.length === 13);
          }
        }
        for (const { used, size } of pools.usage()) t.deepEqual([used, size], [held.size, 13]);
      }
    }),
    { numRuns: 200 },
  );
});

test("a freed address rests until all others were given", (t) => {
  const pools = new AddressPools(() => [prefix("10.7.1.0/29")]);
  const first = pools.allocate("shop/a", [4], []);
  pools.release(first);
  const next = Array.from({ length: 4 }, (_, i) => pools.allocate(`shop/b${i}`, [4], []).ipv4?.text);
  t.false(next.includes(first.ipv4?.text));
  t.is(pools.allocate("shop/c", [4], []).ipv4?.text, first.ipv4?.text);
});

test("addresses go on after the newest one of before a restart, though the CIDR is known later than the addresses", (t) => {
  let cidrs: readonly ReturnType<typeof prefix>[] = [];
  const pools = new AddressPools(() => cidrs);
  const newest = parseAddress("10.7.1.40");
  if (newest !== null) pools.claim(newest, "shop/a");
  cidrs = [prefix("10.7.1.0/24")];
  t.is(pools.allocate("shop/b", [4], []).ipv4?.text, "10.7.1.41");
});

test("an exhausted pool names its CIDRs, and a failing second family gives the first back", (t) => {
  const pools = new AddressPools(() => [prefix("10.7.1.0/24"), prefix("fd00::/126")]);
  pools.allocate("shop/a", families, []);
  const error = t.throws(() => pools.allocate("shop/b", families, []), { instanceOf: CniError });
  t.regex(error?.message ?? "", /no free IPv6 address is left in fd00::\/126/);
  t.deepEqual(
    pools.usage().map(({ used }) => used),
    [1, 1],
  );
});

test("a second CIDR of a family is used when the first is full", (t) => {
  const pools = new AddressPools(() => [prefix("10.7.1.0/30"), prefix("10.7.9.0/30")]);
  const given = ["shop/a", "shop/b"].map((pod) => pools.allocate(pod, [4], []).ipv4?.text);
  t.deepEqual(given, ["10.7.1.2", "10.7.9.2"]);
});

test("endpoint numbers are 1-65535, each once, and a freed one rests", (t) => {
  const ids = new EndpointIds();
  t.is(ids.allocate("shop/a"), 1);
  ids.release(1);
  t.is(ids.allocate("shop/b"), 2);
  t.true(ids.claim(65535));
  t.is(ids.allocate("shop/c"), 1);
  t.false(ids.claim(2));
});
