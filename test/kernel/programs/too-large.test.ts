/** What comes in and does not fit on the way out again: its sender is told how large it may be, about the packet that he sent. */
import type { ExecutionContext } from "ava";
import {
  bytesOf,
  checksum,
  icmpError,
  type IpOptions,
  ip,
  Protocol,
  pseudoHeader,
  tcp,
  type Transport,
  udp,
} from "../../support/packets.ts";
import { type Family, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { wrongChecksums } from "../../support/packets-parse.ts";
import { putService } from "../../support/programs-maps.ts";
import { isDropped, programTests, reasonNumber } from "../../support/programs-test.ts";

const { both, check } = programTests({}, {}, ["tc", "xdp"]);

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const narrow = { ipv4: "10.0.6.20", ipv6: "fd00:6::20" } as const;
const hops = { ipv4: "192.0.2.2", ipv6: "2001:db8:f::2" } as const;
const quoted = 512;

/** While `body` runs, what goes to this address may have so many bytes and no more. */
async function narrowed(node: ProgramNode, to: string, mtu: number, body: () => Promise<void>): Promise<void> {
  const family = to.includes(":") ? "ipv6" : "ipv4";
  const route = `${to}/${family === "ipv4" ? 32 : 128}`;
  await node.ip("route", "add", route, "via", hops[family], "mtu", "lock", String(mtu));
  try {
    await body();
  } finally {
    await node.ip("route", "del", route);
  }
}

interface Served {
  readonly protocol?: number;
  readonly dsr?: boolean;
  readonly backend?: string;
}

function serve(node: ProgramNode, family: Family, options: Served = {}): void {
  const { protocol = Protocol.tcp, dsr = false, backend = narrow[family] } = options;
  const backends = [{ address: backend, port: 8080 }];
  putService(node.maps, { id: 5, address: vip[family], port: 80, protocol, backends, outside: true, dsr });
}

const asks = (node: ProgramNode, family: Family, transport: Transport, options?: IpOptions) =>
  node.run("from_network", wireFrame(who.w[family], vip[family], transport, options));

/** The type, code and MTU of an ICMP error. */
function told(result: RunResult): readonly (number | null | undefined)[] {
  const seen = result.parsed.ip;
  return [seen?.type, seen?.code, seen?.payload.readUInt32BE(4)];
}

const tooBig = (family: Family, mtu: number) => (family === "ipv4" ? [3, 4, mtu] : [2, 0, mtu]);

/** `sent` is dropped, and counted as that; its sender gets an error from whom he sent it to, with the beginning of what he sent. */
async function isTold(
  t: ExecutionContext,
  node: ProgramNode,
  family: Family,
  [sent, answer]: readonly [Buffer, RunResult],
  mtu: number,
): Promise<void> {
  t.is(answer.verdict, "redirect");
  t.deepEqual(wrongChecksums(answer.frame), []);
  t.deepEqual(told(answer), tooBig(family, mtu));
  t.deepEqual(answer.parsed.ip?.payload.subarray(8), sent.subarray(14, 14 + quoted));
  t.deepEqual([...node.takeMetrics().keys()], [`${reasonNumber("tooLarge")}/ingress`]);
  t.deepEqual(
    (await node.takeEvents()).map(({ reason }) => reason),
    [reasonNumber("tooLarge")],
  );
}

for (const [what, protocol, dsr] of [
  ["TCP in the node's name", Protocol.tcp, false],
  ["UDP in the node's name", Protocol.udp, false],
  ["TCP that is answered directly", Protocol.tcp, true],
  ["UDP that is answered directly", Protocol.udp, true],
] as const) {
  both(`${what}: the client is told, by the service`, async (t, node, family) => {
    serve(node, family, { protocol, dsr });
    const make = (letters: string, length = 0) =>
      protocol === Protocol.tcp
        ? tcp(40000, 80, letters, { data: Buffer.alloc(length, 7) })
        : udp(40000, 80, { data: Buffer.alloc(length, 7) });
    await narrowed(node, narrow[family], 1400, async () => {
      t.is((await asks(node, family, make("S"))).verdict, "redirect");
      node.takeMetrics();
      await node.takeEvents();
      const sent = wireFrame(who.w[family], vip[family], make("A", 1400));
      const answer = await node.run("from_network", sent);
      t.is(answer.parsed.ip?.source, vip[family]);
      t.is(answer.parsed.ip?.destination, who.w[family]);
      t.is(answer.parsed.ip?.ttl, 63);
      await isTold(t, node, family, [sent, answer], 1400);
      const headers = (family === "ipv4" ? 20 : 40) + (protocol === Protocol.tcp ? 20 : 8);
      const fits = await asks(node, family, make("A", 1400 - headers));
      t.is(fits.parsed.ip?.destination, narrow[family], "as large as he was told");
    });
  });
}

both("an answer that does not fit to the client: the backend is told, by the node", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  await narrowed(node, who.w[family], 1300, async () => {
    node.takeMetrics();
    await node.takeEvents();
    const data = Buffer.alloc(1400, 9);
    const sent = wireFrame(narrow[family], who.host[family], tcp(8080, 40000, "A", { data }));
    const answer = await node.run("from_network", sent);
    t.is(answer.parsed.ip?.source, who.host[family]);
    t.is(answer.parsed.ip?.destination, narrow[family]);
    await isTold(t, node, family, [sent, answer], 1300);
  });
});

