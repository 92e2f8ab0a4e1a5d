import test from "ava";
import { Nat } from "../../../src/datapath/nat.ts";
import { CtFlags, NatFlags, nat4Entry, nat4Key, nat6Entry, nat6Key } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { address } from "./world.ts";

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

function natOf(kernel: FakeKernel, seen = 0): Nat {
  const native = { ...kernel.native, sweepNat: async () => ({ seen, deleted: 2 }) };
  return new Nat(native, { nat4: kernel.map("nat4"), nat6: kernel.map("nat6") }, timeouts, () => 110);
}

const [pod, node, peer] = [0x0a090001, 0xc0000201, 0xcb007101] as const;

test("each flow is told once, as its initiator has it and as its peer sees it", async (t) => {
  const kernel = new FakeKernel();
  const ports = { sourcePort: 40_000, destinationPort: 443 };
  kernel.set(
    "nat4",
    nat4Key.encode({ source: pod, destination: peer, ...ports, protocol: 6 }),
    nat4Entry.encode({
      ...{ source: node, destination: peer, sourcePort: 50_000, destinationPort: 443 },
      flags: CtFlags.replied | CtFlags.established,
      lastUsed: 100,
      table: 0,
    }),
  );
  kernel.set(
    "nat4",
    nat4Key.encode({ source: peer, destination: node, sourcePort: 443, destinationPort: 50_000, protocol: 6 }),
    nat4Entry.encode({
      ...{ source: peer, destination: pod, sourcePort: 443, destinationPort: 40_000 },
      flags: NatFlags.back,
      lastUsed: 1,
      table: 0,
    }),
  );
  const bytes = (text: string) => address(text).bytes;
  kernel.set(
    "nat6",
    nat6Key.encode({ source: bytes("2001:db8::1"), destination: bytes("2001:db8::80"), ...ports, protocol: 17 }),
    nat6Entry.encode({
      ...{ source: bytes("fd00::1"), destination: bytes("fd00:2::7"), sourcePort: 40_000, destinationPort: 8080 },
      flags: NatFlags.service,
      lastUsed: 120,
      table: 9,
    }),
  );
  const nat = natOf(kernel);
  const text = ({ address: each, port }: { readonly address: { readonly text: string }; readonly port: number }) =>
    `${each.text} ${port}`;
  t.deepEqual(
    (await nat.flows()).map(({ source, destination, to, protocol, kind, state, idleSeconds }) => [
      ...[protocol, text(source), text(destination), text(to.source), text(to.destination), kind, state, idleSeconds],
    ]),
    [
      [6, "10.9.0.1 40000", "203.0.113.1 443", "192.0.2.1 50000", "203.0.113.1 443", "masquerade", "established", 10],
      [17, "2001:db8::1 40000", "2001:db8::80 443", "fd00::1 40000", "fd00:2::7 8080", "service", "unreplied", 0],
    ],
  );
  t.is(await nat.highestTable(), 9);
  t.deepEqual(
    [...nat.entries],
    [
      ["nat4", 2],
      ["nat6", 1],
    ],
  );
});

test("a sweep counts what is left, and tells of a table that is nearly full", async (t) => {
  const kernel = new FakeKernel({ nat4: 100, nat6: 1000 });
  t.deepEqual(await natOf(kernel, 91).sweep(), []);
  const nat = natOf(kernel, 92);
  const [problem, ...others] = await nat.sweep();
  t.deepEqual([problem?.code, problem?.object, others], ["NAT_NEARLY_FULL", "map nat4", []]);
  t.is(nat.entries.get("nat4"), 90);
});
