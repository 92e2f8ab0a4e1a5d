import test from "ava";
import { Conntrack } from "../../../src/datapath/conntrack.ts";
import { decodeEvent } from "../../../src/datapath/events.ts";
import { chooseCapabilities } from "../../../src/datapath/features.ts";
import { layoutDifference } from "../../../src/datapath/layout-check.ts";
import { ReadyWaiters } from "../../../src/datapath/ready-waiters.ts";
import { mayTakeAway } from "../../../src/datapath/stale-verdicts.ts";
import { readLostEvents, readTraffic } from "../../../src/datapath/traffic.ts";
import { TandemError } from "../../../src/lib/errors.ts";
import { toMappedBytes } from "../../../src/model/ip.ts";
import type { Features } from "../../../src/native/bpf-contract.ts";
import {
  affinity,
  CtFlags,
  type CtEntry,
  ct4Key,
  ct6Key,
  ctEntry,
  Direction,
  EventFlags,
  EventType,
  event,
  mapLayouts,
  metricsValue,
} from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { address, direction, openDirection, set } from "./world.ts";

function features(...missing: readonly string[]): Features {
  const names = [
    "tcx",
    "btf",
    "redirect_peer",
    "redirect_neigh",
    "fib_lookup",
    "ringbuf",
    "lru_hash",
    "lpm_trie",
    "cgroup_getpeername",
    "sk_assign",
    "kernel_conntrack",
  ];
  return Object.fromEntries(names.map((name) => [name, { supported: !missing.includes(name), detail: "EINVAL" }]));
}

const usual = { tcMode: "auto", proxyRedirect: "auto", kernelFlows: "auto" } as const;

test("a kernel without TCX or redirect_peer gets the other way; a setting is obeyed", (t) => {
  t.like(chooseCapabilities(features(), usual), {
    mode: "tcx",
    redirectPeer: true,
    peerNames: true,
  });
  t.like(chooseCapabilities(features("tcx", "redirect_peer"), usual), {
    mode: "clsact",
    redirectPeer: false,
  });
  t.like(chooseCapabilities(features(), { ...usual, tcMode: "clsact" }), { mode: "clsact" });
});

test("packets come to the proxy by bpf_sk_assign where there is one, else by nft; a setting is obeyed", (t) => {
  const choose = (proxyRedirect: "auto" | "assign" | "tproxy", ...missing: readonly string[]) =>
    chooseCapabilities(features(...missing), { ...usual, proxyRedirect });
  t.like(choose("auto"), { redirect: "assign", redirectWhy: "" });
  t.like(choose("auto", "sk_assign"), { redirect: "tproxy", redirectWhy: "bpf_sk_assign is missing: EINVAL" });
  t.like(choose("tproxy"), { redirect: "tproxy", redirectWhy: "setting proxyRedirect" });
  t.like(choose("assign"), { redirect: "assign" });
  const refused = t.throws(() => choose("assign", "sk_assign"), { instanceOf: TandemError });
  t.regex(refused?.message ?? "", /bpf_sk_assign.*Linux 5\.7/);
  t.regex(refused?.remedy ?? "", /proxyRedirect to auto or tproxy/);
});

test("connections of others are asked of the kernel where programs can, else copied; a setting is obeyed", (t) => {
  t.true(chooseCapabilities(features(), usual).kernelConntrack);
  t.false(chooseCapabilities(features("kernel_conntrack"), usual).kernelConntrack);
  t.false(chooseCapabilities(features(), { ...usual, kernelFlows: "copy" }).kernelConntrack);
});

test("what is missing is named with the least kernel and a remedy", (t) => {
  const ring = t.throws(() => chooseCapabilities(features("ringbuf"), usual), {
    instanceOf: TandemError,
  });
  t.is(ring?.code, "KERNEL_FEATURE_MISSING");
  t.regex(ring?.message ?? "", /ring buffers.*EINVAL.*Linux 5\.8/);
  const types = t.throws(() => chooseCapabilities(features("btf"), usual), {
    instanceOf: TandemError,
  });
  t.regex(types?.message ?? "", /CONFIG_DEBUG_INFO_BTF/);
  const tcx = t.throws(() => chooseCapabilities(features("tcx"), { ...usual, tcMode: "tcx" }), {
    instanceOf: TandemError,
  });
  t.regex(tcx?.message ?? "", /TCX.*6\.6/);
  t.regex(tcx?.remedy ?? "", /auto or clsact/);
});

