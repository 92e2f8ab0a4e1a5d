import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import test, { type ExecutionContext } from "ava";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../../../src/model/ip.ts";
import { GobgpClient } from "../../../../src/sources/gobgp/client.ts";
import { GobgpError } from "../../../../src/sources/gobgp/errors.ts";
import type { Path, WatchEvent } from "../../../../src/sources/gobgp/types.ts";
import { any, GobgpServer, message } from "../../../support/gobgp-server.ts";
import { pathMessage, type RibShape, served, serviceName, type Version } from "../../../support/gobgp-shapes.ts";

const versions: readonly Version[] = ["api", "apipb", "gobgpapi"];

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const rib: RibShape = {
  paths: [
    { prefix: "10.1.0.0/24", nextHop: "192.0.2.1" },
    { prefix: "10.2.0.0/24", nextHop: "192.0.2.2", peer: "192.0.2.2", rich: true, stale: true },
    { prefix: "fd00:2::/64", nextHop: "fd99::2", peer: "192.0.2.2" },
  ],
  peers: [
    { address: "192.0.2.2", session: 6 },
    { address: "192.0.2.3", session: 3 },
  ],
  received: { "192.0.2.2": [{ prefix: "10.9.0.0/24", nextHop: "192.0.2.2", peer: "192.0.2.2", filtered: true }] },
};

async function connected(t: ExecutionContext, server: GobgpServer) {
  const ending = new AbortController();
  const client = await GobgpClient.connect(server.address, ending.signal);
  t.teardown(() => {
    ending.abort();
    client.close();
  });
  return { client, signal: ending.signal };
}

async function all<T>(stream: AsyncIterable<T>): Promise<readonly T[]> {
  const found: T[] = [];
  for await (const one of stream) found.push(one);
  return found;
}

const short = (path: Path) => [path.prefix.text, path.nextHop?.text, path.peer?.text ?? null];

for (const version of versions) {
  test(`${version}: is found out, and tells its speaker, peers and paths of both families`, async (t) => {
    const server = await new GobgpServer(served(version, rib).handlers).start(t);
    const { client, signal } = await connected(t, server);
    t.is(client.protocol.service, serviceName(version));
    t.deepEqual(await client.global(signal), { asn: 64_512, routerId: "192.0.2.1" });
    const peers = await all(client.peers(signal));
    t.like(peers[0], { asn: 64_512, state: "ESTABLISHED", adminDown: false, holdSeconds: 90, gracefulRestart: true });
    t.like(peers[0], { since: 1_790_000_000_000, received: 4, accepted: 3, advertised: 2, routerId: "192.0.2.2" });
    t.like(peers[1], { state: "ACTIVE", since: null });
    const four = (await all(client.paths({ table: "global", family: 4 }, signal))).flat();
    t.deepEqual(four.map(short), [
      ["10.1.0.0/24", "192.0.2.1", null],
      ["10.2.0.0/24", "192.0.2.2", "192.0.2.2"],
    ]);
    t.like(four[1], {
      best: true,
      stale: true,
      med: 50,
      localPref: 200,
      originatorId: "192.0.2.9",
    });
    t.deepEqual(four[1]?.asPath, [
      { kind: "sequence", numbers: [65_000, 64_513] },
      { kind: "set", numbers: [7] },
    ]);
    t.deepEqual(four[1]?.communities, ["64512:999", "0:1"]);
    t.deepEqual(four[1]?.largeCommunities, ["64512:1:2"]);
    t.deepEqual(four[1]?.clusterList, ["1.1.1.1", "2.2.2.2"]);
    const future = version === "api" ? "unknown attribute (field 200)" : "unknown attribute (FutureAttribute)";
    t.deepEqual(four[1]?.others, ["unknown type 99", "aggregator", future]);
    const six = (await all(client.paths({ table: "global", family: 6 }, signal))).flat();
    t.deepEqual(six.map(short), [["fd00:2::/64", "fd99::2", "192.0.2.2"]]);
    const sent = await all(client.paths({ table: "received", family: 4, peer: "192.0.2.2" }, signal));
    t.like(sent.flat()[0], { filtered: true });
  });

  test(`${version}: changes are told after the watch is ready`, async (t) => {
    const serving = served(version, { paths: [], peers: [] });
    const server = await new GobgpServer(serving.handlers).start(t);
    const { client, signal } = await connected(t, server);
    const events: WatchEvent[] = [];
    for await (const event of client.watch(signal)) {
      events.push(event);
      if (event.kind === "ready") {
        // Version 2 has no word for "you are heard": the calls are there when they were counted.
        const monitors = version === "gobgpapi" ? 3 : 1;
        const heard = () => server.calls.filter((call) => /Monitor|Watch/.test(call)).length >= monitors;
        void (async () => {
          while (!heard()) await new Promise((resolve) => setTimeout(resolve, 5));
          await new Promise((resolve) => setTimeout(resolve, 50));
          serving.tell([{ prefix: "10.2.0.0/24", nextHop: "192.0.2.2", peer: "192.0.2.2" }]);
          serving.tell([{ prefix: "fd00:2::/64", nextHop: "fd99::2", peer: "192.0.2.2", withdrawn: true }]);
        })();
      }
      if (events.filter(({ kind }) => kind === "paths").length === 2) break;
    }
    const paths = events.flatMap((event) => (event.kind === "paths" ? event.paths : []));
    const told = paths.map((path) => [path.prefix.text, path.withdrawn]).sort();
    t.deepEqual(told, [
      ["10.2.0.0/24", false],
      ["fd00:2::/64", true],
    ]);
    t.is(events[0]?.kind, "ready");
  });
}

