import { cpus } from "node:os";
import test, { type ExecutionContext } from "ava";
import { compile, failureOf, leastHeldUp, little32, load, mapOf, native } from "../../support/native.ts";

const source = `
#define MAP(name, kind, size, k, v, f) \\
	struct { __uint(type, kind); __uint(max_entries, size); __type(key, k); __type(value, v); __uint(map_flags, f); } name SEC(".maps");
struct prefix { __u32 length; __u8 bytes[4]; };
MAP(hash, BPF_MAP_TYPE_HASH, 100000, __u32, __u64, 0)
MAP(tiny, BPF_MAP_TYPE_HASH, 4, __u32, __u32, 0)
MAP(lru, BPF_MAP_TYPE_LRU_HASH, 64, __u32, __u32, 0)
MAP(per_cpu, BPF_MAP_TYPE_PERCPU_HASH, 64, __u32, __u32, 0)
MAP(per_cpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 2, __u32, __u64, 0)
MAP(array, BPF_MAP_TYPE_ARRAY, 3, __u32, __u32, 0)
MAP(lpm, BPF_MAP_TYPE_LPM_TRIE, 100000, struct prefix, __u32, BPF_F_NO_PREALLOC)
SEC("tc") int use(struct __sk_buff *skb)
{
	struct prefix key = { 32 };
	return !!bpf_map_lookup_elem(&hash, &key) + !!bpf_map_lookup_elem(&tiny, &key) + !!bpf_map_lookup_elem(&lru, &key) +
	       !!bpf_map_lookup_elem(&per_cpu, &key) + !!bpf_map_lookup_elem(&per_cpu_array, &key) +
	       !!bpf_map_lookup_elem(&array, &key) + !!bpf_map_lookup_elem(&lpm, &key);
}
`;

async function maps(t: ExecutionContext): Promise<(name: string) => number> {
  const loaded = await load(t, await compile(t, source));
  return (name) => mapOf(loaded, name).handle;
}

/** What mapDump gives, as key -> value in hex. */
async function dump(map: number, keySize: number): Promise<Map<string, string>> {
  const { keys, values, count } = await native.mapDump(map);
  const valueSize = count === 0 ? 0 : values.length / count;
  return new Map(
    Array.from({ length: count }, (_, i) => [
      keys.toString("hex", i * keySize, (i + 1) * keySize),
      values.toString("hex", i * valueSize, (i + 1) * valueSize),
    ]),
  );
}

const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => i + from);

test("single entries: create only, exist only, read, delete, and nothing where there is none", async (t) => {
  const map = (await maps(t))("tiny");
  const [key, value] = [little32(1), little32(10)];
  t.is(native.mapLookup(map, key), null);
  t.is((await failureOf(t, () => native.mapUpdate(map, key, value, 2))).code, "ENOENT");
  native.mapUpdate(map, key, value, 1);
  t.is((await failureOf(t, () => native.mapUpdate(map, key, value, 1))).code, "EEXIST");
  t.deepEqual(native.mapLookup(map, key), value);
  t.true(native.mapDelete(map, key));
  t.false(native.mapDelete(map, key));
});

test("a full map says so: errno, the map's name and its size; a batch says how far it came and goes on from there", async (t) => {
  const map = (await maps(t))("tiny");
  const keys = little32(...numbers(10));
  t.deepEqual(await native.mapUpdateBatch(map, keys, keys, 10), { done: 4 });
  const rest = await failureOf(t, () => native.mapUpdateBatch(map, keys.subarray(16), keys.subarray(16), 6));
  t.is(rest.message, "write to map tiny (4 entries at most): E2BIG (Argument list too long)");
  t.is(rest.object, "tiny (4 entries at most)");
  t.is((await failureOf(t, () => native.mapUpdate(map, little32(99), little32(0), 0))).code, "E2BIG");
  native.mapUpdate(map, little32(0), little32(7), 0); // what is there may still change
  t.is((await dump(map, 4)).size, 4);
});

test.serial("batches write, dump and delete 100,000 entries, and the event loop goes on meanwhile", async (t) => {
  const map = (await maps(t))("hash");
  const count = 100_000;
  const keys = little32(...numbers(count));
  const values = Buffer.alloc(8 * count);
  for (let i = 0; i < count; i++) values.writeUInt32LE(i * 3, 8 * i);
  const written = await leastHeldUp(() => native.mapUpdateBatch(map, keys, values, count));
  t.deepEqual(written.result, { done: count });
  const dumped = await leastHeldUp(() => native.mapDump(map));
  const all = dumped.result;
  t.is(all.count, count);
  const seen = new Uint32Array(count).fill(0xffffffff);
  for (let i = 0; i < count; i++) seen[all.keys.readUInt32LE(4 * i)] = all.values.readUInt32LE(8 * i);
  t.true(seen.every((value, key) => value === key * 3));
  const half = count / 2;
  // again and again: those that are not there count as done
  const deleted = await leastHeldUp(() => native.mapDeleteBatch(map, keys.subarray(0, 4 * half), half));
  t.deepEqual(deleted.result, { done: half });
  t.is((await native.mapDump(map)).count, half);
  for (const [what, { ms, heldUpMs }] of Object.entries({ written, dumped, deleted })) {
    t.log(`${what} in ${ms.toFixed(0)} ms, event loop held up for at most ${heldUpMs.toFixed(1)} ms`);
    // On a busy machine also by others, but not as long as the work takes.
    t.true(heldUpMs < Math.max(250, ms / 2), what);
  }
});

