import { mkdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { DesiredFrontend, DesiredState } from "../../../src/compute/desired.ts";
import { EndpointFlags, endpoint } from "../../../src/native/layouts.gen.ts";
import { holders } from "../../support/holders.ts";
import { compile, load, native } from "../../support/native.ts";
import { address, allowing, type DriverError, endpointOf, identityOf, Node, nothing, openSet } from "./support.ts";

function identities(count: number): DesiredState["identities"] {
  const rows = Array.from({ length: count }, (_, index) => ({
    address: address(`10.8.${index >> 8}.${index & 255}`),
    identity: 2000 + index,
    localNode: false,
    node: false,
  }));
  return holders(...rows);
}

function frontends(count: number, backends: number): readonly DesiredFrontend[] {
  return Array.from({ length: count }, (_, index) => ({
    address: address(`10.96.${index >> 8}.${index & 255}`),
    port: 80,
    protocol: 6,
    external: false,
    affinitySeconds: null,
    backends: Array.from({ length: backends }, (__, slot) => ({ address: address(`10.9.1.${slot + 1}`), port: 8080 })),
    service: `shop/s${index}:http`,
  }));
}

test("a full map is one problem that names map, entries and setting; everything else is written", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath({ mapSizes: { ipcache4: 100 } });
  const pod = await node.addPod("web");
  const desired: DesiredState = {
    ...nothing,
    identities: identities(150),
    endpoints: [endpointOf(pod, 1001, "1001")],
    sets: [allowing("1001", 1002)],
    frontends: frontends(3, 2),
  };
  await datapath.apply(desired);
  const [problem, ...more] = await datapath.problems();
  t.deepEqual(more, []);
  t.is(problem?.code, "MAP_FULL");
  t.is(problem?.object, "map ipcache4");
  t.regex(problem?.message ?? "", /100 entries at most.*address 10\.8\.\d+\.\d+.* and 45 more/);
  t.regex(problem?.remedy ?? "", /mapSizes\.ipcache4 above 100/);
  t.is((await node.entries("ipcache4")).length, 100);
  t.is((await datapath.endpointState(1))?.state, "ready");
  t.is((await node.entries("service4")).length, 3);

  // It stays to be done, and is done when there is room.
  await datapath.apply({ ...desired, identities: new Map([...desired.identities].slice(90)) });
  t.deepEqual(await datapath.problems(), []);
  t.is((await node.entries("ipcache4")).length, 60);

  // The remedy works, and what was pinned is taken along.
  await datapath.close();
  const larger = await node.datapath({ mapSizes: { ipcache4: 200 } });
  t.is((await node.entries("ipcache4")).length, 60);
  await larger.apply(desired);
  t.deepEqual(await larger.problems(), []);
  t.is((await node.entries("ipcache4")).length, 150);
  t.is((await larger.writes()).endpoints, 0);
});

test("a policy that finds no room leaves a new pod closed and an open one with its last good set", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath({ mapSizes: { policy_peer: 4 } });
  const [web, api] = [await node.addPod("web"), await node.addPod("api")];
  const small = [allowing("1001", 1, 2), openSet("1002")];
  const desired = { ...nothing, endpoints: [endpointOf(web, 1001, "1001")], sets: small };
  await datapath.apply(desired);
  const before = await datapath.endpointState(1);

  const large = { ...desired, sets: [allowing("1001", 1, 2, 3, 4, 5), openSet("1002")] };
  await datapath.apply({ ...large, endpoints: [...desired.endpoints, endpointOf(api, 1002, "1002")] });
  t.like(await datapath.endpointState(1), { ...before, heldBack: "the policy maps did not take it" });
  t.is((await datapath.endpointState(2))?.state, "ready", "another pod is not held up");
  t.deepEqual((await datapath.problems()).map(({ code, object }) => `${code} ${object}`).sort(), [
    "MAP_FULL map policy_peer",
    "POLICY_NOT_WRITTEN Pod shop/web",
  ]);
  await t.throwsAsync(datapath.whenReady("shop/web", 50));

  const third = await node.addPod("late");
  await datapath.apply({ ...large, endpoints: [endpointOf(third, 1001, "1001")] });
  t.is((await datapath.endpointState(3))?.state, "closed");
  t.is((await node.entries("policy_set")).length, 0, "nothing of a set that is not whole is left");

  // Three entries do not fit beside the two that are in use, but instead of them: the old set is let go where it can be.
  await datapath.apply({ ...desired, sets: [allowing("1001", 7, 8, 9)], endpoints: [endpointOf(third, 1001, "1001")] });
  t.is((await datapath.endpointState(3))?.state, "ready");
  t.deepEqual(await datapath.problems(), []);
});