test("a path of our own goes out in the form of the version, and comes back as it went", async (t) => {
  for (const version of ["api", "apipb"] as const) {
    const bodies: Uint8Array[] = [];
    const serving = served(version, rib);
    for (const call of ["AddPath", "DeletePath"]) {
      serving.handlers[`${serviceName(version)}/${call}`] = async ({ request, send }) => {
        bodies.push(request);
        send(message([]));
        return 0;
      };
    }
    const { client, signal } = await connected(t, await new GobgpServer(serving.handlers).start(t));
    const own = { prefix: prefix("10.1.0.0/24"), nextHop: address("192.0.2.1") };
    await client.announce({ ...own, communities: [0xfc0003e7] }, signal);
    await client.withdraw(own, signal);
    await client.withdraw({ prefix: prefix("fd00:1::/64"), nextHop: address("fd99::1") }, signal);
    const text = bodies.map((body) => Buffer.from(body).toString("latin1"));
    t.is(bodies.length, 3);
    t.is(text[0]?.includes("type.googleapis.com/apipb.NextHopAttribute"), version === "apipb");
    t.true(
      text.every((body) => /10\.1\.0\.0|fd00:1::/.test(body)),
      "each names its prefix",
    );
  }
});

test("what would delete everything is never sent, and version 2 is only read", async (t) => {
  const server = await new GobgpServer(served("apipb", rib).handlers).start(t);
  const { client, signal } = await connected(t, server);
  await t.throwsAsync(client.withdraw({} as never, signal), { instanceOf: GobgpError, code: "GOBGP_DELETE_ALL" });
  t.false(server.calls.some((call) => call.endsWith("DeletePath")));
  const old = await new GobgpServer(served("gobgpapi", rib).handlers).start(t);
  const reading = await connected(t, old);
  const own = { prefix: prefix("10.1.0.0/24"), nextHop: address("192.0.2.1") };
  await t.throwsAsync(reading.client.announce(own, signal), { code: "GOBGP_READ_ONLY" });
  await t.throwsAsync(reading.client.withdraw(own, signal), { code: "GOBGP_READ_ONLY" });
});

test("who is no gobgpd is told by what it did", async (t) => {
  const signal = new AbortController().signal;
  const other = await new GobgpServer({}).start(t);
  await t.throwsAsync(GobgpClient.connect(other.address, signal), { instanceOf: GobgpError, code: "GOBGP_API" });

  const noise = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.resume();
    socket.end("SSH-2.0-OpenSSH_9.2p1 and a lot more that is no HTTP/2 at all, for a while\r\n".repeat(10));
  });
  await new Promise<void>((resolve) => noise.listen(0, "127.0.0.1", resolve));
  t.teardown(() => noise.close());
  const { port } = noise.address() as AddressInfo;
  await t.throwsAsync(GobgpClient.connect(`127.0.0.1:${port}`, signal), { instanceOf: GobgpError });

  noise.close();
  await new Promise<void>((resolve) => noise.once("close", resolve));
  await t.throwsAsync(GobgpClient.connect(`127.0.0.1:${port}`, signal), { code: "GOBGP_UNREACHABLE" });
});

