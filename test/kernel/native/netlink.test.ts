import test from "ava";
import type { NeighbourRow, NetlinkChange, NextHopRow, RouteRow, RuleRow } from "../../../src/native/contract.ts";
import { failureOf, leastHeldUp, native } from "../../support/native.ts";
import { type Netns, netns, pairOfNetns } from "../../support/netns.ts";

const v4 = (text: string) => Buffer.from(text.split(".").map(Number));
/** Groups of a whole IPv6 address; "::" once. */
function v6(text: string): Buffer {
  const [head = "", tail = ""] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [first, last] = [groups(head), groups(tail)];
  const bytes = Buffer.alloc(16);
  [...first, ...Array(8 - first.length - last.length).fill(0), ...last].forEach((group, at) => {
    bytes.writeUInt16BE(group, 2 * at);
  });
  return bytes;
}

const hop = (index: number, gateway: Buffer | null = null, weight = 1): NextHopRow => ({ gateway, index, weight });

function route(family: 4 | 6, prefix: string, part: Partial<RouteRow>): RouteRow {
  const [address = "", length] = prefix.split("/");
  return {
    family,
    destination: family === 4 ? v4(address) : v6(address),
    prefixLength: Number(length),
    table: 254,
    protocol: 158,
    scope: 0,
    type: 1,
    metric: family === 4 ? 0 : 1024,
    source: null,
    nextHops: [],
    mtu: null,
    ...part,
  };
}

const change = (op: "add" | "replace" | "delete", row: RouteRow, onlink = false): NetlinkChange => ({
  kind: "route",
  op,
  route: row,
  onlink,
});

const ours = (ns: Netns) => native.routes(ns.path, { family: null, table: null, protocol: 158 });
const key = (row: RouteRow) =>
  `${row.family} ${row.destination.toString("hex")}/${row.prefixLength} ${row.table} ${row.metric}`;
const sorted = (rows: readonly RouteRow[]) => [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1));

test("links: what is listed is what ip says, of devices of several kinds; a peer in another namespace has its index there", async (t) => {
  const { left, right } = await pairOfNetns(t);
  await left.ip("link add name tandem-br type bridge");
  await left.ip("tuntap add mode tun name tandem-tun");
  await left.ip("link set va alias tandem:shop/web");
  await left.ip("link set va master tandem-br");
  const expected = await left.ipJson("link show");
  const rows = await native.links(left.path);
  t.deepEqual(
    rows.map(({ index, name, mtu, kind, alias }) => ({ index, name, mtu, kind, alias })),
    expected.map((link) => ({
      index: link.ifindex,
      name: link.ifname,
      mtu: link.mtu,
      kind: (link.linkinfo as { info_kind?: string } | undefined)?.info_kind ?? "",
      alias: link.ifalias ?? "",
    })) as never,
  );
  const row = (name: string) => rows.find((one) => one.name === name);
  t.is(row("lo")?.type, 772);
  t.is(row("tandem-tun")?.type, 65_534);
  t.is(row("tandem-tun")?.address.length, 0);
  t.is(row("tandem-br")?.kind, "bridge");
  t.is(row("va")?.master, row("tandem-br")?.index);
  t.is(row("va")?.peerIndex, await right.index("vb"));
  t.is(
    row("va")?.address.toString("hex"),
    String(expected.find((link) => link.ifname === "va")?.address).replaceAll(":", ""),
  );
  t.is((row("va")?.flags ?? 0) & 1, 1, "up");
  t.is(row("va")?.operstate, 6);
});

