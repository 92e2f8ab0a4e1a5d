/** Services at the socket, by real sockets: what a program that talks to a service sees, and which backend it gets. */
import test, { type ExecutionContext } from "ava";
import { cgroup } from "../../support/native.ts";
import { type Family, families } from "../../support/programs-frames.ts";
import { ProgramNode } from "../../support/programs.ts";
import { mapped, putService } from "../../support/programs-maps.ts";
import { SocketProcess } from "../../support/programs-sockets.ts";

const attachTypes = {
  sock_connect4: 10,
  sock_connect6: 11,
  sock_sendmsg4: 14,
  sock_sendmsg6: 15,
  sock_recvmsg4: 19,
  sock_recvmsg6: 20,
  sock_getpeername4: 29,
  sock_getpeername6: 30,
} as const;

const backends = {
  ipv4: ["10.0.2.1", "10.0.2.2", "10.0.2.3", "10.0.2.4"],
  ipv6: ["fd00:2::1", "fd00:2::2", "fd00:2::3", "fd00:2::4"],
} as const;
const vip = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;
const number = { ipv4: 4, ipv6: 6 } as const;
const tcp = 6;
const udp = 17;

interface World {
  readonly node: ProgramNode;
  readonly group: string;
  /** A program in the cgroup, and one that is not. */
  readonly client: SocketProcess;
  readonly stranger: SocketProcess;
}

/** Four backends that listen on port 8080, TCP and UDP, both families; the hooks on a cgroup of the test's own. */
async function world(t: ExecutionContext): Promise<World> {
  t.timeout(240_000);
  const group = await cgroup(t);
  const node = await ProgramNode.create({}, {}, { events: false, socketsOnly: true });
  t.teardown(() => node.remove());
  const netns = `/run/netns/${node.netns}`;
  const client = new SocketProcess(netns, group);
  t.teardown(() => client.end());
  const stranger = new SocketProcess(netns, null);
  t.teardown(() => stranger.end());
  for (const address of [...backends.ipv4, ...backends.ipv6]) {
    const changes = [{ kind: "address", op: "add", nodad: true, address: loopbackAddress(address) } as const];
    t.deepEqual(await node.native.applyNetlink(netns, changes), []);
    for (const type of ["tcp", "udp"] as const) await stranger.listen(type, address, 8080);
  }
  for (const [name, type] of Object.entries(attachTypes))
    await node.native.attachCgroup(node.program(name), group, type, null);
  return { node, group, client, stranger };
}

function loopbackAddress(text: string) {
  const family = text.includes(":") ? (6 as const) : (4 as const);
  const bytes = Buffer.from(family === 6 ? mapped(text) : mapped(text).subarray(12));
  return { index: 1, family, address: bytes, prefixLength: bytes.length * 8, scope: 0, flags: 0 };
}

function serve(
  node: ProgramNode,
  family: Family,
  options: { id?: number; protocol?: number; of?: readonly string[]; affinitySeconds?: number } = {},
): void {
  putService(node.maps, {
    id: options.id ?? 1,
    address: vip[family],
    port: 80,
    protocol: options.protocol ?? tcp,
    backends: (options.of ?? backends[family]).map((address) => ({ address, port: 8080 })),
    ...(options.affinitySeconds !== undefined && { affinitySeconds: options.affinitySeconds }),
  });
}

const shown = (family: Family) => `${vip[family]} 80`;
const isBackend = (family: Family, answer: string | undefined) =>
  backends[family].some((address) => answer === `${address} 8080`);

test("a connection to a service is one to a backend, and its peer's name is the service's", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family);
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 40; i++) {
      const { peer, answer } = await client.ask({ address: vip[family], port: 80 });
      t.is(peer, shown(family));
      t.true(isBackend(family, answer), answer);
      seen.add(answer);
    }
    t.is(seen.size, 4, "every backend is used");
  }
});

test("what is no service, and what is outside of the cgroup, is left alone", async (t) => {
  const { node, client, stranger } = await world(t);
  for (const family of families) {
    serve(node, family);
    const direct = { address: backends[family][0], port: 8080 };
    t.deepEqual(await client.ask(direct), { peer: `${direct.address} 8080`, answer: `${direct.address} 8080` });
    t.deepEqual(await client.ask({ ...direct, port: 81 }), { error: "ECONNREFUSED" }, "another port");
    serve(node, family, { id: 2, protocol: udp });
    node.maps.delete(family === "ipv4" ? "service4" : "service6", serviceKey(family, tcp));
    const { error } = await within(2000, stranger.ask({ address: vip[family], port: 80 }));
    t.truthy(error, "nobody has that address");
  }
});

function serviceKey(family: Family, protocol: number) {
  const bytes = Buffer.from(mapped(vip[family]));
  return { address: family === "ipv4" ? bytes.readUInt32BE(12) : bytes, port: 80, protocol } as never;
}

async function within<T>(ms: number, promise: Promise<T>): Promise<T | { readonly error: string }> {
  return Promise.race([
    promise,
    new Promise<{ readonly error: string }>((resolve) => setTimeout(() => resolve({ error: "LATE" }), ms)),
  ]);
}