test("LPM tries: the longest prefix answers, batches and dumps are whole, a prefix that is too long is refused", async (t) => {
  const map = (await maps(t))("lpm");
  const prefix = (length: number, ...bytes: number[]) => Buffer.concat([little32(length), Buffer.from(bytes)]);
  const keys = [prefix(0, 0, 0, 0, 0), prefix(8, 10, 0, 0, 0), prefix(24, 10, 1, 2, 0), prefix(32, 10, 1, 2, 3)];
  t.deepEqual(await native.mapUpdateBatch(map, Buffer.concat(keys), little32(1, 2, 3, 4), 4), { done: 4 });
  const look = (...bytes: number[]) => native.mapLookup(map, prefix(32, ...bytes))?.readUInt32LE();
  t.deepEqual([look(9, 9, 9, 9), look(10, 9, 9, 9), look(10, 1, 2, 4), look(10, 1, 2, 3)], [1, 2, 3, 4]);
  t.is((await dump(map, 8)).size, 4);
  const wrong = [prefix(16, 10, 7, 0, 0), prefix(33, 10, 8, 0, 0), prefix(16, 10, 9, 0, 0)];
  t.deepEqual(await native.mapUpdateBatch(map, Buffer.concat(wrong), little32(5, 6, 7), 3), { done: 1 });
  t.is((await failureOf(t, () => native.mapUpdateBatch(map, wrong[1] as Buffer, little32(6), 1))).code, "EINVAL");
  t.deepEqual(await native.mapDeleteBatch(map, Buffer.concat([...keys.slice(0, 2), prefix(9, 1, 1, 1, 1)]), 3), {
    done: 3,
  });
  t.is((await dump(map, 8)).size, 3);

  const many = 20_000;
  const bulk = Buffer.concat(numbers(many).map((i) => prefix(24, 11, i >> 8, i & 255, 0)));
  t.deepEqual(await native.mapUpdateBatch(map, bulk, little32(...numbers(many)), many), { done: many });
  t.is((await dump(map, 8)).size, many + 3);
});

test("a dump of a trie that changes all the while has no entry twice and misses none that stays", async (t) => {
  const map = (await maps(t))("lpm");
  const prefix = (i: number) => Buffer.concat([little32(32), Buffer.from([10, i >> 16, i >> 8, i & 255])]);
  const staying = numbers(5000).map((i) => prefix(2 * i));
  await native.mapUpdateBatch(map, Buffer.concat(staying), little32(...numbers(5000)), 5000);
  let running = true;
  const churn = (async () => {
    for (let round = 0; running; round++) {
      const odd = Buffer.concat(numbers(500).map((i) => prefix(2 * ((i * 10 + round) % 5000) + 1)));
      await native.mapUpdateBatch(map, odd, little32(...numbers(500)), 500);
      await native.mapDeleteBatch(map, odd, 500);
    }
  })();
  for (let i = 0; i < 20; i++) {
    const { keys, count } = await native.mapDump(map);
    const seen = new Set(numbers(count).map((at) => keys.toString("hex", 8 * at, 8 * at + 8)));
    t.is(seen.size, count, "none twice");
    t.is(staying.filter((key) => !seen.has(key.toString("hex"))).length, 0, "none missing");
  }
  running = false;
  await churn;
});

test("an LRU map takes more than it holds, and forgets the oldest", async (t) => {
  const map = (await maps(t))("lru");
  const keys = little32(...numbers(1000));
  t.deepEqual(await native.mapUpdateBatch(map, keys, keys, 1000), { done: 1000 });
  const { count } = await native.mapDump(map);
  t.true(count > 0 && count <= 64 * cpus().length, `${count}`);
});