test("links change: up, MTU, name, alias, master and back, removal", async (t) => {
  const ns = await netns(t);
  await ns.ip("link add tandem-a type veth peer name tandem-b");
  await ns.ip("link add name tandem-br type bridge");
  const [index, bridge] = [await ns.index("tandem-a"), await ns.index("tandem-br")];
  const same = { up: null, mtu: null, name: null, master: null, alias: null };
  const set = (part: object): NetlinkChange => ({ kind: "link", op: "set", index, ...same, ...part });
  t.deepEqual(
    await native.applyNetlink(ns.path, [set({ mtu: 1400, alias: "tandem:x", master: bridge }), set({ up: true })]),
    [],
  );
  let [link] = await ns.ipJson("link show dev tandem-a");
  t.like(link, { mtu: 1400, ifalias: "tandem:x", master: "tandem-br" });
  t.is((link?.flags as string[] | undefined)?.includes("UP"), true);
  for (const acceptLocal of [true, false]) {
    t.deepEqual(await native.applyNetlink(ns.path, [set({ acceptLocal })]), []);
    const setting = await ns.exec("cat", "/proc/sys/net/ipv4/conf/tandem-a/accept_local");
    t.is(setting.trim(), acceptLocal ? "1" : "0");
  }
  t.deepEqual(await native.applyNetlink(ns.path, [set({ up: false, master: 0 }), set({ name: "tandem-c" })]), []);
  [link] = await ns.ipJson("link show dev tandem-c");
  t.is(link?.master, undefined);
  t.is((link?.flags as string[] | undefined)?.includes("UP"), false);
  const failures = await native.applyNetlink(ns.path, [
    { kind: "link", op: "delete", index: 4242 },
    { kind: "link", op: "delete", index },
    set({ mtu: 1300 }),
  ]);
  t.deepEqual(
    failures.map(({ at, code }) => [at, code]),
    [
      [0, "ENODEV"],
      [2, "ENODEV"],
    ],
  );
  t.false((await native.links(ns.path)).some(({ name }) => name.startsWith("tandem-c") || name === "tandem-b"));
});

test("addresses: v4 and v6, with and without detection of duplicates, listed as added and removed again", async (t) => {
  const ns = await netns(t);
  await ns.ip("link add tandem-a type veth peer name tandem-b");
  for (const name of ["tandem-a", "tandem-b"]) await ns.ip(`link set ${name} up`);
  const index = await ns.index("tandem-a");
  const rows = [
    { index, family: 4, address: v4("10.9.8.7"), prefixLength: 24, scope: 0, flags: 0 },
    { index, family: 6, address: v6("fd00::7"), prefixLength: 64, scope: 0, flags: 0 },
    { index, family: 6, address: v6("fd00::8"), prefixLength: 128, scope: 0, flags: 0x200 }, // no prefix route
  ] as const;
  const apply = (op: "add" | "replace" | "delete") =>
    native.applyNetlink(
      ns.path,
      rows.map((address) => ({ kind: "address", op, address, nodad: true })),
    );
  t.deepEqual(await apply("add"), []);
  t.deepEqual(
    (await apply("add")).map(({ at, code }) => [at, code]),
    [
      [0, "EEXIST"],
      [1, "EEXIST"],
      [2, "EEXIST"],
    ],
  );
  t.deepEqual(await apply("replace"), []);
  const listed = (await native.addresses(ns.path))
    .filter((row) => row.index === index && row.scope === 0)
    .sort((a, b) => Buffer.compare(a.address, b.address))
    .map(({ flags, ...row }) => ({ ...row, flags: flags & 0x202 }));
  const nodad = (family: 4 | 6) => (family === 6 ? 2 : 0);
  t.deepEqual(
    listed,
    rows.map(({ flags, ...row }) => ({ ...row, flags: nodad(row.family) | flags })),
  );
  t.deepEqual(
    (await native.addresses(ns.path)).find((row) => row.family === 4 && row.address.equals(v4("127.0.0.1"))),
    {
      index: 1,
      family: 4,
      address: v4("127.0.0.1"),
      prefixLength: 8,
      scope: 254,
      flags: 0x80,
    },
  );
  const prefixRoutes = await native.routes(ns.path, { family: 6, table: 254, protocol: 2 });
  t.true(prefixRoutes.some((row) => row.destination.equals(v6("fd00::"))));
  t.false(prefixRoutes.some((row) => row.destination.equals(v6("fd00::8"))));
  t.deepEqual(await apply("delete"), []);
  t.false((await native.addresses(ns.path)).some((row) => row.index === index && row.scope === 0));
});