test("a layout differs by sizes, names, places or order", (t) => {
  const { layout } = mapLayouts.ipcache4;
  const { keyType, valueType, members } = layout;
  const kernel = new FakeKernel();
  const info = kernel.map("ipcache4");
  t.is(layoutDifference(layout, info, { keyType, valueType, members }), null);
  t.is(layoutDifference(layout, info, null), null, "a kernel without BTF tells sizes only");
  t.is(
    layoutDifference(layout, { ...info, maxEntries: 5 }, { keyType, valueType, members }),
    null,
    "its size is a choice",
  );
  t.regex(layoutDifference(layout, { ...info, valueSize: 12 }, null) ?? "", /bytes of a value: 12/);
  t.regex(layoutDifference(layout, { ...info, type: 9 }, null) ?? "", /type: 9/);
  t.regex(layoutDifference(layout, info, { keyType, valueType: "other", members }) ?? "", /value: other/);
  t.regex(
    layoutDifference(layout, info, { keyType, valueType, members: [...members].reverse() }) ?? "",
    /needs key\.address/,
  );
  t.regex(
    layoutDifference(layout, info, { keyType, valueType, members: members.slice(1) }) ?? "",
    /needs key\.address/,
  );
});

test("only what can take away makes verdicts stale", (t) => {
  const change = (before: number, after: number) => [{ before, after }];
  const allows = set("a", direction([1, 2]));
  t.true(mayTakeAway(allows, change(1, 5)), "the allowed one is another now");
  t.true(mayTakeAway(allows, change(1, 2)), "another group allows the new one, perhaps on other ports");
  t.false(mayTakeAway(allows, change(5, 1)), "it may only have gained");
  t.false(mayTakeAway(allows, change(5, 6)));
  const denies = set("d", direction([1], [9]));
  t.true(mayTakeAway(denies, change(5, 9)));
  t.false(mayTakeAway(denies, change(9, 5)), "what was denied has no verdict that is kept");
  t.true(mayTakeAway(set("egress", openDirection, direction([1])), change(1, 5)), "of either direction");
  const outside = set("o", { ...direction([1]), outsideOnly: [0] });
  t.true(mayTakeAway(outside, change(9, 3)), "an address that came into the cluster");
  t.false(mayTakeAway(outside, change(3, 4)));
  t.false(mayTakeAway(set("none", openDirection), change(1, 2)));
});

test("an event is decoded with the rules behind its group", (t) => {
  const record = event.encode({
    time: 12_345_678_901n,
    type: EventType.drop,
    reason: 2,
    direction: Direction.ingress,
    protocol: 6,
    flags: EventFlags.reply | EventFlags.audit,
    group: 3,
    sourceIdentity: 1001,
    destinationIdentity: 1002,
    source: toMappedBytes(address("10.9.0.1")),
    destination: toMappedBytes(address("fd00:9::2")),
    sourcePort: 40_000,
    destinationPort: 80,
    ifindex: 7,
    endpoint: 2,
    policySet: 5,
    length: 60,
  });
  const asked: unknown[] = [];
  const decoded = decodeEvent(Buffer.concat([Buffer.alloc(8), record]), 8, (...what) => {
    asked.push(what);
    return ["NetworkPolicy shop/db ingress[0]"];
  });
  t.deepEqual(asked, [[5, "ingress", 3]]);
  t.like(decoded, {
    timeNs: 12_345_678_901n,
    type: "drop",
    reason: 2,
    direction: "ingress",
    allowed: false,
    audit: true,
    reply: true,
    endpoint: 2,
    length: 60,
    rules: ["NetworkPolicy shop/db ingress[0]"],
  });
  t.is(`${decoded.source.address.text} ${decoded.destination.address.text}`, "10.9.0.1 fd00:9::2");
});

function entry(change: Partial<CtEntry>): Buffer {
  return ctEntry.encode({
    lastUsed: 100,
    created: 90,
    egressRevision: 0,
    ingressRevision: 0,
    flags: 0,
    natPort: 0,
    natId: 0,
    natAddress: new Uint8Array(16),
    ...change,
  });
}

function conntrack(kernel: FakeKernel): Conntrack {
  const native = { ...kernel.native, sweepConntrack: async () => ({ seen: 5, deleted: 2 }) };
  const timeouts = {
    tcpOpening: 1,
    tcpEstablished: 1,
    tcpClosing: 1,
    udpUnreplied: 1,
    udpReplied: 1,
    icmp: 1,
    other: 1,
    service: 1,
  };
  const maps = { ct4: kernel.map("ct4"), ct6: kernel.map("ct6"), affinity: kernel.map("affinity") };
  return new Conntrack(native, maps, timeouts, () => 110);
}

