import { existsSync } from "node:fs";
import { spawn } from "node:child_process";
import { chmod, copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { Features } from "../../../src/native/bpf-contract.ts";
import { packageRoot } from "../../../src/native/index.ts";
import { bpffs, compile, failureOf, folder, little32, load, mapOf, native, programOf } from "../../support/native.ts";

const source = `
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u32); } own SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} a_map_with_a_long_name SEC(".maps");
const volatile __u32 answer = 1;
const volatile __u8 flags[3] = {};
SEC("tc") int ask(struct __sk_buff *skb)
{
	__u32 key = 7, *value = bpf_map_lookup_elem(&a_map_with_a_long_name, &key);
	bpf_map_update_elem(&own, &key, &key, BPF_ANY);
	return answer + flags[2] + (value ? *value : 0);
}
SEC("tc") int other(struct __sk_buff *skb) { return skb->mark; }
`;
const packet = Buffer.alloc(64);
const one = little32(7);

test("an object is loaded: programs and maps with what the kernel says of them, settings at their defaults", async (t) => {
  const loaded = await load(t, await compile(t, source));
  t.deepEqual(loaded.programs.map(({ name, type }) => [name, type]).sort(), [
    ["ask", 3],
    ["other", 3],
  ]);
  for (const program of loaded.programs) t.true(program.id > 0 && program.instructions > 0);
  const own = mapOf(loaded, "own");
  t.deepEqual([own.type, own.keySize, own.valueSize, own.maxEntries, own.flags], [1, 4, 4, 8, 0]);
  t.true(own.id > 0);
  const run = await native.testRun(programOf(loaded, "ask"), packet, null, 1);
  t.is(run.retval, 1);
  t.is(run.data.length, packet.length);
});

test("settings in .rodata, sizes of maps and programs that are left out are as asked", async (t) => {
  const loaded = await load(t, await compile(t, source), {
    rodata: [
      { variable: "answer", bytes: little32(40) },
      { variable: "flags", bytes: Buffer.from([0, 0, 2]) },
    ],
    maxEntries: [
      { map: "own", entries: 3 },
      { map: "a map of another object", entries: 3 },
    ],
    skipPrograms: ["other"],
  });
  t.is((await native.testRun(programOf(loaded, "ask"), packet, null, 1)).retval, 42);
  t.is(mapOf(loaded, "own").maxEntries, 3);
  t.deepEqual(
    loaded.programs.map(({ name }) => name),
    ["ask"],
  );
});

test("a setting that is not there, or of another size, is refused by name", async (t) => {
  const path = await compile(t, source);
  const set = (variable: string, bytes: Buffer) => failureOf(t, () => load(t, path, { rodata: [{ variable, bytes }] }));
  t.regex(
    (await set("question", Buffer.alloc(4))).message,
    /^set question .*small\.bpf\.o: ENOENT.*\n?.*no such setting/s,
  );
  const size = await set("answer", Buffer.alloc(8));
  t.is(size.code, "EINVAL");
  t.regex(size.log ?? "", /4 bytes, not 8/);
});

test("maps marked for it are pinned by name and found again with their entries; their whole name is known by the pin", async (t) => {
  const [path, pins] = [await compile(t, source), await bpffs(t)];
  const first = await load(t, path, { pinPath: pins });
  native.mapUpdate(mapOf(first, "a_map_with_a_long_name").handle, one, little32(5), 0);
  const pin = join(pins, "a_map_with_a_long_name");
  t.true(existsSync(pin));
  t.false(existsSync(join(pins, "own")));
  const second = await load(t, path, { pinPath: pins });
  t.is(mapOf(second, "a_map_with_a_long_name").id, mapOf(first, "a_map_with_a_long_name").id);
  t.not(mapOf(second, "own").id, mapOf(first, "own").id);
  t.is((await native.testRun(programOf(second, "ask"), packet, null, 1)).retval, 6);

  const opened = native.openPinnedMap(pin);
  t.is(opened.name, "a_map_with_a_long_name");
  t.is(opened.id, mapOf(first, "a_map_with_a_long_name").id);
  t.deepEqual(native.mapLookup(opened.handle, one), little32(5));
  native.closeMap(opened.handle);
  await native.unpin(pin);
  t.false(existsSync(pin));
  t.is(
    (await failureOf(t, () => native.openPinnedMap(pin))).message,
    `open pinned map ${pin}: ENOENT (No such file or directory)`,
  );
});

test("a pinned map of another shape is an error that names the pin, and stays as it is", async (t) => {
  const [path, pins] = [await compile(t, source), await bpffs(t)];
  const first = await load(t, path, { pinPath: pins });
  native.mapUpdate(mapOf(first, "a_map_with_a_long_name").handle, one, little32(5), 0);
  const failure = await failureOf(t, () =>
    load(t, path, { pinPath: pins, maxEntries: [{ map: "a_map_with_a_long_name", entries: 99 }] }),
  );
  t.regex(failure.log ?? "", /pinned map at '.*a_map_with_a_long_name': parameter mismatch/);
  t.deepEqual(native.mapLookup(mapOf(first, "a_map_with_a_long_name").handle, one), little32(5));
});

test("two objects share a map that is given by handle, without any pin", async (t) => {
  const path = await compile(t, source);
  const first = await load(t, path);
  const shared = mapOf(first, "a_map_with_a_long_name");
  const second = await load(t, path, { reuseMaps: [{ map: "a_map_with_a_long_name", handle: shared.handle }] });
  t.is(mapOf(second, "a_map_with_a_long_name").id, shared.id);
  native.mapUpdate(shared.handle, one, little32(9), 0);
  t.is((await native.testRun(programOf(second, "ask"), packet, null, 1)).retval, 10);
});

test("what the verifier says of a bad program is in the error: its last lines in the text, all of it in the log", async (t) => {
  const path = await compile(
    t,
    `SEC("tc") int good(struct __sk_buff *skb) { return 0; }
     SEC("tc") int bad(struct __sk_buff *skb) { return *(char *)(long)skb->data; }`,
  );
  const failure = await failureOf(t, () => load(t, path));
  t.is(failure.code, "EACCES");
  t.is(failure.operation, "load object");
  t.is(failure.object, path);
  t.regex(failure.message, /^load object .*small\.bpf\.o: EACCES/);
  t.regex(failure.message, /invalid access to packet|invalid mem access/);
  t.regex(failure.message, /prog 'bad': failed to load/);
  t.regex(failure.log ?? "", /BEGIN PROG LOAD LOG/);
  const skipped = await load(t, path, { skipPrograms: ["bad"] });
  t.is(skipped.programs.length, 1);
});

test("the end of a long verifier log is kept, where it says what is wrong", async (t) => {
  // a loop that the verifier walks step by step before it meets the bad access
  const path = await compile(
    t,
    `SEC("tc") int long_way(struct __sk_buff *skb)
     {
	volatile __u32 sum = 0;
	for (int i = 0; i < 4000; i++)
		sum += i;
	return *(char *)(long)skb->data + sum;
     }`,
  );
  const failure = await failureOf(t, () => load(t, path));
  t.true((failure.log ?? "").length > 65_536, `${failure.log?.length}`);
  t.true((failure.log ?? "").length < 2 << 20);
  t.regex(failure.message, /invalid access to packet|invalid mem access/);
});

test("a file that is missing, is no object or is cut is refused by its path", async (t) => {
  const place = await folder(t);
  const path = join(place, "none.bpf.o");
  t.regex((await failureOf(t, () => load(t, path))).message, /^open object .*none\.bpf\.o: ENOENT/);
  await writeFile(path, "not an object");
  t.regex((await failureOf(t, () => load(t, path))).message, /^open object .*none\.bpf\.o: E/);
  const whole = await readFile(await compile(t, source));
  for (const part of [0.1, 0.5, 0.9, 0.99]) {
    await writeFile(path, whole.subarray(0, Math.floor(whole.length * part)));
    t.regex((await failureOf(t, () => load(t, path))).message, /none\.bpf\.o: E/);
  }
});

test("test runs give the packet, the context and the mean time back; a context that the kernel refuses is an error", async (t) => {
  const loaded = await load(
    t,
    await compile(
      t,
      `SEC("tc") int mark(struct __sk_buff *skb)
       {
	__u8 byte = 0xaa;
	skb->mark += 1;
	bpf_skb_store_bytes(skb, 20, &byte, 1, 0);
	return 5;
       }
       SEC("xdp") int grow(struct xdp_md *ctx) { return bpf_xdp_adjust_head(ctx, -16) ? 0 : 2; }`,
    ),
  );
  const context = Buffer.alloc(192);
  context.writeUInt32LE(41, 8); // struct __sk_buff.mark
  const run = await native.testRun(programOf(loaded, "mark"), packet, context, 3);
  t.is(run.retval, 5);
  t.is(run.data[20], 0xaa);
  t.is(run.context?.readUInt32LE(8), 44, "three runs");
  t.true(run.durationNs >= 0 && run.durationNs < 1e6);
  t.is((await native.testRun(programOf(loaded, "grow"), packet, null, 1)).data.length, packet.length + 16);
  const short = await failureOf(t, () => native.testRun(programOf(loaded, "mark"), Buffer.alloc(3), null, 1));
  t.is(short.message, "test run of mark: EINVAL (Invalid argument)");
  context.writeUInt32LE(99, 16); // protocol: read only
  t.is((await failureOf(t, () => native.testRun(programOf(loaded, "mark"), packet, context, 1))).code, "EINVAL");
});

test("layouts of a map's key and value are read from its BTF, bit fields included", async (t) => {
  const loaded = await load(
    t,
    await compile(
      t,
      `struct flow { __u32 address; __u16 port; __u8 low : 3; __u8 high : 5; __u8 bytes[5]; };
       typedef struct flow flow_name;
       struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, struct flow); __type(value, __u64); } flows SEC(".maps");
       struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
       SEC("tc") int use(struct __sk_buff *skb)
       {
	struct flow flow = {};
	bpf_ringbuf_output(&ring, &flow, sizeof(flow), 0);
	return bpf_map_lookup_elem(&flows, &flow) ? 1 : 0;
       }`,
    ),
  );
  const types = native.mapBtf(mapOf(loaded, "flows").handle);
  t.is(types?.keyType, "flow");
  t.regex(types?.valueType ?? "", /long/);
  t.deepEqual(
    types?.members.map(({ of, name, offsetBits, sizeBits }) => [of, name, offsetBits, sizeBits]),
    [
      ["key", "address", 0, 32],
      ["key", "port", 32, 16],
      ["key", "low", 48, 3],
      ["key", "high", 51, 5],
      ["key", "bytes", 56, 40],
    ],
  );
  t.is(native.mapBtf(mapOf(loaded, "ring").handle)?.keyType ?? "", "");
});

test("closing an object closes its programs and maps; a second time is an error", async (t) => {
  const loaded = await native.loadObject({
    path: await compile(t, source),
    pinPath: null,
    rodata: [],
    maxEntries: [],
    skipPrograms: [],
    reuseMaps: [],
  });
  const map = mapOf(loaded, "own").handle;
  native.mapUpdate(map, one, one, 0);
  native.closeObject(loaded.object);
  t.regex((await failureOf(t, () => native.closeObject(loaded.object))).message, /^use object handle \d+: EBADF/);
  t.is((await failureOf(t, () => native.mapLookup(map, one))).code, "EBADF");
  t.is((await failureOf(t, () => native.testRun(programOf(loaded, "ask"), packet, null, 1))).code, "EBADF");
});

test("every feature that the datapath chooses by is probed, and this kernel has them", async (t) => {
  const features = await native.probeFeatures();
  const names = [
    "tcx",
    "btf",
    "redirect_peer",
    "redirect_neigh",
    "fib_lookup",
    "ktime_coarse",
    "ringbuf",
    "batch",
    "batch_lpm",
  ];
  names.push(
    "lru_hash",
    "lpm_trie",
    "bpf_link_cgroup",
    "cgroup_connect",
    "cgroup_sendmsg",
    "cgroup_recvmsg",
    "cgroup_getpeername",
    "xdp",
  );
  for (const name of names) t.deepEqual(features[name], { supported: true, detail: "" }, name);
});

test("without privileges no feature is claimed that could not be tried, and the reason is told", async (t) => {
  const place = await folder(t);
  await chmod(place, 0o755);
  const addon = process.env.TANDEM_ADDON ?? join(packageRoot(), "build/addon/Release/tandem.node");
  await copyFile(addon, join(place, "tandem.node"));
  const code = `require(${JSON.stringify(join(place, "tandem.node"))}).probeFeatures().then((features) => console.log(JSON.stringify(features)))`;
  const child = spawn(process.execPath, ["-e", code], {
    uid: 65_534,
    gid: 65_534,
    cwd: "/",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer);
  const features = JSON.parse(Buffer.concat(chunks).toString()) as Features;
  for (const name of [
    "tcx",
    "redirect_peer",
    "fib_lookup",
    "ringbuf",
    "batch",
    "bpf_link_cgroup",
    "cgroup_connect",
    "xdp",
  ]) {
    t.false(features[name]?.supported, name);
    t.regex(features[name]?.detail ?? "", /Operation not permitted/, name);
  }
});