test("routes of every shape are listed as they were added: gateways, several next hops, MTU, source, on-link, blackholes, tables", async (t) => {
  const { left } = await pairOfNetns(t);
  const va = await left.index("va");
  const rows: readonly RouteRow[] = sorted([
    route(4, "10.1.0.0/24", { nextHops: [hop(va, v4("192.0.2.2"))] }),
    route(4, "10.1.1.0/24", { nextHops: [hop(va)], scope: 253, mtu: 1400 }),
    route(4, "10.1.2.0/24", { nextHops: [hop(va, v4("192.0.2.2"), 1), hop(va, v4("192.0.2.3"), 7)] }),
    route(4, "10.1.3.0/24", { nextHops: [hop(va, v4("192.0.2.2"))], source: v4("192.0.2.1"), metric: 77 }),
    route(4, "10.1.3.0/24", { nextHops: [hop(va, v4("192.0.2.3"))], metric: 78 }),
    route(4, "10.1.4.0/24", { type: 6 }),
    route(4, "10.1.5.0/24", { type: 7, table: 2004 }),
    route(4, "10.1.6.0/24", { nextHops: [hop(va, v6("2001:db8::2"))] }),
    route(4, "10.1.7.0/24", { nextHops: [hop(va, v6("2001:db8::2")), hop(va, v4("192.0.2.2"))] }),
    route(4, "0.0.0.0/0", { nextHops: [hop(va, v4("192.0.2.2"))], table: 70_000 }),
    route(4, "10.2.0.0/16", { nextHops: [hop(1)], type: 2, scope: 254, table: 2005 }),
    route(6, "fd01:0::/64", { nextHops: [hop(va, v6("2001:db8::2"))] }),
    route(6, "fd01:1::/64", { nextHops: [hop(va)], mtu: 1300 }),
    route(6, "fd01:2::/64", { nextHops: [hop(va, v6("2001:db8::2"), 2), hop(va, v6("2001:db8::3"), 3)] }),
    route(6, "fd01:3::/64", { nextHops: [hop(va, v6("2001:db8::2"))], source: v6("2001:db8::1"), metric: 5 }),
    route(6, "fd01:4::/64", { type: 6 }),
    route(6, "fd01:5::/64", { type: 7, table: 2004 }),
    route(6, "::/0", { nextHops: [hop(va, v6("2001:db8::2"))] }),
  ]);
  const onlink = [
    route(4, "10.3.0.0/24", { nextHops: [hop(va, v4("198.51.100.1"))] }),
    route(4, "10.3.1.0/24", { nextHops: [hop(va, v4("198.51.100.1")), hop(va, v4("198.51.100.2"))] }),
    route(6, "fd03::/64", { nextHops: [hop(va, v6("fe80::1"))] }),
  ];
  t.deepEqual(
    await native.applyNetlink(
      left.path,
      rows.map((row) => change("add", row)),
    ),
    [],
  );
  t.deepEqual(sorted(await ours(left)), rows as never);
  t.deepEqual(
    await native
      .applyNetlink(
        left.path,
        onlink.slice(0, 2).map((row) => change("add", row)),
      )
      .then((f) => f.map(({ code }) => code)),
    ["ENETUNREACH", "ENETUNREACH"],
  );
  t.deepEqual(
    await native.applyNetlink(
      left.path,
      onlink.map((row) => change("add", row, true)),
    ),
    [],
  );
  t.deepEqual(sorted(await ours(left)), sorted([...rows, ...onlink]) as never);
  // the filters
  t.is((await native.routes(left.path, { family: 6, table: null, protocol: 158 })).length, 8);
  t.is((await native.routes(left.path, { family: null, table: 2004, protocol: null })).length, 2);
  t.is((await native.routes(left.path, { family: 4, table: 70_000, protocol: 158 })).length, 1);
  t.is((await native.routes(left.path, { family: 4, table: 254, protocol: 99 })).length, 0);
  t.true((await native.routes(left.path, { family: 4, table: 255, protocol: 2 })).length > 0, "the local table");
  // and ip agrees on some
  t.regex(await left.ip("route show 10.1.2.0/24"), /nexthop via 192\.0\.2\.3 dev va weight 7/);
  t.regex(await left.ip("route show 10.1.6.0/24"), /via inet6 2001:db8::2 dev va/);
  t.regex(await left.ip("route show 10.1.1.0/24"), /scope link mtu 1400/);
  t.deepEqual(
    await native.applyNetlink(
      left.path,
      [...rows, ...onlink].map((row) => change("delete", row)),
    ),
    [],
  );
  t.deepEqual(await ours(left), []);
});

