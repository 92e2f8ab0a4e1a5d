import { readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import test, { type ExecutionContext } from "ava";
import { parseAddress } from "../../../src/model/ip.ts";
import {
  packIds,
  packRequests,
  packWatches,
  type ProbeAnswer,
  type ProbeRequest,
  readAnswers,
  readCounts,
  type Watch,
  type WatchCount,
} from "../../../src/native/probe-contract.ts";
import { native } from "../../support/native.ts";
import { type Netns, netns, pairOfNetns } from "../../support/netns.ts";

const port = 4240;
/** ms in which an answer is there, however busy the machine is. */
const patience = 10_000;

function bytesOf(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === null) throw new Error(`${text} is no address`);
  return address.bytes;
}

const request = (sequence: number, to: string, more: Partial<ProbeRequest> = {}): ProbeRequest => ({
  kind: "icmp",
  sequence,
  address: bytesOf(to),
  port: 0,
  size: 0,
  ifindex: 0,
  ...more,
});

/** A prober in a namespace: asks, and waits until each request has its answer or `ms` are over. */
function proberIn(t: ExecutionContext, space: Netns, listen = 0) {
  const answers = new Map<number, ProbeAnswer>();
  const handle = native.openProber(space.path, listen, (batch) => {
    for (const answer of readAnswers(batch)) answers.set(answer.sequence, { ...answer, from: answer.from.slice() });
  });
  t.teardown(() => native.closeProber(handle));
  return async (requests: readonly ProbeRequest[], ms = patience) => {
    native.probe(handle, packRequests(requests));
    const end = Date.now() + ms;
    while (Date.now() < end && !requests.every(({ sequence }) => answers.has(sequence)))
      await new Promise((resolve) => setTimeout(resolve, 5));
    return requests.map(({ sequence }) => answers.get(sequence));
  };
}

test("echo and TCP of both families are answered, with the time that they took", async (t) => {
  const { left, right } = await pairOfNetns(t);
  proberIn(t, right, port);
  const ask = proberIn(t, left);
  const answers = await ask([
    request(1, "192.0.2.2"),
    request(2, "2001:db8::2"),
    request(3, "192.0.2.2", { kind: "tcp", port }),
    request(4, "2001:db8::2", { kind: "tcp", port }),
    request(5, "192.0.2.2", { kind: "tcp", port: port + 1 }),
    request(6, "2001:db8::2", { size: 1500 }),
    request(7, "192.0.2.2", { size: 1500 }),
  ]);
  t.deepEqual(
    answers.map((answer) => answer?.event),
    ["reply", "reply", "accepted", "accepted", "refused", "reply", "reply"],
  );
  for (const answer of answers)
    t.true((answer?.rttUs ?? 0) > 0 && (answer?.rttUs ?? 0) < 5_000_000, String(answer?.rttUs));
  t.deepEqual([...(answers[0]?.from.subarray(0, 4) ?? [])], [192, 0, 2, 2]);
  t.deepEqual([...(answers[1]?.from ?? [])], [...bytesOf("2001:db8::2")]);
});

test("an address without anybody behind a host is told by that host, and one that drops by nobody", async (t) => {
  const { left, right } = await pairOfNetns(t);
  await right.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
  await right.ip("route add unreachable 10.9.0.0/24");
  await right.ip("-6 route add unreachable fd09::/64");
  await right.ip("route add blackhole 10.9.1.0/24");
  await left.ip("route add 10.9.0.0/16 via 192.0.2.2");
  await left.ip("-6 route add fd09::/64 via 2001:db8::2");
  const ask = proberIn(t, left);
  const [v4, v6] = await ask([request(1, "10.9.0.0"), request(2, "fd09::")]);
  t.deepEqual([v4?.event, v6?.event], ["unreachable", "unreachable"]);
  t.deepEqual([...(v4?.from.subarray(0, 4) ?? [])], [192, 0, 2, 2]);
  t.deepEqual([...(v6?.from ?? [])], [...bytesOf("2001:db8::2")]);
  t.deepEqual(await ask([request(3, "10.9.1.0")], 500), [undefined]);
});

test("what cannot be sent fails with the reason, at once", async (t) => {
  const { left } = await pairOfNetns(t);
  const ask = proberIn(t, left);
  const answers = await ask([
    request(1, "198.51.100.1"),
    request(2, "192.0.2.2", { size: 1501 }),
    request(3, "198.51.100.1", { kind: "tcp", port }),
  ]);
  t.deepEqual(
    answers.map((answer) => [answer?.event, answer?.value]),
    [
      ["failed", constants.errno.ENETUNREACH],
      ["failed", constants.errno.EMSGSIZE],
      ["failed", constants.errno.ENETUNREACH],
    ],
  );
});