test("an IPv6 socket reaches an IPv4 service by its mapped address", async (t) => {
  const { node, client } = await world(t);
  serve(node, "ipv4");
  serve(node, "ipv4", { id: 2, protocol: udp });
  const address = `::ffff:${vip.ipv4}`;
  const { peer, answer } = await client.ask({ address, port: 80 });
  t.is(peer, `${address} 80`);
  t.true(isBackend("ipv4", answer), answer);
  for (const result of await client.send({ family: 6, address, port: 80, count: 3 })) {
    t.is(result.from, `${address} 80`);
    t.true(isBackend("ipv4", result.answer), result.answer);
  }
});

test("datagrams of a socket that is not connected: answers come from the service, and one backend serves the conversation", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family, { protocol: udp });
    const used = new Set<string | undefined>();
    for (let i = 0; i < 12; i++) {
      const results = await client.send({ family: number[family], address: vip[family], port: 80, count: 5 });
      t.is(results.length, 5);
      for (const { from } of results) t.is(from, shown(family));
      t.is(new Set(results.map(({ answer }) => answer)).size, 1, "one socket, one backend");
      t.true(isBackend(family, results[0]?.answer));
      used.add(results[0]?.answer);
    }
    t.true(used.size > 1, "sockets are spread");
    const known = await node.maps.entries("sock_reverse");
    t.true(known.length >= 12 && known.length <= 24, `${known.length} entries, not one for each datagram`);
  }
});

test("datagrams go to another backend when theirs has left the service, and stay when another one has", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family, { protocol: udp, of: backends[family].slice(0, 1) });
    const [first, second] = backends[family];
    const known = (await node.maps.entries("affinity")).length;
    const talking = client.send({ family: number[family], address: vip[family], port: 80, count: 200 });
    while ((await node.maps.entries("affinity")).length === known)
      await new Promise((resolve) => setTimeout(resolve, 5));
    serve(node, family, { id: 2, protocol: udp, of: backends[family] });
    await new Promise((resolve) => setTimeout(resolve, 30));
    serve(node, family, { id: 3, protocol: udp, of: [second] });
    const answers = (await talking).map(({ answer }) => answer);
    t.deepEqual(
      [...new Set(answers)].filter((answer) => ![`${first} 8080`, `${second} 8080`].includes(answer ?? "")),
      [],
    );
    t.is(answers.filter((answer, i) => i > 0 && answer !== answers[i - 1]).length <= 1, true, "at most one move");
  }
});

test("a connected datagram socket knows the service, and nothing else", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family, { protocol: udp });
    const { peer, from, answer } = await client.converse({ family: number[family], address: vip[family], port: 80 });
    t.is(peer, shown(family));
    t.is(from, shown(family));
    t.true(isBackend(family, answer), answer);
  }
});

test("a service without a backend refuses at once, as a host without a listener does", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family, { of: [] });
    serve(node, family, { id: 2, protocol: udp, of: [] });
    const target = { address: vip[family], port: 80 };
    t.deepEqual(await client.ask(target), { error: "ECONNREFUSED" });
    t.deepEqual(await client.converse({ ...target, family: number[family] }), { error: "ECONNREFUSED" });
    t.deepEqual(await client.send({ ...target, family: number[family], count: 1 }), [{ error: "ECONNREFUSED" }]);
  }
});

test("a service whose table was just switched is looked up again, not refused", async (t) => {
  const { node, client } = await world(t);
  serve(node, "ipv4");
  await node.maps.clear("service_backend"); // the reader's table is gone; nothing else is there
  t.deepEqual(await client.ask({ address: vip.ipv4, port: 80 }), { error: "ECONNREFUSED" });
  serve(node, "ipv4", { id: 2 });
  t.true(isBackend("ipv4", (await client.ask({ address: vip.ipv4, port: 80 })).answer));
});

test("session affinity keeps a client at its backend, until the time is over or the backend is gone", async (t) => {
  const { node, client } = await world(t);
  for (const family of families) {
    serve(node, family, { affinitySeconds: 60 });
    const target = { address: vip[family], port: 80 };
    const first = (await client.ask(target)).answer;
    for (let i = 0; i < 15; i++) t.is((await client.ask(target)).answer, first);

    const without = backends[family].filter((address) => `${address} 8080` !== first);
    serve(node, family, { id: 2, affinitySeconds: 60, of: [...without, ...backends[family]] });
    for (let i = 0; i < 5; i++)
      t.is((await client.ask(target)).answer, first, "the service changed, the backend is there");
    serve(node, family, { id: 3, affinitySeconds: 60, of: without });
    const second = (await client.ask(target)).answer;
    t.not(second, first);
    t.is((await client.ask(target)).answer, second);

    serve(node, family, { id: 4, affinitySeconds: 60, of: backends[family] });
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 30; i++) {
      await node.ageAffinity(65);
      seen.add((await client.ask(target)).answer);
    }
    t.true(seen.size > 1, "after the time every backend may be picked");
    await node.maps.clear("affinity");
  }
});