test("per-CPU maps: a value for each possible CPU, each rounded up to 8 bytes", async (t) => {
  const of = await maps(t);
  const { readFile } = await import("node:fs/promises");
  const last = /(\d+)\s*$/.exec(await readFile("/sys/devices/system/cpu/possible", "utf8"))?.[1];
  const possible = Number(last) + 1;
  const value = Buffer.alloc(8 * possible);
  for (let cpu = 0; cpu < possible; cpu++) value.writeUInt32LE(cpu + 1, 8 * cpu);
  const map = of("per_cpu");
  native.mapUpdate(map, little32(5), value, 0);
  t.deepEqual(native.mapLookup(map, little32(5)), value);
  t.deepEqual(await native.mapUpdateBatch(map, little32(5, 6), Buffer.concat([value, value]), 2), { done: 2 });
  t.deepEqual([...(await dump(map, 4))].sort(), [
    ["05000000", value.toString("hex")],
    ["06000000", value.toString("hex")],
  ]);
  t.is(native.mapLookup(of("per_cpu_array"), little32(1))?.length, 8 * possible);
  t.is((await dump(of("per_cpu_array"), 4)).size, 2);
  t.regex(
    (await failureOf(t, () => native.mapUpdate(map, little32(5), little32(1), 0))).message,
    new RegExp(`value must be ${8 * possible} bytes, not 4: EINVAL`),
  );
});

test("arrays: all entries are there, deleting is refused with the map's name", async (t) => {
  const map = (await maps(t))("array");
  t.deepEqual([...(await dump(map, 4)).values()], ["00000000", "00000000", "00000000"]);
  t.is(
    (await failureOf(t, () => native.mapDelete(map, little32(0)))).message,
    "delete from map array: EINVAL (Invalid argument)",
  );
  t.is((await failureOf(t, () => native.mapUpdate(map, little32(3), little32(3), 0))).code, "E2BIG");
});

test("buffers of a wrong size, other types and handles that are none are refused, and nothing is written", async (t) => {
  const map = (await maps(t))("tiny");
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const loose = native as any;
  const cases: readonly [() => unknown, RegExp][] = [
    [() => native.mapLookup(map, Buffer.alloc(3)), /key must be 4 bytes, not 3/],
    [() => native.mapUpdate(map, little32(1), Buffer.alloc(5), 0), /value must be 4 bytes, not 5/],
    [() => native.mapUpdateBatch(map, little32(1, 2), little32(1), 2), /values must be 8 bytes, not 4/],
    [() => native.mapUpdateBatch(map, little32(1), little32(1), 2), /keys must be 8 bytes, not 4/],
    [() => native.mapDeleteBatch(map, little32(1), 0), /keys must be 0 bytes, not 4/],
    [() => native.mapUpdateBatch(map, little32(1), little32(1), 4_294_967_295), /keys must be 17179869180 bytes/],
    [() => loose.mapLookup(map, "four"), /key must be a Buffer/],
    [() => loose.mapLookup(map, new Float64Array(1)), /key must be a Buffer/],
    [() => loose.mapLookup(map), /key must be a Buffer/],
    [() => loose.mapUpdate(map, little32(1), little32(1)), /flags must be a number/],
    [() => loose.mapUpdate(map, little32(1), little32(1), -1), /flags must be a whole number/],
    [() => loose.mapLookup(1.5, little32(1)), /handle must be a whole number/],
    [() => loose.mapLookup(-1, little32(1)), /handle must be a whole number/],
    [() => loose.mapLookup("1", little32(1)), /handle must be a number/],
    [() => loose.mapLookup(null, little32(1)), /handle must be a number/],
    [() => native.mapLookup(999_999, little32(1)), /^use map handle 999999: EBADF/],
    [() => native.mapDump(999_999), /^use map handle 999999: EBADF/],
    [() => loose.mapDump(), /handle must be a number/],
  ];
  for (const [call, expected] of cases) {
    const failure = await failureOf(t, call);
    t.regex(failure.message, expected);
    t.true(failure.code === "EINVAL" || failure.code === "EBADF");
    t.true(failure.errno > 0);
    t.is(typeof failure.operation, "string");
  }
  t.is((await native.mapDump(map)).count, 0);
  t.deepEqual(await native.mapUpdateBatch(map, Buffer.alloc(0), Buffer.alloc(0), 0), { done: 0 });
});

test("promise-returning calls reject and never throw, whatever they are given", async (t) => {
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const loose = native as any;
  const names = ["loadObject", "attachTc", "detachTc", "attachXdp", "attachCgroup", "unpin", "testRun", "mountBpffs"];
  names.push("mapUpdateBatch", "mapDeleteBatch", "mapDump", "sweepConntrack", "closeRing", "closeMonitor", "routes");
  names.push("applyNetlink", "createVeth", "writeSysctls", "openSocket");
  for (const name of names) {
    for (const junk of [[], [null], [{}, {}, {}, {}], [-1, -1, -1], ["", [], 5], [1, "x", Symbol.iterator]]) {
      const answer = loose[name](...junk);
      t.true(answer instanceof Promise, name);
      await t.throwsAsync(answer, undefined, `${name}(${junk.map(String).join()})`);
    }
  }
});