test("a router whose next link takes less says how much", async (t) => {
  const { left, right } = await pairOfNetns(t);
  const far = await netns(t);
  await right.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
  await right.ip(`link add vc type veth peer name vd netns ${far.name}`);
  for (const [side, device, host] of [
    [right, "vc", 1],
    [far, "vd", 2],
  ] as const) {
    await side.ip(`addr add 198.51.100.${host}/24 dev ${device}`);
    await side.ip(`addr add 2001:db8:1::${host}/64 dev ${device} nodad`);
    await side.ip(`link set ${device} mtu 1400 up`);
  }
  await left.ip("route add 198.51.100.0/24 via 192.0.2.2");
  await left.ip("-6 route add 2001:db8:1::/64 via 2001:db8::2");
  await far.ip("route add default via 198.51.100.1");
  await far.ip("-6 route add default via 2001:db8:1::1");
  const ask = proberIn(t, left);
  const large = { size: 1500 };
  const answers = await ask([
    request(1, "198.51.100.2", large),
    request(2, "2001:db8:1::2", large),
    request(3, "198.51.100.2", { size: 1400 }),
    request(4, "2001:db8:1::2", { size: 1400 }),
    // What the router said before is not believed: it is asked again.
    request(5, "198.51.100.2", large),
  ]);
  t.deepEqual(
    answers.map((answer) => [answer?.event, answer?.value]),
    [
      ["too_large", 1400],
      ["too_large", 1400],
      ["reply", 0],
      ["reply", 0],
      ["too_large", 1400],
    ],
  );
});

