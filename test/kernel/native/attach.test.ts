import { existsSync } from "node:fs";
import { mkdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { bpffs, cgroup, compile, eventually, failureOf, load, mapOf, native, programOf } from "../../support/native.ts";
import { type Netns, netns, pairOfNetns } from "../../support/netns.ts";

// One counter per program: whichever runs counts a packet, so none uncounted means none slipped through between them. Only IPv4 is
// counted: the kernel sends IPv6 neighbour and multicast messages on a new device whenever it likes.
const source = `
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } seen SEC(".maps");
static __always_inline int hit(__u32 at, int result)
{
	__u64 *count = bpf_map_lookup_elem(&seen, &at);
	if (count)
		__sync_fetch_and_add(count, 1);
	return result;
}
static __always_inline int is_ipv4(struct __sk_buff *skb) { return skb->protocol == __builtin_bswap16(0x0800); }
SEC("tc") int first(struct __sk_buff *skb) { return is_ipv4(skb) ? hit(0, 0) : 0; }
SEC("tc") int second(struct __sk_buff *skb) { return is_ipv4(skb) ? hit(1, 0) : 0; }
SEC("xdp") int from_wire(struct xdp_md *ctx) { return hit(2, XDP_PASS); }
SEC("cgroup/connect4") int refuse(struct bpf_sock_addr *ctx) { return hit(3, 0); }
SEC("cgroup/connect4") int permit(struct bpf_sock_addr *ctx) { return hit(3, 1); }
`;

async function setUp(t: ExecutionContext) {
  const loaded = await load(t, await compile(t, source));
  const seen = mapOf(loaded, "seen").handle;
  const counter = (at: number) => {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(at);
    return Number(native.mapLookup(seen, key)?.readBigUInt64LE() ?? 0);
  };
  return { program: (name: string) => programOf(loaded, name), counter, pins: await bpffs(t) };
}

function ping(from: Netns, count: number, intervalSeconds: string): Promise<string> {
  return from.exec("ping", "-n", "-q", "-c", String(count), "-i", intervalSeconds, "192.0.2.2");
}

test("a TCX program is replaced through its pinned link while packets run, and none is lost or goes by unseen", async (t) => {
  const { program, counter, pins } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const device = { index: await right.index("vb"), netns: right.path };
  const pin = join(pins, "from_pod_b");
  const attach = (name: string) => native.attachTc(program(name), device, "ingress", "tcx", pin);

  t.is(await attach("first"), "attached");
  t.true(existsSync(pin));
  await ping(left, 1, "1"); // neighbours are known now
  const before = counter(0) + counter(1);
  const pings = ping(left, 300, "0.004");
  let replaced = 0;
  let running = true;
  void pings.finally(() => {
    running = false;
  });
  for (; running; replaced++) t.is(await attach(replaced % 2 ? "first" : "second"), "updated");
  t.regex(await pings, /300 packets transmitted, 300 received/);
  t.log(`${replaced} replacements during 300 packets`);
  t.true(replaced > 10);
  t.true(counter(0) + counter(1) - before >= 300);
  t.true(counter(0) > 0 && counter(1) > 0);

  await native.detachTc(device, "ingress", "tcx", pin);
  t.false(existsSync(pin));
  const after = counter(0) + counter(1);
  await ping(left, 3, "0.01");
  t.is(counter(0) + counter(1), after, "detached");
  await native.detachTc(device, "ingress", "tcx", pin); // again: not an error
});

test("a pin whose device is gone, or is another one, is replaced by a link to the device that was asked for", async (t) => {
  const { program, counter, pins } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const pin = join(pins, "from_pod_b");
  const attach = async (device: string, name: string) =>
    native.attachTc(program(name), { index: await right.index(device), netns: right.path }, "ingress", "tcx", pin);
  await right.ip("link add other type veth peer name otherpeer");
  t.is(await attach("other", "first"), "attached");
  t.is(await attach("vb", "first"), "attached", "another device");
  await ping(left, 2, "0.01");
  t.true(counter(0) >= 2);
  await right.ip("link del vb");
  await right.ip("link add vb type veth peer name vc");
  t.is(await attach("vb", "first"), "attached", "a new device of the same name");
  t.is(await attach("vb", "second"), "updated");
  // and a pin for another hook is not taken for this one
  t.is(
    await native.attachTc(
      program("first"),
      { index: await right.index("vb"), netns: right.path },
      "egress",
      "tcx",
      pin,
    ),
    "attached",
  );
});

test("without a pin a TCX link is replaced by the next attach and removed by detach", async (t) => {
  const { program, counter } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const device = { index: await right.index("vb"), netns: right.path };
  t.is(await native.attachTc(program("first"), device, "ingress", "tcx", null), "attached");
  t.is(await native.attachTc(program("second"), device, "ingress", "tcx", null), "updated");
  await ping(left, 2, "0.01");
  t.is(counter(0), 0);
  t.true(counter(1) >= 2);
  await native.detachTc(device, "ingress", "tcx", null);
  const after = counter(1);
  await ping(left, 2, "0.01");
  t.is(counter(1), after);
});

test("clsact: a filter is attached, replaced in place while packets run, and removed; both directions are apart", async (t) => {
  const { program, counter } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const device = { index: await right.index("vb"), netns: right.path };
  const attach = (name: string) => native.attachTc(program(name), device, "ingress", "clsact", null);
  t.is(await attach("first"), "attached");
  t.regex(
    await right.exec("tc", "filter", "show", "dev", "vb", "ingress"),
    /pref 1 bpf .*handle 0x1 first direct-action/,
  );
  t.is(await right.exec("tc", "filter", "show", "dev", "vb", "egress"), "");
  await ping(left, 1, "1");
  const before = counter(0) + counter(1);
  const pings = ping(left, 200, "0.004");
  let running = true;
  void pings.finally(() => {
    running = false;
  });
  for (let i = 0; running; i++) t.is(await attach(i % 2 ? "first" : "second"), "updated");
  t.regex(await pings, /200 packets transmitted, 200 received/);
  t.true(counter(0) + counter(1) - before >= 200);
  t.is(await native.attachTc(program("second"), device, "egress", "clsact", null), "attached");
  await native.detachTc(device, "ingress", "clsact", null);
  await native.detachTc(device, "ingress", "clsact", null); // again: not an error
  t.is(await right.exec("tc", "filter", "show", "dev", "vb", "ingress"), "");
  t.regex(await right.exec("tc", "filter", "show", "dev", "vb", "egress"), /second direct-action/);
});

test("XDP is attached native and generic, updated through its pin and removed by unpin", async (t) => {
  const { program, counter, pins } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const device = { index: await right.index("vb"), netns: right.path };
  for (const mode of ["native", "generic"] as const) {
    const pin = join(pins, `from_wire_${mode}`);
    t.is(await native.attachXdp(program("from_wire"), device, mode, pin), "attached");
    t.is(await native.attachXdp(program("from_wire"), device, mode, pin), "updated");
    const [link] = await right.ipJson("link show dev vb");
    t.is((link?.xdp as { mode: number } | undefined)?.mode, mode === "native" ? 1 : 2);
    const before = counter(2);
    await ping(left, 2, "0.01");
    t.true(counter(2) >= before + 2, mode);
    await native.unpin(pin);
    await native.unpin(pin);
    t.is((await right.ipJson("link show dev vb"))[0]?.xdp, undefined);
  }
});

test("a cgroup program holds for that cgroup's processes, is replaced through its pin, and a new cgroup of the same name gets a new link", async (t) => {
  const { program, counter, pins } = await setUp(t);
  const ns = await netns(t);
  const group = await cgroup(t);
  const pin = join(pins, "sock_connect4");
  const connect4 = 10;
  const attach = (name: string) => native.attachCgroup(program(name), group, connect4, pin);
  // connects to a closed port: EPERM (1) is the program's refusal, ECONNREFUSED the network's
  const connect = async (inside: boolean) => {
    const code = 'require("net").connect(9,"127.0.0.1").on("error",e=>console.log(e.code))';
    const join = inside ? `echo $$ > ${group}/cgroup.procs && ` : "";
    return (await ns.exec("sh", "-c", `${join}exec ${process.execPath} -e '${code}'`)).trim();
  };
  t.is(await attach("refuse"), "attached");
  t.is(await connect(true), "EPERM");
  t.is(await connect(false), "ECONNREFUSED");
  t.true(counter(3) > 0);
  t.is(await attach("permit"), "updated");
  t.is(await connect(true), "ECONNREFUSED");

  await eventually(() =>
    rmdir(group).then(
      () => true,
      () => false,
    ),
  );
  await mkdir(group);
  t.true(existsSync(pin));
  t.is(await attach("refuse"), "attached", "the pin's cgroup is another one");
  t.is(await connect(true), "EPERM");
});

test("failures of attaching name the program, the device with its index, and the errno", async (t) => {
  const { program, pins } = await setUp(t);
  const { left, right } = await pairOfNetns(t);
  const missing = { index: 4242, netns: right.path };
  for (const mode of ["tcx", "clsact"] as const) {
    const failure = await failureOf(t, () => native.attachTc(program("first"), missing, "ingress", mode, null));
    t.regex(
      failure.message,
      /(attach first to|add clsact to) ifindex 4242 in \/run\/netns\/tandem-.*: (ENODEV|EINVAL)/,
    );
    t.is(failure.object, `ifindex 4242 in ${right.path}`);
  }
  const device = { index: await right.index("vb"), netns: right.path };
  const wrong = await failureOf(t, () => native.attachTc(program("from_wire"), device, "ingress", "tcx", null));
  t.regex(wrong.message, /^attach from_wire to vb \(ifindex \d+\) in .*: EINVAL/);
  const noFolder = await failureOf(t, () =>
    native.attachTc(program("first"), device, "ingress", "tcx", "/nowhere/pin"),
  );
  t.is(noFolder.code, "ENOENT");
  t.true(noFolder.message.includes("/nowhere/pin"));
  const notBpffs = await failureOf(t, () =>
    native.attachTc(program("first"), device, "ingress", "tcx", "/tmp/tandem-no-bpffs"),
  );
  t.true(notBpffs.message.includes("/tmp/tandem-no-bpffs"), notBpffs.message);
  const noGroup = await failureOf(t, () =>
    native.attachCgroup(program("permit"), "/sys/fs/cgroup/tandem-none", 10, null),
  );
  t.regex(noGroup.message, /^open cgroup \/sys\/fs\/cgroup\/tandem-none: ENOENT/);
  const noNetns = await failureOf(t, () =>
    native.attachTc(program("first"), { index: 1, netns: "/run/netns/tandem-none" }, "ingress", "tcx", null),
  );
  t.regex(noNetns.message, /^open network namespace \/run\/netns\/tandem-none: ENOENT/);
  const big = await failureOf(t, async () => {
    for (const [side, end] of [
      [left, "va"],
      [right, "vb"],
    ] as const)
      await side.ip(`link set ${end} mtu 9000`);
    return native.attachXdp(program("from_wire"), device, "native", join(pins, "big"));
  });
  t.regex(big.message, /^attach from_wire to vb \(ifindex \d+\).*: E(RANGE|OPNOTSUPP)/);
});
