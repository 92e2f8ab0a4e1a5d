/** sweepNat gives back both entries of flows that are idle for longer than their state allows, and entries of answers that nobody owns. */
import test, { type ExecutionContext } from "ava";
import { compile, failureOf, load, mapOf, native } from "../../support/native.ts";
import { upFor } from "../../support/uptime.ts";

const source = `
#include <tandem/types.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100000); __uint(map_flags, 1); __type(key, struct nat4_key); __type(value, struct nat4_entry); } four SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __uint(map_flags, 1); __type(key, struct nat6_key); __type(value, struct nat6_entry); } six SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct nat4_key); __type(value, __u32); } other SEC(".maps");
SEC("tc") int use(struct __sk_buff *skb)
{
	struct nat6_key key = {};
	return !!bpf_map_lookup_elem(&four, &key) + !!bpf_map_lookup_elem(&six, &key) + !!bpf_map_lookup_elem(&other, &key);
}
`;

// Seconds; small, since no entry can be older than this machine is up: a young one is waited for.
const timeouts = {
  tcpOpening: 30,
  tcpEstablished: 90,
  tcpClosing: 15,
  udpUnreplied: 20,
  udpReplied: 70,
  icmp: 25,
  other: 80,
  service: 1,
};
const margin = 10;
/** Of an entry of answers whose initiator's is gone. */
const orphanSeconds = 60;
const flag = {
  replied: 2,
  established: 8,
  finInitiator: 16,
  finResponder: 32,
  reset: 64,
  back: 1 << 13,
  service: 1 << 14,
};
const [icmp, tcp, udp, sctp] = [1, 6, 17, 132] as const;
const now = () => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n));