test("a probe leaves by the device that it names, of a route with several", async (t) => {
  const { left, right } = await pairOfNetns(t);
  await left.ip(`link add vx type veth peer name vy netns ${right.name}`);
  await left.ip("addr add 198.51.100.1/24 dev vx");
  await right.ip("addr add 198.51.100.2/24 dev vy");
  await left.ip("link set vx up");
  await right.ip("link set vy up");
  await right.ip("addr add 203.0.113.1/32 dev lo");
  await left.exec(
    "ip",
    ..."route add 203.0.113.1/32 nexthop via 192.0.2.2 dev va nexthop via 198.51.100.2 dev vx".split(" "),
  );
  await right.exec("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
  const ask = proberIn(t, left);
  const [va, vx] = [await left.index("va"), await left.index("vx")];
  const both = (from: number) => [
    request(from, "203.0.113.1", { ifindex: va }),
    request(from + 1, "203.0.113.1", { ifindex: vx }),
  ];
  t.deepEqual(
    (await ask(both(1))).map((answer) => answer?.event),
    ["reply", "reply"],
  );
  await right.exec("/usr/sbin/nft", "add table ip lost");
  await right.exec("/usr/sbin/nft", "add chain ip lost in { type filter hook prerouting priority -300 ; }");
  await right.exec("/usr/sbin/nft", "add rule ip lost in iifname vy drop");
  t.deepEqual(
    (await ask(both(3), 700)).map((answer) => answer?.event),
    ["reply", undefined],
  );
});

test("a port that somebody has is refused, and nothing of the prober is left", async (t) => {
  const { left } = await pairOfNetns(t);
  proberIn(t, left, port);
  t.throws(() => native.openProber(left.path, port, () => undefined), { message: /port 4240/, code: "EADDRINUSE" });
  t.throws(() => native.probe(999_999, packRequests([])), { code: "EBADF" });
  const ask = proberIn(t, left);
  const broken = Buffer.concat([packRequests([request(1, "192.0.2.2")]), Buffer.alloc(1)]);
  const handle = native.openProber(left.path, 0, () => undefined);
  t.throws(() => native.probe(handle, broken), { code: "EINVAL" });
  await native.closeProber(handle);
  t.is((await ask([request(1, "192.0.2.2")]))[0]?.event, "reply");
});

const watch = (id: number, to: string, more: Partial<Watch> = {}): Watch => ({
  ...{ id, kind: "icmp", address: bytesOf(to), port: 0, ifindex: 0, event: "reply", from: padded(to) },
  ...{ intervalMs: 100, large: null, ...more },
});

function padded(text: string): Uint8Array {
  const from = new Uint8Array(16);
  from.set(bytesOf(text));
  return from;
}

test("watched paths are asked without a word until one answers otherwise or not, of both families, ICMP and TCP", async (t) => {
  const { left, right } = await pairOfNetns(t);
  const nft = (line: string) => right.exec("/usr/sbin/nft", ...line.split(" "));
  proberIn(t, right, port);
  // Only paths that answer are watched: a link that has just come up takes a second for IPv6.
  await proberIn(t, left)([request(1, "192.0.2.2"), request(2, "2001:db8::2")]);
  const told: ProbeAnswer[] = [];
  const handle = native.openProber(left.path, 0, (batch) => {
    told.push(...readAnswers(batch));
  });
  t.teardown(() => native.closeProber(handle));
  const tcp = { kind: "tcp", port, event: "accepted", from: new Uint8Array(16) } as const;
  const watches = [
    watch(1, "192.0.2.2", { large: { bytes: 1500, intervalMs: 1_500, firstMs: 1_500 } }),
    watch(2, "2001:db8::2"),
    watch(3, "192.0.2.2", tcp),
    watch(4, "2001:db8::2", tcp),
  ];
  native.watchPaths(handle, packWatches(watches));
  const seen = new Map<number, WatchCount>();
  const until = async (what: string, isSo: () => boolean) => {
    const end = Date.now() + patience;
    while (!isSo()) {
      if (Date.now() > end) throw new Error(`${what}: ${JSON.stringify([told, [...seen]])}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  await until("all answer", () => {
    for (const count of readCounts(native.countWatches(handle)))
      if (count.timesUs.length > 0) seen.set(count.id, count);
    return seen.size === 4;
  });
  for (const { sent, answeredAgoMs, timesUs } of seen.values()) {
    t.true(sent > 0 && (answeredAgoMs ?? 60_000) < 10_000, `${sent} ${answeredAgoMs}`);
    t.true(timesUs.every((us) => us > 0 && us < 5_000_000));
  }
  t.deepEqual(told, []);

  // The large packets alone, then IPv6, then what TCP says.
  await nft("add table inet lost");
  await nft("add chain inet lost in { type filter hook prerouting priority -300 ; }");
  await nft("add rule inet lost in meta length > 1400 drop");
  await until("the large packet is told", () => told.length === 1);
  t.like(told[0], { watch: 1, event: "silent", large: true });
  await nft("add rule inet lost in icmpv6 type echo-request drop");
  await until("silence is told", () => told.length === 2);
  t.like(told[1], { watch: 2, event: "silent", large: false });
  await nft("add chain inet lost refuse { type filter hook input priority 0 ; }");
  await nft("add rule inet lost refuse ip daddr 192.0.2.2 tcp dport 4240 reject with tcp reset");
  await until("refusal is told", () => told.length === 3);
  t.like(told[2], { watch: 3, event: "refused", large: false });
  // Who has ended is asked no more, and known until taken away; who has not goes on.
  native.countWatches(handle);
  await until("the last one is asked on", () => {
    const counts = new Map(readCounts(native.countWatches(handle)).map((count) => [count.id, count.sent]));
    for (const id of [1, 2, 3]) t.is(counts.get(id), 0);
    return (counts.get(4) ?? 0) > 0;
  });
  t.deepEqual(
    readCounts(native.unwatchPaths(handle, packIds([1, 3, 77]))).map(({ id }) => id),
    [1, 3],
  );
  t.deepEqual(readCounts(native.unwatchPaths(handle, packIds([1]))), []);

  // Of one that is known only the pace is taken.
  native.watchPaths(handle, packWatches([watch(4, "192.0.2.77", { ...tcp, intervalMs: 3_600_000 })]));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  native.countWatches(handle);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  t.deepEqual(
    readCounts(native.countWatches(handle))
      .map(({ id, sent }) => [id, sent])
      .sort(),
    [
      [2, 0],
      [4, 0],
    ],
  );
  t.is(told.length, 3);
  t.throws(() => native.watchPaths(handle, Buffer.alloc(55)), { code: "EINVAL" });
  t.throws(() => native.watchPaths(handle, Buffer.alloc(56)), { code: "EINVAL" });
  t.throws(() => native.unwatchPaths(handle, Buffer.alloc(3)), { code: "EINVAL" });
});

// Alone: it counts what wakes the only prober of this process.
test.serial("answers to other processes do not wake the prober", async (t) => {
  const { left, right } = await pairOfNetns(t);
  await right.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0");
  await right.ip("route add unreachable 10.9.0.0/24");
  await left.ip("route add 10.9.0.0/16 via 192.0.2.2");
  const ask = proberIn(t, left);
  t.deepEqual(
    (await ask([request(1, "192.0.2.2"), request(2, "10.9.0.1")])).map((answer) => answer?.event),
    ["reply", "unreachable"],
  );
  const wakes = () => {
    const files = readdirSync("/proc/self/task").map((id) => readFileSync(`/proc/self/task/${id}/status`, "utf8"));
    const [own, ...others] = files.filter((text) => /^Name:\ttandem-prober$/m.test(text));
    t.is(others.length, 0);
    return Number(/^voluntary_ctxt_switches:\t(\d+)$/m.exec(own ?? "")?.[1]);
  };
  const before = wakes();
  for (const [to, answered] of [
    ["192.0.2.2", true],
    ["2001:db8::2", true],
    ["10.9.0.1", false],
  ] as const) {
    const text = await left.exec("sh", "-c", `ping -n -c 60 -i 0.002 -W 1 ${to} || true`);
    t.regex(text, answered ? / 60 received/ : /errors/);
  }
  const after = wakes();
  t.true(after - before < 40, `180 answers, ${after - before} wakes`);
});