test("garbage and answers that break off are errors with a name, whatever the bytes", async (t) => {
  const good = message([[2, pathMessage("apipb", { prefix: "10.2.0.0/24", nextHop: "192.0.2.2", rich: true })]]);
  const wrong: Readonly<Record<string, Uint8Array>> = {
    "a destination that breaks off": message([[1, good.subarray(0, good.length - 3)]]),
    "a number where a path should be": message([[1, message([[2, 5]])]]),
    noise: message([[1, new Uint8Array([0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3])]]),
  };
  for (const [what, body] of Object.entries(wrong)) {
    const serving = served("apipb", rib);
    serving.handlers["apipb.GobgpApi/ListPath"] = async ({ send }) => {
      send(body);
      return 0;
    };
    const { client, signal } = await connected(t, await new GobgpServer(serving.handlers).start(t));
    await t.throwsAsync(all(client.paths({ table: "global", family: 4 }, signal)), { code: "GOBGP_ANSWER" }, what);
  }
  const cut = served("apipb", rib);
  cut.handlers["apipb.GobgpApi/ListPath"] = async ({ raw }) => {
    raw(new Uint8Array([0, 0, 0, 1, 0, 10]));
    return 0;
  };
  const { client, signal } = await connected(t, await new GobgpServer(cut.handlers).start(t));
  await t.throwsAsync(all(client.paths({ table: "global", family: 4 }, signal)), { instanceOf: GobgpError });
});

test("a path that cannot be read is left out by itself and named; of an attribute only that one is lost", async (t) => {
  for (const version of versions) {
    const path = (text: string, more: object = {}) =>
      pathMessage(version, { prefix: text, nextHop: "192.0.2.2", ...more });
    const whole = path("10.2.0.0/24", { rich: true });
    const noPrefix = message([[1, 5]]);
    const breaksOff = whole.subarray(0, whole.length - 3);
    // The communities of a form that is none: a list of numbers that breaks off.
    const badList = message([[1, new Uint8Array([0xff])]]);
    const attribute = version === "api" ? message([[9, badList]]) : any(`${version}.CommunitiesAttribute`, badList);
    const oddAttribute = Buffer.concat([path("10.3.0.0/24"), message([[2, attribute]])]);
    const serving = served(version, rib);
    serving.handlers[`${serviceName(version)}/ListPath`] = async ({ send }) => {
      const bodies = [breaksOff, noPrefix, oddAttribute, path("10.4.0.0/24")];
      for (const body of bodies) send(message([[1, message([[2, body]])]]));
      return 0;
    };
    const { client, signal } = await connected(t, await new GobgpServer(serving.handlers).start(t));
    const paths = (await all(client.paths({ table: "global", family: 4 }, signal))).flat();
    t.deepEqual(paths.map(short), [
      ["10.3.0.0/24", "192.0.2.2", null],
      ["10.4.0.0/24", "192.0.2.2", null],
    ]);
    t.regex(paths[0]?.others.join() ?? "", /^unreadable attribute \(.*breaks off/);
    t.is(client.unreadable.count, 2);
    t.regex(
      client.unreadable.text(),
      /^10\.2\.0\.0\/24 \(.*\), one without a prefix \(field 1 has wire type 0, not 2\)$/,
    );
  }
});

test("paths that are none of ours are left out, the others are read", async (t) => {
  const good = pathMessage("apipb", { prefix: "10.2.0.0/24", nextHop: "192.0.2.2" });
  const evpn = message([
    [1, any("apipb.EVPNMACIPAdvertisementRoute", message([[1, "x"]]))],
    [
      9,
      message([
        [1, 25],
        [2, 70],
      ]),
    ],
  ]);
  const odd = message([
    [
      1,
      any(
        "apipb.IPAddressPrefix",
        message([
          [1, 99],
          [2, "10.0.0.0"],
        ]),
      ),
    ],
    [
      9,
      message([
        [1, 1],
        [2, 1],
      ]),
    ],
  ]);
  const serving = served("apipb", rib);
  serving.handlers["apipb.GobgpApi/ListPath"] = async ({ send }) => {
    send(
      message([
        [
          1,
          message([
            [1, "x"],
            [2, evpn],
            [2, odd],
            [2, good],
          ]),
        ],
      ]),
    );
    return 0;
  };
  const { client, signal } = await connected(t, await new GobgpServer(serving.handlers).start(t));
  const paths = (await all(client.paths({ table: "global", family: 4 }, signal))).flat();
  t.deepEqual(paths.map(short), [["10.2.0.0/24", "192.0.2.2", null]]);
});