check("where the service's address goes along, there is room for less", async (t, node) => {
  serve(node, "ipv4", { protocol: Protocol.udp, dsr: true });
  await narrowed(node, narrow.ipv4, 1000, async () => {
    const sent = wireFrame(who.w.ipv4, vip.ipv4, udp(40000, 80, { data: Buffer.alloc(970, 7) }));
    const answer = await node.run("from_network", sent);
    t.is(answer.parsed.ip?.destination, who.w.ipv4);
    await isTold(t, node, "ipv4", [sent, answer], 992);
    const fits = await asks(node, "ipv4", udp(40001, 80, { data: Buffer.alloc(992 - 28, 7) }));
    t.is(fits.parsed.ip?.destination, narrow.ipv4);
  });
});

both("segments that are still to be cut are told of once, by the size that they will have", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  await narrowed(node, narrow[family], 1400, async () => {
    const sent = wireFrame(who.w[family], vip[family], tcp(40000, 80, "A", { data: Buffer.alloc(2 * 1440, 3) }));
    const answer = await node.run("from_network", sent, { gsoSize: 1440, gsoSegments: 2 });
    t.deepEqual(told(answer), tooBig(family, 1400));
    t.deepEqual(wrongChecksums(answer.frame), []);
    t.is(answer.frame.length, 14 + (family === "ipv4" ? 28 : 48) + quoted);
    const cut = await node.run("from_network", sent, { gsoSize: 1300, gsoSegments: 3 });
    t.is(cut.parsed.ip?.destination, narrow[family]);
  });
});

both("nobody is told about an error", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  await narrowed(node, who.w[family], 1300, async () => {
    node.takeMetrics();
    await node.takeEvents();
    const about = ip(who.host[family], narrow[family], tcp(40000, 8080, "A", { data: Buffer.alloc(1400, 7) }));
    const error = wireFrame(narrow[family], who.host[family], icmpError("tooBig", about, { keep: 1400 }));
    await isDropped(t, node, await node.run("from_network", error), "tooLarge", "ingress");
  });
});

both("a checksum that a device has still to complete is counted as it will be", async (t, node, family) => {
  serve(node, family);
  await asks(node, family, tcp(40000, 80, "S"));
  await narrowed(node, narrow[family], 1400, async () => {
    const data = Buffer.alloc(1400, 7);
    const [source, destination] = [bytesOf(who.w[family]), bytesOf(vip[family])];
    const pending = ~checksum(pseudoHeader(source, destination, Protocol.tcp, 20 + data.length)) & 0xffff;
    const answer = await asks(node, family, tcp(40000, 80, "A", { data, checksum: pending }));
    t.deepEqual(told(answer), tooBig(family, 1400));
    const frame = Buffer.from(answer.frame);
    const inner = 14 + (family === "ipv4" ? 28 : 48);
    const segment = inner + (family === "ipv4" ? 20 : 40);
    // what the device does (skb_checksum_help): over what is left, from where the segment begins
    frame.writeUInt16BE(checksum(frame.subarray(segment)), segment + 16);
    t.deepEqual(wrongChecksums(frame), []);
  });
});