test("replace changes a route in place; delete takes only the route that is described", async (t) => {
  const { left } = await pairOfNetns(t);
  const va = await left.index("va");
  const first = route(4, "10.1.0.0/24", { nextHops: [hop(va, v4("192.0.2.2"))] });
  const second = route(4, "10.1.0.0/24", { nextHops: [hop(va, v4("192.0.2.3"))], mtu: 1300 });
  t.deepEqual(await native.applyNetlink(left.path, [change("replace", first), change("replace", second)]), []);
  t.deepEqual(await ours(left), [second] as never);
  const [missing] = await native.applyNetlink(left.path, [change("delete", first)]);
  t.is(missing?.code, "ESRCH");
  const kubeRouter = { ...second, protocol: 17 };
  t.is((await native.applyNetlink(left.path, [change("delete", kubeRouter)]))[0]?.code, "ESRCH");
  t.is((await native.applyNetlink(left.path, [change("add", second)]))[0]?.code, "EEXIST");
  t.deepEqual(await native.applyNetlink(left.path, [change("delete", second)]), []);
});

test("a batch goes on after failures and names them by position, with the kernel's own words", async (t) => {
  const { left } = await pairOfNetns(t);
  const va = await left.index("va");
  const good = Array.from({ length: 300 }, (_, i) =>
    change("add", route(4, `10.${i >> 8}.${i & 255}.0/24`, { nextHops: [hop(va)], scope: 253 })),
  );
  const badGateway = change("add", route(4, "10.99.0.0/24", { nextHops: [hop(va, v4("203.0.113.1"))] }));
  const badDevice = change("add", route(4, "10.98.0.0/24", { nextHops: [hop(4242)] }));
  const batch = [...good.slice(0, 100), badGateway, ...good.slice(100), badDevice];
  const failures = await native.applyNetlink(left.path, batch);
  t.deepEqual(
    failures.map(({ at, code }) => [at, code]),
    [
      [100, "ENETUNREACH"],
      [301, "ENODEV"],
    ],
  );
  t.is(failures[0]?.errno, 101);
  t.is(failures[0]?.log, "Nexthop has invalid gateway");
  t.is((await ours(left)).length, 300);
});

test("rules: added, listed and removed, v4 and v6", async (t) => {
  const ns = await netns(t);
  const plain: RuleRow = {
    family: 4,
    priority: 9,
    table: 2004,
    source: null,
    sourceLength: 0,
    mark: 0,
    mask: 0,
    iif: "",
    action: 1,
  };
  const rows: readonly RuleRow[] = [
    { ...plain, mark: 0x200, mask: 0xf00 },
    { ...plain, priority: 10, source: v4("10.1.0.0"), sourceLength: 16, table: 70_000 },
    { ...plain, priority: 11, iif: "lo", table: 254 },
    { ...plain, family: 6, priority: 12, source: v6("fd00::"), sourceLength: 64 },
  ];
  const apply = (op: "add" | "delete") =>
    native.applyNetlink(
      ns.path,
      rows.map((rule) => ({ kind: "rule", op, rule })),
    );
  const before = await native.rules(ns.path);
  t.deepEqual(
    before.filter(({ family }) => family === 4).map(({ priority, table }) => [priority, table]),
    [
      [0, 255],
      [32766, 254],
      [32767, 253],
    ],
  );
  t.deepEqual(await apply("add"), []);
  t.deepEqual(
    (await apply("add")).map(({ code }) => code),
    Array(4).fill("EEXIST"),
  );
  t.deepEqual(
    (await native.rules(ns.path)).filter(({ priority }) => priority > 0 && priority < 100),
    rows as never,
  );
  t.deepEqual(await apply("delete"), []);
  t.deepEqual(await native.rules(ns.path), before);
});