type Size = 4 | 16;
interface Tuple {
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

const swapped = ({ source: from, destination, sourcePort, destinationPort }: Tuple): Tuple => ({
  source: destination,
  destination: from,
  sourcePort: destinationPort,
  destinationPort: sourcePort,
});

/** Addresses by their last byte; as keys and entries begin. */
function tupleBytes(size: Size, tuple: Tuple, rest: number): Buffer {
  const bytes = Buffer.alloc(2 * size + 4 + rest);
  bytes.writeUInt32BE(tuple.source, size - 4);
  bytes.writeUInt32BE(tuple.destination, 2 * size - 4);
  bytes.writeUInt16BE(tuple.sourcePort, 2 * size);
  bytes.writeUInt16BE(tuple.destinationPort, 2 * size + 2);
  return bytes;
}

function key(size: Size, tuple: Tuple, protocol: number): Buffer {
  const bytes = tupleBytes(size, tuple, 4);
  bytes.writeUInt8(protocol, 2 * size + 4);
  return bytes;
}

function entry(size: Size, to: Tuple, flags: number, age: number): Buffer {
  const bytes = tupleBytes(size, to, 12);
  bytes.writeUInt16LE(flags, 2 * size + 4);
  bytes.writeUInt32LE(now() - age, 2 * size + 8);
  return bytes;
}

/** A flow of a pod to 203.0.113.1:443 as 192.0.2.1 and the same port. */
const flowOf = (port: number): { readonly own: Tuple; readonly to: Tuple } => ({
  own: { source: 0x0a000001, destination: 0xcb007101, sourcePort: port, destinationPort: 443 },
  to: { source: 0xc0000201, destination: 0xcb007101, sourcePort: port, destinationPort: 443 },
});

async function setUp(t: ExecutionContext) {
  const loaded = await load(t, await compile(t, source));
  return (name: string) => mapOf(loaded, name).handle;
}

for (const [name, size] of [
  ["four", 4],
  ["six", 16],
] as const) {
  test(`a flow goes with its port after the time of its protocol and state, and not before (${name})`, async (t) => {
    const map = (await setUp(t))(name);
    const there = (tuple: Tuple, protocol: number) => native.mapLookup(map, key(size, tuple, protocol)) !== null;
    const put = (port: number, protocol: number, flags: number, idle: number) => {
      const { own, to } = flowOf(port);
      native.mapUpdate(map, key(size, own, protocol), entry(size, to, flags, idle), 0);
      // made when the flow began
      native.mapUpdate(map, key(size, swapped(to), protocol), entry(size, swapped(own), flag.back, oldest), 0);
    };
    const states: readonly [string, number, number, number][] = [
      ["TCP opening", tcp, 0, timeouts.tcpOpening],
      ["TCP established", tcp, flag.established | flag.replied, timeouts.tcpEstablished],
      ["TCP closed", tcp, flag.established | flag.finInitiator | flag.finResponder, timeouts.tcpClosing],
      ["TCP reset", tcp, flag.established | flag.reset, timeouts.tcpClosing],
      ["UDP", udp, flag.service, timeouts.udpUnreplied],
      ["UDP replied", udp, flag.replied, timeouts.udpReplied],
      ["ICMP", icmp, flag.replied, timeouts.icmp],
      ["SCTP", sctp, flag.replied, timeouts.other],
    ];
    const oldest = Math.max(...Object.values(timeouts)) + margin;
    await upFor(oldest);
    for (const [at, [, protocol, flags, seconds]] of states.entries()) {
      put(2 * at + 1, protocol, flags, seconds - margin);
      put(2 * at + 2, protocol, flags, seconds + margin);
    }
    const kept = 2 * states.length;
    t.deepEqual(await native.sweepNat(map, timeouts), { seen: 2 * kept, deleted: kept });
    for (const [at, [what, protocol]] of states.entries()) {
      const [stays, goes] = [flowOf(2 * at + 1), flowOf(2 * at + 2)];
      t.true(there(stays.own, protocol) && there(swapped(stays.to), protocol), `${what}: stays`);
      t.false(there(goes.own, protocol) || there(swapped(goes.to), protocol), `${what}: goes`);
    }
    t.deepEqual(await native.sweepNat(map, timeouts), { seen: kept, deleted: 0 });
  });
}

test("an entry of answers that no flow owns goes after a minute; another flow's under that port stays", async (t) => {
  const map = (await setUp(t))("four");
  const put = (tuple: Tuple, to: Tuple, flags: number, age: number) =>
    native.mapUpdate(map, key(4, tuple, tcp), entry(4, to, flags, age), 0);
  const there = (tuple: Tuple) => native.mapLookup(map, key(4, tuple, tcp)) !== null;
  const [young, old, foreign, lone] = [flowOf(1), flowOf(2), flowOf(3), flowOf(4)];
  put(swapped(young.to), swapped(young.own), flag.back, orphanSeconds - margin);
  put(swapped(old.to), swapped(old.own), flag.back, orphanSeconds + margin);
  // its initiator has got another port since
  put(swapped(foreign.to), swapped(foreign.own), flag.back, orphanSeconds + margin);
  put(foreign.own, { ...foreign.to, sourcePort: 5000 }, 0, 0);
  // the port that this one names is another flow's
  put(lone.own, { ...lone.to, sourcePort: 6000 }, 0, timeouts.tcpOpening + margin);
  const owner = { own: { ...lone.own, sourcePort: 77 }, to: { ...lone.to, sourcePort: 6000 } };
  put(owner.own, owner.to, 0, 0);
  put(swapped(owner.to), swapped(owner.own), flag.back, 1);
  await native.sweepNat(map, timeouts);
  t.true(there(swapped(young.to)));
  t.false(there(swapped(old.to)));
  t.false(there(swapped(foreign.to)));
  t.true(there(foreign.own));
  t.false(there(lone.own));
  t.true(there(owner.own) && there(swapped(owner.to)));
});

test("40,000 flows are swept in slices", async (t) => {
  const map = (await setUp(t))("four");
  const count = 40_000;
  const flows = Array.from({ length: count }, (_, at) => flowOf(at));
  const idle = (at: number) => (at % 2 === 0 ? 100 : 1);
  const keys = flows.flatMap(({ own, to }) => [key(4, own, udp), key(4, swapped(to), udp)]);
  const values = flows.flatMap(({ own, to }, at) => [
    entry(4, to, 0, idle(at)),
    entry(4, swapped(own), flag.back, 100),
  ]);
  await native.mapUpdateBatch(map, Buffer.concat(keys), Buffer.concat(values), 2 * count);
  const started = performance.now();
  t.deepEqual(await native.sweepNat(map, timeouts), { seen: 2 * count, deleted: count });
  t.log(`${Math.round(performance.now() - started)} ms`);
  t.is((await native.mapDump(map)).count, count);
});

test("a map of another layout is refused", async (t) => {
  const of = await setUp(t);
  const wrong = await failureOf(t, () => native.sweepNat(of("other"), timeouts));
  t.is(wrong.log, "not a map of translated sources");
});
