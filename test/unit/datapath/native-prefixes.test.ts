import test from "ava";
import type { DesiredNativePrefix } from "../../../src/compute/desired.ts";
import { NativePrefixReconciler } from "../../../src/datapath/native-prefixes.ts";
import { NativeError } from "../../../src/native/index.ts";
import { deviceAddress, NativeFlags, nativePrefix, prefix4Key } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { address, prefix } from "./world.ts";

const full = new NativeError({
  name: "NativeError",
  message: "no room",
  code: "ENOSPC",
  errno: 28,
  operation: "update",
  object: "native_prefix4",
  log: null,
});

function prefixes(...texts: readonly string[]): ReadonlyMap<string, DesiredNativePrefix> {
  return new Map(
    texts.map((text) => {
      const entry = { prefix: prefix(text.replace("!", "")), keep: !text.startsWith("!") };
      return [entry.prefix.text, entry];
    }),
  );
}

function inKernel(kernel: FakeKernel): readonly string[] {
  return [...kernel.entries("native_prefix4")].map(([key, value]) => {
    const { prefixlen, address: bytes } = prefix4Key.decode(Buffer.from(key, "latin1"));
    return `${bytes.toString(16)}/${prefixlen} ${nativePrefix.decode(value).flags}`;
  });
}

test("prefixes and exceptions of both families, and the source of each device, are written", async (t) => {
  const kernel = new FakeKernel();
  const native = new NativePrefixReconciler(kernel.native, kernel.map);
  const sources = [{ ifindex: 2, ipv4: address("192.0.2.1"), ipv6: null }];
  t.deepEqual(await native.apply(prefixes("10.0.0.0/8", "!10.9.0.0/16", "fd00::/8"), sources), []);
  t.deepEqual(inKernel(kernel), [`a000000/8 ${NativeFlags.keep}`, "a090000/16 0"]);
  t.is(kernel.entries("native_prefix6").size, 1);
  const [[, value] = ["", Buffer.alloc(0)]] = [...kernel.entries("device_address")];
  t.deepEqual(deviceAddress.decode(value), { ipv4: 0xc0000201, ipv6: Buffer.alloc(16) });
});

test("a change writes what comes before it removes what goes, and nothing else", async (t) => {
  const kernel = new FakeKernel();
  const native = new NativePrefixReconciler(kernel.native, kernel.map);
  await native.apply(prefixes("10.0.0.0/8", "10.9.0.0/16"));
  kernel.journal.length = 0;
  await native.apply(prefixes("10.9.0.0/16", "10.8.0.0/16"));
  t.deepEqual(
    kernel.journal.map(({ op, key }) => `${op} ${key.readUInt32LE(0)}`),
    ["update 16", "delete 8"],
  );
});

test("a restart takes over what is there, and a full map is told and tried again", async (t) => {
  const kernel = new FakeKernel();
  await new NativePrefixReconciler(kernel.native, kernel.map).apply(prefixes("10.0.0.0/8", "10.1.0.0/16"));
  kernel.journal.length = 0;
  const native = new NativePrefixReconciler(kernel.native, kernel.map);
  for (const table of native.tables) await table.read();
  kernel.refuse = ({ op }) => (op === "update" ? full : null);
  const [failure] = await native.apply(prefixes("10.1.0.0/16", "10.2.0.0/16"));
  t.is(failure?.entry, "prefix 10.2.0.0/16");
  kernel.refuse = () => null;
  t.deepEqual(await native.apply(prefixes("10.1.0.0/16", "10.2.0.0/16")), []);
  t.deepEqual(inKernel(kernel).length, 2);
  await native.apply();
  t.deepEqual(inKernel(kernel), []);
});