test("an endpoint map that is full keeps the new pod out, whole", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath({ mapSizes: { endpoint: 1 } });
  const [web, api] = [await node.addPod("web"), await node.addPod("api")];
  await datapath.apply({
    ...nothing,
    endpoints: [endpointOf(web, 1001, "1001"), endpointOf(api, 1001, "1001")],
    sets: [openSet("1001")],
  });
  const open = (await node.entries("endpoint_addr")).map(({ value }) => endpoint.decode(value));
  t.deepEqual(
    open.map(({ ifindex, flags }) => [ifindex, flags]).sort(),
    [
      [web.row.ifindex, 0],
      [web.row.ifindex, 0],
      [api.row.ifindex, EndpointFlags.closed],
      [api.row.ifindex, EndpointFlags.closed],
    ].sort(),
  );
  const codes = (await datapath.problems()).map(({ code, object }) => `${code} ${object}`);
  t.true(codes.includes("MAP_FULL map endpoint"));
  t.true(codes.includes("POLICY_NOT_WRITTEN Pod shop/api"));
});

test("a pinned map of another layout is refused with a remedy, and nothing is touched", async (t) => {
  const node = await Node.create(t);
  await native.mountBpffs(node.bpffs);
  await mkdir(join(node.bpffs, "maps"), { recursive: true });
  const path = await compile(
    t,
    `struct ipcache4_key { __u32 address; };
     struct ipcache_value { __u32 flags; __u32 identity; };
     struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct ipcache4_key); __type(value, struct ipcache_value);
       __uint(max_entries, 2048); __uint(map_flags, 1); __uint(pinning, LIBBPF_PIN_BY_NAME); } ipcache4 SEC(".maps");
     SEC("tc") int use(struct __sk_buff *skb) { __u32 key = 0; return bpf_map_lookup_elem(&ipcache4, &key) ? 1 : 0; }`,
  );
  await load(t, path, { pinPath: join(node.bpffs, "maps") });
  const datapath = await node.process();
  const error = (await t.throwsAsync(datapath.start(node.config()))) as DriverError;
  t.is(error.code, "LAYOUT_CHANGED");
  t.is(error.object, join(node.bpffs, "maps", "ipcache4"));
  t.regex(error.message, /value\.flags \(bits 0-31\), this version needs value\.identity/);
  t.regex(error.remedy, /drain the node/);
  t.is((await node.entries("ipcache4")).length, 0);
});

test("counters of another layout are made anew", async (t) => {
  const node = await Node.create(t);
  await native.mountBpffs(node.bpffs);
  await mkdir(join(node.bpffs, "maps"), { recursive: true });
  const path = await compile(
    t,
    `struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4);
       __uint(pinning, LIBBPF_PIN_BY_NAME); } metrics SEC(".maps");
     SEC("tc") int use(struct __sk_buff *skb) { __u32 key = 0; return bpf_map_lookup_elem(&metrics, &key) ? 1 : 0; }`,
  );
  await load(t, path, { pinPath: join(node.bpffs, "maps") });
  const datapath = await node.datapath();
  await datapath.apply(nothing);
  t.deepEqual(await datapath.problems(), []);
});

test("a cgroup that is missing costs the socket hook only", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath({ cgroup: "/sys/fs/cgroup/tandem-not-there" });
  const pod = await node.addPod("web");
  await datapath.apply({ ...nothing, endpoints: [endpointOf(pod, 1001, "1001")], sets: [openSet("1001")] });
  t.deepEqual(
    (await datapath.problems()).map(({ code }) => code),
    ["CGROUP_MISSING"],
  );
  t.is((await datapath.report()).cgroup, null);
  t.is((await datapath.endpointState(1))?.state, "ready");
});

test("a bpffs folder that cannot be is one clear error", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.process();
  const error = (await t.throwsAsync(datapath.start(node.config({ bpffs: "/proc/tandem" })))) as DriverError;
  t.is(error.code, "BPFFS_UNAVAILABLE");
  t.is(error.object, "/proc/tandem");
});

