import test, { type ExecutionContext } from "ava";
import { setTimeout as sleep } from "node:timers/promises";
import { compile, eventually, failureOf, load, mapOf, native, programOf } from "../../support/native.ts";

// Records are numbered; what finds no room is counted. mark: 0 no wake-up, 1 wake-up.
const source = `
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct record { __u64 number; __u8 rest[24]; };
static __always_inline int produce(__u64 flags)
{
	__u32 made = 0, lost = 1;
	__u64 *number = bpf_map_lookup_elem(&counts, &made), *missing = bpf_map_lookup_elem(&counts, &lost);
	struct record *record;
	if (!number || !missing)
		return 0;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(missing, 1);
		return 0;
	}
	record->number = (*number)++;
	bpf_ringbuf_submit(record, flags);
	return 1;
}
SEC("tc") int quiet(struct __sk_buff *skb) { return produce(BPF_RB_NO_WAKEUP); }
SEC("tc") int loud(struct __sk_buff *skb) { return produce(BPF_RB_FORCE_WAKEUP); }
SEC("tc") int foreign(struct __sk_buff *skb) { __u32 small = 1; return bpf_ringbuf_output(&events, &small, 4, 0); }
`;
const recordSize = 32;

async function setUp(t: ExecutionContext) {
  const loaded = await load(t, await compile(t, source));
  const produce = (program: string, count: number) =>
    native.testRun(programOf(loaded, program), Buffer.alloc(64), null, count);
  const count = (at: number) => {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(at);
    return Number(native.mapLookup(mapOf(loaded, "counts").handle, key)?.readBigUInt64LE() ?? -1);
  };
  return {
    ring: mapOf(loaded, "events").handle,
    counts: mapOf(loaded, "counts").handle,
    produce,
    lost: () => count(1),
  };
}

function numbersOf(batches: readonly Buffer[]): readonly number[] {
  return batches.flatMap((batch) =>
    Array.from({ length: batch.length / recordSize }, (_, i) => Number(batch.readBigUInt64LE(i * recordSize))),
  );
}

test("records without a wake-up come with the interval, in order, in batches of at most 1024", async (t) => {
  const { ring, produce } = await setUp(t);
  const batches: Buffer[] = [];
  const handle = native.openRing(ring, recordSize, 20, (records, count) => {
    t.is(records.length, count * recordSize);
    t.true(count <= 1024);
    batches.push(records);
  });
  await produce("quiet", 1300);
  await eventually(() => numbersOf(batches).length >= 1300);
  t.deepEqual(
    numbersOf(batches),
    Array.from({ length: 1300 }, (_, i) => i),
  );
  await native.closeRing(handle);
});

test("a record with a wake-up comes at once, however long the interval is; without one it waits for it", async (t) => {
  const { ring, produce } = await setUp(t);
  const batches: Buffer[] = [];
  const handle = native.openRing(ring, recordSize, 60_000, (records) => batches.push(records));
  await produce("quiet", 3);
  await sleep(200);
  t.is(batches.length, 0, "nobody woke the reader");
  await produce("loud", 1);
  await eventually(() => numbersOf(batches).length === 4);
  t.is(batches.length, 1, "nobody read before");
  await produce("quiet", 2);
  await native.closeRing(handle);
  t.is(numbersOf(batches).length, 6, "closing delivers what is there");
});

test("while JavaScript does not take batches records stay in the ring and the program counts the loss; nothing else is lost", async (t) => {
  const { ring, produce, lost } = await setUp(t);
  const batches: Buffer[] = [];
  const open = () => native.openRing(ring, recordSize, 1, (records) => batches.push(records));
  const handle = open();
  const total = 200_000;
  const run = produce("quiet", total); // on another thread
  const end = performance.now() + 60_000;
  while (lost() === 0 && performance.now() < end) {} // a busy event loop
  await run;
  await native.closeRing(handle);
  // What it had no room for when it closed is still in the ring.
  for (let before = -1; before !== batches.length; ) {
    before = batches.length;
    await native.closeRing(open());
  }
  const numbers = numbersOf(batches);
  t.log(`${numbers.length} of ${total} were delivered, ${lost()} counted as lost, in ${batches.length} batches`);
  t.true(lost() > 0, "the ring was full");
  t.is(numbers.length + lost(), total);
  t.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, i) => i),
    "in order, none twice",
  );
});

test("records of another size are passed over, several rings run side by side, and closing twice is an error", async (t) => {
  const { ring, produce } = await setUp(t);
  const second = await setUp(t);
  const [here, there]: [Buffer[], Buffer[]] = [[], []];
  const handles = [
    native.openRing(ring, recordSize, 5, (records) => here.push(records)),
    native.openRing(second.ring, recordSize, 5, (records) => there.push(records)),
  ];
  await produce("foreign", 1);
  await produce("loud", 1);
  await second.produce("loud", 2);
  await eventually(() => numbersOf(here).length === 1 && numbersOf(there).length === 2);
  for (const handle of handles) await native.closeRing(handle);
  t.regex((await failureOf(t, () => native.closeRing(handles[0] as number))).message, /^use ring handle \d+: EBADF/);
  const calls = here.length;
  await produce("loud", 5);
  await sleep(50);
  t.is(here.length, calls, "closed");
});

test("a map that is no ring, a record size of 0 and a receiver that is no function are refused", async (t) => {
  const { ring, counts } = await setUp(t);
  t.regex(
    (await failureOf(t, () => native.openRing(counts, 32, 1, () => undefined))).message,
    /^open ring buffer counts: EINVAL/,
  );
  t.regex((await failureOf(t, () => native.openRing(ring, 0, 1, () => undefined))).message, /recordSize must not be 0/);
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  t.regex((await failureOf(t, () => (native as any).openRing(ring, 32, 1))).message, /onBatch must be a function/);
  const monitor = native.openMonitor(null, ["link"], () => undefined);
  t.regex((await failureOf(t, () => native.closeRing(monitor))).message, /no open ring has this handle/);
  await native.closeMonitor(monitor);
});
