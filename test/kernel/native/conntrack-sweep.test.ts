/** sweepConntrack gives back entries that are idle for longer than their state allows, and no others. */
import test, { type ExecutionContext } from "ava";
import { compile, failureOf, little32, load, mapOf, native } from "../../support/native.ts";
import { upFor } from "../../support/uptime.ts";

const source = `
#include <tandem/types.h>
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 50000); __type(key, struct ct4_key); __type(value, struct ct_entry); } four SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 64); __type(key, struct ct6_key); __type(value, struct ct_entry); } six SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, struct ct_entry); } other SEC(".maps");
SEC("tc") int use(struct __sk_buff *skb)
{
	struct ct6_key key = {};
	return !!bpf_map_lookup_elem(&four, &key) + !!bpf_map_lookup_elem(&six, &key) + !!bpf_map_lookup_elem(&other, &key);
}
`;

// Seconds; small, since no entry can be older than this machine is up: a young one is waited for.
const timeouts = {
  tcpOpening: 30,
  tcpEstablished: 90,
  tcpClosing: 15,
  udpUnreplied: 20,
  udpReplied: 60,
  icmp: 25,
  other: 70,
  service: 80,
};
const margin = 10;
const flag = { replied: 2, established: 8, finInitiator: 16, finResponder: 32, reset: 64, service: 128 } as const;
const [icmp, tcp, udp, icmpv6, sctp] = [1, 6, 17, 58, 132] as const;

const now = () => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

/** struct ct_entry: last_used at 0, flags at 16. */
function entry(idleSeconds: number, flags: number): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeUInt32LE(now() - idleSeconds);
  bytes.writeUInt16LE(flags, 16);
  return bytes;
}

function key(size: 16 | 40, port: number, protocol: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt16BE(port, size - 8);
  bytes.writeUInt8(protocol, size - 4);
  return bytes;
}

async function setUp(t: ExecutionContext) {
  const loaded = await load(t, await compile(t, source));
  return (name: string) => mapOf(loaded, name).handle;
}

for (const [name, size] of [
  ["four", 16],
  ["six", 40],
] as const) {
  test(`entries go after the time of their protocol and state, and not before (${name})`, async (t) => {
    const map = (await setUp(t))(name);
    const states: readonly [string, number, number, number][] = [
      ["TCP opening", tcp, 0, timeouts.tcpOpening],
      ["TCP established", tcp, flag.established | flag.replied, timeouts.tcpEstablished],
      ["TCP half closed", tcp, flag.established | flag.finInitiator, timeouts.tcpEstablished],
      ["TCP closed", tcp, flag.established | flag.finInitiator | flag.finResponder, timeouts.tcpClosing],
      ["TCP reset", tcp, flag.established | flag.reset, timeouts.tcpClosing],
      ["UDP", udp, 0, timeouts.udpUnreplied],
      ["UDP replied", udp, flag.replied, timeouts.udpReplied],
      ["ICMP", icmp, flag.replied, timeouts.icmp],
      ["ICMPv6", icmpv6, 0, timeouts.icmp],
      ["SCTP", sctp, flag.replied, timeouts.other],
      ["service", tcp, flag.service | flag.reset, timeouts.service],
    ];
    await upFor(Math.max(...Object.values(timeouts)) + margin);
    for (const [at, [, protocol, flags, seconds]] of states.entries()) {
      native.mapUpdate(map, key(size, 2 * at, protocol), entry(seconds - margin, flags), 0);
      native.mapUpdate(map, key(size, 2 * at + 1, protocol), entry(seconds + margin, flags), 0);
    }
    const before = (await native.mapDump(map)).count;
    t.deepEqual(await native.sweepConntrack(map, timeouts), { seen: before, deleted: states.length });
    for (const [at, [what, protocol]] of states.entries()) {
      t.not(native.mapLookup(map, key(size, 2 * at, protocol)), null, `${what}: stays`);
      t.is(native.mapLookup(map, key(size, 2 * at + 1, protocol)), null, `${what}: goes`);
    }
    t.deepEqual(await native.sweepConntrack(map, timeouts), { seen: states.length, deleted: 0 });
  });
}

test("40,000 entries are swept in slices; those of the future (the clock of a program is a little ahead) stay", async (t) => {
  const map = (await setUp(t))("four");
  const count = 40_000;
  const keys = Buffer.concat(Array.from({ length: count }, (_, i) => key(16, i, udp)));
  const values = Buffer.concat(Array.from({ length: count }, (_, i) => entry(i % 2 === 0 ? 100 : -2, 0)));
  t.deepEqual(await native.mapUpdateBatch(map, keys, values, count), { done: count });
  const { count: present } = await native.mapDump(map); // an LRU map may have let some go
  const { seen, deleted } = await native.sweepConntrack(map, timeouts);
  t.true(seen >= present - 100 && deleted > present * 0.4 && deleted < present * 0.6, `${seen} ${deleted}`);
  t.is((await native.mapDump(map)).count, present - deleted);
  t.is(native.mapLookup(map, key(16, 0, udp)), null);
});

test("a map of another layout, or times that are no numbers, are refused", async (t) => {
  const of = await setUp(t);
  const wrong = await failureOf(t, () => native.sweepConntrack(of("other"), timeouts));
  t.is(wrong.message.split("\n")[0], "sweep other: EINVAL (Invalid argument)");
  t.is(wrong.log, "not a conntrack map");
  t.deepEqual(native.mapLookup(of("other"), little32(1)), null);
  for (const bad of [
    { ...timeouts, icmp: -1 },
    { ...timeouts, icmp: Number.NaN },
  ]) {
    t.regex((await failureOf(t, () => native.sweepConntrack(of("four"), bad))).message, /icmp must be a whole number/);
  }
});
