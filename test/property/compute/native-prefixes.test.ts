/** Where pods keep their source: the longest prefix in the map says of every address what the rules say of it. */
import test from "ava";
import fc from "fast-check";
import { NativePrefixes, type NativeTables } from "../../../src/compute/native-prefixes.ts";
import type { DesiredNativePrefix } from "../../../src/compute/desired.ts";
import { VersionedMap } from "../../../src/lib/versioned-map.ts";
import { type Address, addressFromBytes, makePrefix, type Prefix, prefixContains } from "../../../src/model/ip.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../../../src/model/tables.ts";

const uplink: UplinkRow = { ifindex: 2, name: "eth0", mtu: 1500, l3: false };
const gateway = addressFromBytes(Uint8Array.of(192, 0, 2, 1));
const families: ReadonlySet<4 | 6> = new Set([4, 6]);

/** Few bits, so that prefixes meet. */
const smallAddress = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), fc.nat(15), fc.nat(15))
  .map(([family, high, low]): Address => {
    const bytes = new Uint8Array(family === 4 ? 4 : 16);
    bytes.set([high << 4, low << 4], 0);
    return addressFromBytes(bytes);
  });
const smallPrefix = fc
  .tuple(smallAddress, fc.constantFrom(0, 1, 2, 4, 8, 10, 12, 32))
  .map(([address, length]) => makePrefix(address, length));

const routeKinds = ["bgp", "onLink", "elsewhere", "nowhere", "inward"] as const;
const route = fc.tuple(smallPrefix, fc.constantFrom(...routeKinds)).map(([destination, kind]): RouteFactRow => {
  const hop = { gateway: kind === "bgp" || kind === "elsewhere" ? gateway : null, ifindex: kind === "inward" ? 9 : 2 };
  return {
    destination,
    protocol: kind === "bgp" ? 17 : 4,
    nextHops: kind === "nowhere" ? [] : [{ ...hop, device: "eth0" }],
    metric: 0,
    mtu: null,
    since: 0,
  };
});

const tables = fc
  .record({
    routes: fc.array(route, { maxLength: 12 }),
    cidrs: fc.array(smallPrefix, { maxLength: 2 }),
    addresses: fc.array(smallAddress, { maxLength: 2 }),
    exempt: fc.array(smallPrefix, { maxLength: 2 }),
  })
  .map(({ routes, cidrs, addresses, exempt }): NativeTables => {
    const node: NodeRow = { name: "n1", labels: {}, addresses, podCidrs: cidrs };
    return {
      nodes: new Map([["n1", node]]),
      routes: new Map(routes.map((row) => [row.destination.text, row])),
      uplinks: new Map([["2", uplink]]),
      nonMasquerade: new Map(exempt.map((prefix) => [prefix.text, { prefix }])),
    };
  });

function longest<T>(rows: readonly T[], prefixOf: (row: T) => Prefix, address: Address): T | undefined {
  return rows
    .filter((row) => prefixContains(prefixOf(row), address))
    .sort((a, b) => prefixOf(b).length - prefixOf(a).length)[0];
}

/** The rules, one address at a time. */
function keeps({ nodes, routes, nonMasquerade }: NativeTables, address: Address): boolean {
  for (const { addresses, podCidrs } of nodes.values()) {
    if (addresses.some(({ text }) => text === address.text)) return true;
    if (podCidrs.some((cidr) => prefixContains(cidr, address))) return true;
  }
  if ([...nonMasquerade.values()].some(({ prefix }) => prefixContains(prefix, address))) return true;
  const leads = [...routes.values()].filter(
    ({ destination, nextHops }) => destination.length > 0 && nextHops.length > 0,
  );
  const best = longest(leads, ({ destination }) => destination, address);
  if (best === undefined) return false;
  return best.protocol === 17 || best.nextHops.every((hop) => hop.gateway === null && hop.ifindex === 2);
}

function mapKeeps(entries: ReadonlyMap<string, DesiredNativePrefix>, address: Address): boolean {
  return longest([...entries.values()], ({ prefix }) => prefix, address)?.keep ?? false;
}