test("flows are told as their initiator opened them, with their state and translation", async (t) => {
  const kernel = new FakeKernel();
  const key = { lowAddress: 0x0a090001, highAddress: 0x0a090002, lowPort: 80, highPort: 40_000, protocol: 6 };
  kernel.set("ct4", ct4Key.encode(key), entry({ flags: CtFlags.established | CtFlags.replied, egressRevision: 3 }));
  kernel.set(
    "ct4",
    ct4Key.encode({ ...key, protocol: 17 }),
    entry({
      flags: CtFlags.initiatorLow | CtFlags.service,
      natPort: 8080,
      natAddress: toMappedBytes(address("10.9.0.7")),
      created: 200,
    }),
  );
  kernel.set(
    "ct6",
    ct6Key.encode({
      lowAddress: address("fd00::1").bytes,
      highAddress: address("fd00::2").bytes,
      lowPort: 1,
      highPort: 2,
      protocol: 6,
    }),
    entry({ flags: CtFlags.finInitiator | CtFlags.finResponder | CtFlags.initiatorLow }),
  );
  const flows = (await conntrack(kernel).flows()).map(({ source, destination, nat, ...rest }) => ({
    ...rest,
    source: `${source.address.text} ${source.port}`,
    destination: `${destination.address.text} ${destination.port}`,
    nat: nat && `${nat.address.text} ${nat.port}`,
  }));
  t.deepEqual(flows, [
    {
      family: 4,
      protocol: 6,
      source: "10.9.0.2 40000",
      destination: "10.9.0.1 80",
      state: "established",
      idleSeconds: 10,
      ageSeconds: 20,
      nat: null,
      egressRevision: 3,
      ingressRevision: 0,
    },
    {
      family: 4,
      protocol: 17,
      source: "10.9.0.1 80",
      destination: "10.9.0.2 40000",
      state: "service",
      idleSeconds: 10,
      ageSeconds: 0,
      nat: "10.9.0.7 8080",
      egressRevision: 0,
      ingressRevision: 0,
    },
    {
      family: 6,
      protocol: 6,
      source: "fd00::1 1",
      destination: "fd00::2 2",
      state: "closing",
      idleSeconds: 10,
      ageSeconds: 20,
      nat: null,
      egressRevision: 0,
      ingressRevision: 0,
    },
  ]);
});

test("the highest revision and table that flows and clients remember", async (t) => {
  const kernel = new FakeKernel();
  const key = { lowAddress: 1, highAddress: 2, lowPort: 80, highPort: 40_000, protocol: 6 };
  kernel.set("ct4", ct4Key.encode(key), entry({ egressRevision: 3, ingressRevision: 8, natId: 4 }));
  kernel.set("ct4", ct4Key.encode({ ...key, lowPort: 81 }), entry({ egressRevision: 9 }));
  t.deepEqual(await conntrack(kernel).highest(), { revision: 9, table: 4 });
  const kept = { address: new Uint8Array(16), port: 1, service: 12, lastUsed: 1 };
  kernel.set("affinity", Buffer.alloc(36), affinity.encode(kept));
  t.deepEqual(await conntrack(kernel).highest(), { revision: 9, table: 12 });
});

test("a sweep tells how many entries are left", async (t) => {
  const made = conntrack(new FakeKernel());
  await made.sweep();
  t.deepEqual(
    [...made.entries],
    [
      ["ct4", 3],
      ["ct6", 3],
    ],
  );
});

test("traffic is the sum of all CPUs, without what counted nothing", (t) => {
  const kernel = new FakeKernel();
  const counts = (...packets: readonly bigint[]) =>
    Buffer.concat(packets.map((each) => metricsValue.encode({ packets: each, bytes: each * 100n })));
  const index = (number: number) => Buffer.from(Uint32Array.of(number).buffer);
  kernel.set("metrics", index(1), counts(2n, 3n));
  kernel.set("metrics", index(2), counts(0n, 7n));
  kernel.set("metrics", index(3), counts(0n, 0n));
  t.deepEqual(readTraffic(kernel.native, kernel.map("metrics")), [
    { reason: 0, direction: "ingress", packets: 5, bytes: 500 },
    { reason: 1, direction: "egress", packets: 7, bytes: 700 },
  ]);
  kernel.set("events_lost", index(0), Buffer.from(BigUint64Array.of(4n, 5n).buffer));
  t.is(readLostEvents(kernel.native, kernel.map("events_lost")), 9);
});

test("waiters are let go when it is so, and when their signal says so", async (t) => {
  const waiters = new ReadyWaiters();
  let ready = false;
  const signal = new AbortController();
  const first = waiters.wait(async () => ready, new AbortController().signal);
  const second = waiters.wait(async () => false, signal.signal);
  await waiters.wake();
  ready = true;
  await waiters.wake();
  await first;
  signal.abort(new Error("gone"));
  await t.throwsAsync(second, { message: "gone" });
  await t.throwsAsync(
    waiters.wait(async () => true, AbortSignal.abort(new Error("before"))),
    { message: "before" },
  );
  await waiters.wait(async () => true, new AbortController().signal);
  await t.throwsAsync(
    waiters.wait(async () => {
      throw new Error("cannot look");
    }, new AbortController().signal),
    { message: "cannot look" },
  );
});
