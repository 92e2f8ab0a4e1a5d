/** Links, addresses and neighbours by netlink, and changes that make no sense. */
import test from "ava";
import type { NeighbourRow, NetlinkChange } from "../../../src/native/netlink-contract.ts";
import { failureOf, native } from "../../support/native.ts";
import { change, hop, ours, route, v4, v6 } from "../../support/netlink-rows.ts";
import { netns, pairOfNetns } from "../../support/netns.ts";

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
