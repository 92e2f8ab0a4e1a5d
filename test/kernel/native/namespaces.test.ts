import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import test from "ava";
import { bpffs, compile, eventually, failureOf, native, programOf } from "../../support/native.ts";
import { netns, pairOfNetns } from "../../support/netns.ts";

/** The network namespace of each thread of this process. */
function namespacesOfThreads(): ReadonlySet<string> {
  return new Set(
    readdirSync("/proc/self/task").flatMap((thread) => {
      try {
        return [readlinkSync(`/proc/self/task/${thread}/ns/net`)];
      } catch {
        return []; // it ended meanwhile
      }
    }),
  );
}

/** Descriptors of this process, by what they are, without numbers. */
function descriptors(): readonly string[] {
  return readdirSync("/proc/self/fd")
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, "N")];
      } catch {
        return [];
      }
    })
    .sort();
}

const everything = { family: null, table: null, protocol: null };

test.serial(
  "hundreds of calls at once into several namespaces leave every thread in its own, and each gets its answer",
  async (t) => {
    const own = readlinkSync("/proc/self/ns/net");
    const spaces = [await netns(t), await netns(t), await netns(t)];
    for (const [at, ns] of spaces.entries()) await ns.ip(`addr add 10.77.${at}.1/32 dev lo`);
    const cookies = await Promise.all(
      [null, ...spaces.map(({ path }) => path)].map((path) => native.netnsCookie(path)),
    );
    t.is(new Set(cookies).size, 4);
    t.true(cookies.every((cookie) => typeof cookie === "bigint" && cookie > 0n));
    const calls = Array.from({ length: 400 }, async (_, i) => {
      const at = i % 3;
      const ns = spaces[at];
      if (ns === undefined) return;
      t.true((await native.addresses(ns.path)).some(({ address }) => address.equals(Buffer.from([10, 77, at, 1]))));
      t.is(await native.netnsCookie(ns.path), cookies[at + 1] as bigint);
      t.is(await native.netnsCookie(null), cookies[0] as bigint);
      await failureOf(t, () => native.links("/run/netns/tandem-none"));
      t.is(readlinkSync("/proc/self/ns/net"), own, "JavaScript's thread");
    });
    await Promise.all(calls);
    // threads that are inside of a namespace at this moment are the calls' own, never one of the pool or JavaScript's
    t.is(readlinkSync("/proc/self/ns/net"), own);
    t.deepEqual([...namespacesOfThreads()], [own]);
  },
);