test("what somebody else changed in the kernel is found and put right, and counted", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath();
  const [web, api] = [await node.addPod("web"), await node.addPod("api")];
  await datapath.apply({
    ...nothing,
    identities: identities(10),
    endpoints: [endpointOf(web, 1001, "1001"), endpointOf(api, 1002, "1002")],
    sets: [allowing("1001", 1002), openSet("1002")],
    frontends: frontends(2, 2),
  });
  const wholeBefore = {
    ipcache: (await node.entries("ipcache4")).length,
    backends: (await node.entries("service_backend")).length,
  };
  for (const name of ["ipcache4", "service_backend", "policy_peer", "endpoint"] as const) {
    const map = native.openPinnedMap(join(node.bpffs, "maps", name));
    const [first] = await node.entries(name);
    native.mapDelete(map.handle, first?.key ?? Buffer.alloc(0));
    native.closeMap(map.handle);
  }
  await node.linked(4);
  await rm(join(node.bpffs, "links", `to_pod-${web.row.ifindex}`));
  await datapath.verify();
  t.is((await node.entries("ipcache4")).length, wholeBefore.ipcache);
  t.is((await node.entries("service_backend")).length, wholeBefore.backends);
  t.is((await node.entries("policy_peer")).length, 1);
  t.is((await node.entries("endpoint")).length, 2);
  t.is((await datapath.report()).attachedEndpoints, 2);
  const repaired = Object.fromEntries(
    (await datapath.report()).reconcilers.map(({ name, repaired: count }) => [name, count]),
  );
  t.deepEqual(repaired, {
    settings: 0,
    "node ports": 0,
    "native prefixes": 0,
    "service routes": 0,
    "service addresses": 0,
    "proxy routes": 0,
    identities: 1,
    "policy sets": 1,
    devices: 0,
    programs: 1,
    xdp: 0,
    endpoints: 1,
    host: 0,
    services: 1,
    socket: 0,
    "stale sockets": 0,
    "closing routes": 0,
    "proxy redirection": 0,
  });
  await datapath.verify();
  t.deepEqual(
    Object.fromEntries((await datapath.report()).reconcilers.map(({ name, repaired: count }) => [name, count])),
    repaired,
    "a second look finds nothing",
  );
});

test("an address that goes to another pod makes flows with it be judged again; a new pod does not", async (t) => {
  const node = await Node.create(t);
  const datapath = await node.datapath();
  const [web, api, other] = [await node.addPod("web"), await node.addPod("api"), await node.addPod("other")];
  const peers = identityOf(web, 1001);
  const desired: DesiredState = {
    ...nothing,
    identities: peers,
    endpoints: [endpointOf(api, 1002, "1002"), endpointOf(other, 1003, "1003")],
    sets: [allowing("1002", 1001), allowing("1003", 7)],
  };
  await datapath.apply(desired);
  const before = await datapath.endpointState(2);
  const bystander = await datapath.endpointState(3);

  await datapath.apply({ ...desired, identities: new Map([...peers, ...identities(5)]) });
  t.deepEqual(await datapath.endpointState(2), before, "nobody lost anything by new addresses");

  await datapath.apply({ ...desired, identities: identityOf(web, 1009) });
  const after = await datapath.endpointState(2);
  t.is(after?.policySet, before?.policySet);
  t.true((after?.policyRevision ?? 0) > (before?.policyRevision ?? 0));
  t.deepEqual(await datapath.endpointState(3), bystander, "its policy says nothing of who had the address");
});

test("an agent that ended while addresses changed hands has every flow judged again by the next one", async (t) => {
  const node = await Node.create(t);
  const first = await node.datapath();
  const api = await node.addPod("api");
  const desired = { ...nothing, endpoints: [endpointOf(api, 1002, "1002")], sets: [allowing("1002", 1001)] };
  await first.apply(desired);
  const before = await first.endpointState(1);
  await first.kill();
  await mkdir(join(node.bpffs, "unsettled"));
  const second = await node.datapath();
  await second.apply(desired);
  const after = await second.endpointState(1);
  t.is(after?.policySet, before?.policySet);
  t.true((after?.policyRevision ?? 0) > (before?.policyRevision ?? 0));
  await t.throwsAsync(rmdir(join(node.bpffs, "unsettled")), { code: "ENOENT" });
});

test("with clsact, programs are attached, replaced and put back", async (t) => {
  const node = await Node.create(t);
  const first = await node.datapath({ tcMode: "clsact" });
  const [web, api] = [await node.addPod("web"), await node.addPod("api")];
  const desired: DesiredState = {
    ...nothing,
    identities: new Map([...identityOf(web, 1001), ...identityOf(api, 1002)]),
    endpoints: [endpointOf(web, 1001, "1001"), endpointOf(api, 1002, "1002")],
    sets: [openSet("1001"), allowing("1002", 1001)],
  };
  await first.apply(desired);
  t.is((await first.report()).mode, "clsact");
  const ping = () =>
    web.netns.exec("ping", "-n", "-c", "1", "-W", "5", api.row.ipv4?.text ?? "").then(
      () => true,
      () => false,
    );
  const filters = async () =>
    (await node.netns.exec("tc", "filter", "show", "dev", web.row.ifname, "ingress")).match(/from_pod.* id (\d+)/)?.[1];
  t.true(await ping());
  const program = await filters();
  t.truthy(program);
  await first.kill();
  t.true(await ping(), "without an agent");
  // Another setting stands for another version: both make other programs.
  const second = await node.datapath({ tcMode: "clsact", conntrackTimeouts: { icmp: 7 } });
  const replaced = await filters();
  t.truthy(replaced);
  t.not(replaced, program, "the new version's program is there before anything is applied");
  await second.apply(desired);
  t.true(await ping());
  await node.netns.exec("tc", "filter", "del", "dev", web.row.ifname, "ingress");
  await second.verify();
  t.truthy(await filters());
});