test("the map's longest prefix says of every address what the rules say", (t) => {
  const property = fc.property(tables, fc.array(smallAddress, { minLength: 20 }), (each, addresses) => {
    const entries = new NativePrefixes({ families }).update(each);
    const edges = [...each.routes.values()].map(({ destination }) => destination.address);
    return [...addresses, ...edges].every((address) => mapKeeps(entries, address) === keeps(each, address));
  });
  t.notThrows(() => fc.assert(property, { numRuns: 1000 }));
});

test("no order and no history: what was computed before only keeps objects that are equal", (t) => {
  const property = fc.property(fc.array(tables, { minLength: 2, maxLength: 4 }), (history) => {
    const old = new NativePrefixes({ families });
    for (const each of history) {
      const before = new Map(old.update(each));
      const reversed = { ...each, routes: new Map([...each.routes].reverse()) };
      const again = old.update(reversed);
      const fresh = new NativePrefixes({ families }).update(each);
      const same = (entry: DesiredNativePrefix) => before.get(entry.prefix.text) === entry;
      const equal = (entry: DesiredNativePrefix) => again.get(entry.prefix.text)?.keep === entry.keep;
      if (again.size !== fresh.size || ![...again.values()].every(same) || ![...fresh.values()].every(equal))
        return false;
    }
    return true;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 200 }));
});

test("a table that follows its routes one change after the other gives what one from nothing gives", (t) => {
  const change = fc.tuple(fc.nat(11), fc.option(route, { freq: 2 }));
  const property = fc.property(tables, fc.array(change, { maxLength: 30 }), (each, changes) => {
    const old = new NativePrefixes({ families });
    let routes = VersionedMap.from(each.routes);
    const keys = [...each.routes.keys()];
    for (const [at, row] of [[0, null] as const, ...changes]) {
      const before = old.update({ ...each, routes });
      const key = row?.destination.text ?? keys[at];
      if (key !== undefined) routes = routes.with([[key, row ?? undefined]]);
      const after = old.update({ ...each, routes });
      const fresh = new NativePrefixes({ families }).update({ ...each, routes: new Map(routes) });
      const text = (entries: ReadonlyMap<string, DesiredNativePrefix>) =>
        [...entries.values()].map(({ prefix, keep }) => `${prefix.text} ${keep}`).sort();
      if (String(text(after)) !== String(text(fresh))) return false;
      const isKept = (entry: DesiredNativePrefix) => {
        const last = before.get(entry.prefix.text);
        return last === undefined || last.keep !== entry.keep || last === entry;
      };
      if (![...after.values()].every(isKept)) return false;
    }
    return true;
  });
  t.notThrows(() => fc.assert(property, { numRuns: 500 }));
});

test("an update after one changed route of many looks at no other", (t) => {
  const at = (n: number): RouteFactRow => {
    const destination = makePrefix(addressFromBytes(Uint8Array.of(100, 64 + (n >> 8), n & 255, 0)), 24);
    return {
      destination,
      protocol: 17,
      nextHops: [{ gateway, ifindex: 2, device: "eth0" }],
      metric: 0,
      mtu: null,
      since: 0,
    };
  };
  let looked = 0;
  const watched = (row: RouteFactRow): RouteFactRow => ({
    ...row,
    get protocol() {
      looked++;
      return row.protocol;
    },
  });
  const rows = Array.from({ length: 2_000 }, (_, n) => watched(at(n)));
  const routes = VersionedMap.from(rows.map((row) => [row.destination.text, row] as const));
  const uplinks = new Map([["2", uplink]]);
  const others = { nodes: new Map(), uplinks, nonMasquerade: new Map() };
  const prefixes = new NativePrefixes({ families });
  t.is(prefixes.update({ ...others, routes }).size, 2_000);
  looked = 0;
  const changed = routes.with([
    [at(7).destination.text, undefined],
    [at(2_001).destination.text, watched(at(2_001))],
  ]);
  const after = prefixes.update({ ...others, routes: changed });
  t.is(looked, 1);
  t.deepEqual([after.size, after.has("100.64.7.0/24"), after.has("100.71.209.0/24")], [2_000, false, true]);
});
