import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Pins } from "../../../src/datapath/pins.ts";
import { WireAttachments, type WireOptions } from "../../../src/datapath/wire.ts";
import type { NativeBinding } from "../../../src/native/contract.ts";
import type { LinkRow } from "../../../src/native/netlink-contract.ts";
import { failure } from "./fake-kernel.ts";

async function pinsOf(t: ExecutionContext): Promise<Pins> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-wire-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const pins = new Pins(folder);
  await pins.prepare({ mountBpffs: async () => "present" });
  return pins;
}

const uplink = (ifindex: number, changes: { readonly mtu?: number; readonly l3?: boolean } = {}) => ({
  ifindex,
  name: `eth${ifindex}`,
  mtu: 1500,
  l3: false,
  ...changes,
});

interface Driver {
  /** By ifindex; missing: a physical device. */
  readonly kinds?: Readonly<Record<number, string>>;
  /** Of these the driver takes no native program. */
  readonly refusing?: readonly number[];
}

/** Links as files, as they are on bpffs; `tried` has every call. */
async function wire(pins: Pins, xdp: WireOptions["xdp"], driver: Driver = {}, program = true) {
  const tried: string[] = [];
  const native: WireOptions["native"] = {
    attachXdp: async (...[, { index }, mode, pin]: Parameters<NativeBinding["attachXdp"]>) => {
      tried.push(`${mode} ${index}`);
      if (driver.refusing?.includes(index) === true && mode === "native")
        throw failure("EOPNOTSUPP", 95, "attach from_wire to", `eth${index}`);
      await writeFile(pin ?? "", "");
      return "attached";
    },
    unpin: async (path) => rm(path, { force: true }),
    links: async () => [1, 2, 3].map((index) => ({ index, kind: driver.kinds?.[index] ?? "" }) as LinkRow),
  };
  const loaded = program ? { name: "from_wire", handle: 1, id: 1 } : null;
  return { tried, made: new WireAttachments({ native, pins, xdp, program: () => loaded }) };
}

test("auto is native where the driver takes it, and says why it is not elsewhere", async (t) => {
  const pins = await pinsOf(t);
  const { tried, made } = await wire(pins, "auto", { kinds: { 2: "veth" }, refusing: [3] });
  const tunnel = uplink(4, { l3: true });
  t.deepEqual(await made.apply([uplink(1), uplink(2), uplink(3), tunnel]), []);
  t.deepEqual(tried, ["native 1", "native 3"]);
  t.deepEqual(
    made.report().map(({ mode }) => mode),
    ["native", "off", "off", "off"],
  );
  t.regex(
    made
      .report()
      .map(({ why }) => why)
      .join("; "),
    /^; a veth; .*EOPNOTSUPP.*; it has no Ethernet header$/,
  );
  t.deepEqual([...(await pins.linkNames())], ["from_wire-native-1"]);
});

test("what a driver refused is not tried again before its MTU is another one", async (t) => {
  const { tried, made } = await wire(await pinsOf(t), "auto", { refusing: [1] });
  for (const mtu of [9000, 9000, 1500, 1500]) await made.apply([uplink(1, { mtu })]);
  t.is(tried.length, 2);
});

test("who asked for a mode is told where it is not to be had", async (t) => {
  const pins = await pinsOf(t);
  const native = await wire(pins, "native", { kinds: { 2: "veth" }, refusing: [1] });
  t.deepEqual(
    (await native.made.apply([uplink(1), uplink(2)])).map(({ code, object, severity }) => [code, object, severity]),
    [["XDP_NOT_ATTACHED", "eth1", "warning"]],
  );
  const none = await wire(pins, "generic", {}, false);
  t.regex((await none.made.apply([uplink(1)]))[0]?.message ?? "", /^this kernel does not take the program/);
});

test("an agent that comes again takes its links over, or away if the settings changed", async (t) => {
  const pins = await pinsOf(t);
  await (await wire(pins, "auto")).made.apply([uplink(1), uplink(2)]);
  await writeFile(pins.linkPath("from_wire-native-9"), ""); // of a device that is gone
  const again = await wire(pins, "auto");
  await again.made.replaceAll();
  t.deepEqual(again.tried.sort(), ["native 1", "native 2"]);
  t.deepEqual(await again.made.apply([uplink(1), uplink(2)]), []);
  t.is(again.tried.length, 2, "nothing is attached twice");
  t.deepEqual([...(await pins.linkNames())].sort(), ["from_wire-native-1", "from_wire-native-2"]);
  const generic = await wire(pins, "generic");
  await generic.made.replaceAll();
  await generic.made.apply([uplink(1)]);
  t.deepEqual([...(await pins.linkNames())], ["from_wire-generic-1"]);
  await (await wire(pins, "off")).made.replaceAll();
  t.deepEqual([...(await pins.linkNames())], []);
});

test("a device that is no uplink any more is let go; what somebody removed comes back", async (t) => {
  const pins = await pinsOf(t);
  const { made } = await wire(pins, "auto");
  await made.apply([uplink(1), uplink(2)]);
  await made.apply([uplink(1)]);
  t.deepEqual([...(await pins.linkNames())], ["from_wire-native-1"]);
  await rm(pins.linkPath("from_wire-native-1"));
  t.is(await made.verify(), 1);
  await made.apply([uplink(1)]);
  t.deepEqual([...(await pins.linkNames())], ["from_wire-native-1"]);
  t.is(await made.verify(), 0);
});