test("neighbours: permanent entries are added, changed, listed and removed, v4 and v6", async (t) => {
  const { left } = await pairOfNetns(t);
  const index = await left.index("va");
  const row = (family: 4 | 6, address: Buffer, mac: string): NeighbourRow => ({
    index,
    family,
    address,
    lladdr: Buffer.from(mac, "hex"),
    state: 0x80,
  });
  const rows = [row(4, v4("192.0.2.9"), "02aabbccdd01"), row(6, v6("2001:db8::9"), "02aabbccdd02")];
  const apply = (op: "add" | "replace" | "delete", list = rows) =>
    native.applyNetlink(
      left.path,
      list.map((neighbour) => ({ kind: "neighbour", op, neighbour })),
    );
  const permanent = async () => (await native.neighbours(left.path)).filter(({ state }) => state === 0x80);
  t.deepEqual(await apply("add"), []);
  t.deepEqual(await permanent(), rows);
  const moved = rows.map((one) => ({ ...one, lladdr: Buffer.from("02aabbccddff", "hex") }));
  t.deepEqual(
    (await apply("add", moved)).map(({ code }) => code),
    ["EEXIST", "EEXIST"],
  );
  t.deepEqual(await apply("replace", moved), []);
  t.deepEqual(await permanent(), moved);
  t.deepEqual(await apply("delete"), []);
  t.deepEqual(await permanent(), []);
});

test.serial("20,000 routes are added in one batch and listed, and the event loop goes on meanwhile", async (t) => {
  const ns = await netns(t);
  const changes = Array.from({ length: 20_000 }, (_, i) =>
    change("replace", route(4, `10.${i >> 8}.${i & 255}.0/24`, { nextHops: [hop(1)], scope: 253 })),
  );
  const written = await leastHeldUp(() => native.applyNetlink(ns.path, changes));
  t.deepEqual(written.result, []);
  const read = await leastHeldUp(() => ours(ns));
  t.is(new Set(read.result.map(key)).size, 20_000);
  for (const [what, { ms, heldUpMs }] of Object.entries({ written, read })) {
    t.log(`${what} in ${ms.toFixed(0)} ms, event loop held up for at most ${heldUpMs.toFixed(1)} ms`);
    // On a busy machine also by others, but not as long as the work takes.
    t.true(heldUpMs < Math.max(250, ms / 2), what);
  }
});