test.serial("no call leaks a descriptor, whether it succeeds or fails", async (t) => {
  const { left, right } = await pairOfNetns(t);
  const path = await compile(
    t,
    `struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
     SEC("tc") int pass(struct __sk_buff *skb) { __u32 x = 0; return bpf_ringbuf_output(&ring, &x, 4, 0); }
     SEC("cgroup/connect4") int permit(struct bpf_sock_addr *ctx) { return 1; }`,
  );
  const pins = await bpffs(t);
  const options = { path, pinPath: null, rodata: [], maxEntries: [], skipPrograms: [], reuseMaps: [] };
  const device = { index: await right.index("vb"), netns: right.path };
  const fails = (work: () => unknown) => failureOf(t, work);
  const round = async () => {
    const loaded = await native.loadObject(options);
    const program = programOf(loaded, "pass");
    const pin = `${pins}/link`;
    for (let i = 0; i < 2; i++) await native.attachTc(program, device, "ingress", "tcx", pin);
    await native.detachTc(device, "ingress", "tcx", pin);
    for (let i = 0; i < 2; i++) await native.attachTc(program, device, "egress", "tcx", null);
    await native.detachTc(device, "egress", "tcx", null);
    await native.attachTc(program, device, "ingress", "clsact", null);
    await native.detachTc(device, "ingress", "clsact", null);
    await native.testRun(program, Buffer.alloc(64), null, 1);
    const map = loaded.maps[0];
    const ring = native.openRing(map?.handle ?? 0, 4, 1, () => undefined);
    await native.closeRing(ring);
    native.closeObject(loaded.object);
    await native.closeMonitor(native.openMonitor(right.path, ["link"], () => undefined));
    await native.routes(left.path, everything);
    await native.links(null);
    await native.probeFeatures();
    await native.writeSysctls(left.path, [{ name: "net.ipv4.ip_forward", value: "1" }]);
    await native.createVeth(left.path, {
      name: "tandem-x",
      peerName: "y",
      peerNetns: right.path,
      mtu: 1500,
      mac: null,
      peerMac: null,
      alias: "",
    });
    await left.ip("link del tandem-x");
    const socket = await native.openSocket(left.path, {
      type: "udp",
      address: Buffer.alloc(4),
      port: 0,
      transparent: true,
      mark: 1,
      reusePort: true,
      listen: null,
    });
    native.closeFd(socket.fd);

    await fails(() => native.loadObject({ ...options, path: "/nowhere" }));
    await fails(() => native.loadObject({ ...options, rodata: [{ variable: "x", bytes: Buffer.alloc(1) }] }));
    await fails(() => native.attachTc(program, device, "ingress", "tcx", null));
    await fails(() => native.openPinnedMap("/nowhere"));
    await fails(() => native.openRing(0, 4, 1, () => undefined));
    await fails(() => native.openMonitor("/run/netns/tandem-none", ["link"], () => undefined));
    await fails(() =>
      native.createVeth(left.path, {
        name: "lo",
        peerName: "y",
        peerNetns: right.path,
        mtu: 1500,
        mac: null,
        peerMac: null,
        alias: "",
      }),
    );
    await fails(() =>
      native.openSocket(left.path, {
        type: "tcp",
        address: Buffer.from([203, 0, 113, 1]),
        port: 1,
        transparent: false,
        mark: null,
        reusePort: false,
        listen: 1,
      }),
    );
  };
  for (let i = 0; i < 3; i++) await round(); // pools and caches are filled now
  await eventually(() => readdirSync("/proc/self/task").length < 60);
  const before = descriptors();
  const threads = readdirSync("/proc/self/task").length;
  for (let i = 0; i < 20; i++) await round();
  t.deepEqual(descriptors(), before);
  await eventually(() => readdirSync("/proc/self/task").length <= threads);
  t.pass();
});

test("sysctls are written in their namespace only; one that is not there or a value that it refuses is told by its path", async (t) => {
  const [ns, other] = [await netns(t), await netns(t)];
  const read = (space: typeof ns, name: string) => space.exec("cat", `/proc/sys/${name}`).then((text) => text.trim());
  const before = readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8");
  await ns.ip("link add name tandem.dot type bridge");
  await native.writeSysctls(ns.path, [
    { name: "net.ipv4.ip_forward", value: "1" },
    { name: "net/ipv4/conf/tandem.dot/rp_filter", value: "2" },
  ]);
  t.is(await read(ns, "net/ipv4/ip_forward"), "1");
  t.is(await read(ns, "net/ipv4/conf/tandem.dot/rp_filter"), "2");
  t.is(await read(other, "net/ipv4/ip_forward"), "0");
  t.is(readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8"), before);
  const missing = await failureOf(t, () => native.writeSysctls(ns.path, [{ name: "net.ipv4.none", value: "1" }]));
  t.is(missing.message, "open sysctl /proc/sys/net/ipv4/none: ENOENT (No such file or directory)");
  const refused = await failureOf(t, () =>
    native.writeSysctls(ns.path, [{ name: "net.ipv4.ip_forward", value: randomUUID() }]),
  );
  t.regex(refused.message, /^write .* to sysctl \/proc\/sys\/net\/ipv4\/ip_forward: EINVAL/);
});

test("what is no network namespace is refused by its path", async (t) => {
  for (const path of [
    "/run/netns/tandem-none",
    "/proc/version",
    "/proc/self/ns/uts",
    "/proc/999999999/ns/net",
    "/tmp",
  ]) {
    const failure = await failureOf(t, () => native.links(path));
    t.true(
      failure.message.startsWith(`open network namespace ${path}: `) ||
        failure.message.startsWith(`enter network namespace ${path}: `),
      failure.message,
    );
    t.is(failure.object, path);
  }
  t.deepEqual(
    (await native.links("/proc/self/ns/net")).map(({ name }) => name),
    (await native.links(null)).map(({ name }) => name),
  );
});