test("a veth pair is made across namespaces: names, MACs, MTU, alias; indexes of both ends are told", async (t) => {
  const [node, pod] = [await netns(t), await netns(t)];
  const request = {
    name: "tandem-host",
    peerName: "eth0",
    peerNetns: pod.path,
    mtu: 1430,
    mac: Buffer.from("02000000aa01", "hex"),
    peerMac: Buffer.from("02000000aa02", "hex"),
    alias: "tandem:shop/web",
  };
  const made = await native.createVeth(node.path, request);
  t.deepEqual(made, { index: await node.index("tandem-host"), peerIndex: await pod.index("eth0") });
  t.like((await node.ipJson("link show dev tandem-host"))[0], {
    mtu: 1430,
    address: "02:00:00:00:aa:01",
    ifalias: "tandem:shop/web",
  });
  t.like((await pod.ipJson("link show dev eth0"))[0], { mtu: 1430, address: "02:00:00:00:aa:02" });
  const again = await failureOf(t, () => native.createVeth(node.path, request));
  t.is(again.message, `create veth tandem-host with eth0 in ${pod.path}: EEXIST (File exists)`);
  const taken = await failureOf(t, () => native.createVeth(node.path, { ...request, name: "tandem-other" }));
  t.is(taken.code, "EEXIST");
  t.false((await native.links(node.path)).some(({ name }) => name === "tandem-other"));
  for (const [part, expected] of [
    [{ name: "a-name-longer-than-15" }, /create veth a-name-longer-than-15 with eth1.*: E(RANGE|INVAL)/],
    [{ mac: Buffer.from("02", "hex") }, /create veth tandem-x .*: EINVAL/],
    [{ peerNetns: "/run/netns/tandem-none" }, /^open network namespace \/run\/netns\/tandem-none: ENOENT/],
    [{ peerNetns: "/proc/version" }, /: E(INVAL|PERM)/],
    [{ alias: "x".repeat(300) }, /^(create veth|set alias of) tandem-x.*: E/],
  ] as const) {
    const failure = await failureOf(t, () =>
      native.createVeth(node.path, { ...request, name: "tandem-x", peerName: "eth1", ...part }),
    );
    t.regex(failure.message, expected);
  }
  t.deepEqual(
    (await native.links(node.path)).map(({ name }) => name),
    ["lo", "tandem-host"],
  );
  t.deepEqual(
    (await native.links(pod.path)).map(({ name }) => name),
    ["lo", "eth0"],
  );
});

test("changes that make no sense are refused whole, with their position and field, before anything is applied", async (t) => {
  const ns = await netns(t);
  const fine = change("add", route(4, "10.1.0.0/24", { nextHops: [hop(1)], scope: 253 }));
  // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
  const cases: readonly [any, RegExp][] = [
    [
      change("add", route(4, "10.1.0.0/33", {})),
      /changes\[1\]\.route\.prefixLength must be a whole number from 0 to 32, not 33/,
    ],
    [
      change("add", { ...route(4, "10.1.0.0/24", {}), destination: v6("::1") }),
      /changes\[1\]\.route\.destination must be 4 bytes/,
    ],
    [
      change("add", route(4, "10.1.0.0/24", { protocol: 300 })),
      /protocol must be a whole number from 0 to 255, not 300/,
    ],
    [change("add", route(4, "10.1.0.0/24", { table: -1 })), /table must be/],
    [change("add", route(4, "10.1.0.0/24", { mtu: Number.NaN })), /mtu must be .* not NaN/],
    [change("add", route(4, "10.1.0.0/24", { nextHops: [hop(1, Buffer.alloc(5))] })), /gateway must be 4 or 16 bytes/],
    [change("add", route(4, "10.1.0.0/24", { nextHops: [hop(1, null, 257)] })), /weight must be/],
    [{ ...fine, op: "append" }, /changes\[1\]\.op must be add, replace or delete/],
    [{ ...fine, onlink: "yes" }, /onlink must be true or false/],
    [{ ...fine, route: null }, /changes\[1\]\.route must be an object/],
    [{ kind: "bridge" }, /changes\[1\]\.kind must be/],
    [null, /changes\[1\]\.kind must be/],
    [{ kind: "link", op: "delete", index: 0 }, /index must not be 0/],
    [{ kind: "rule", op: "replace", rule: {} }, /op must be add or delete/],
  ];
  for (const [wrong, expected] of cases) {
    const failure = await failureOf(t, () => native.applyNetlink(ns.path, [fine, wrong]));
    t.is(failure.code, "EINVAL");
    t.regex(failure.message, expected);
  }
  t.deepEqual(await ours(ns), []);
  t.deepEqual(await native.applyNetlink(ns.path, []), []);
});
