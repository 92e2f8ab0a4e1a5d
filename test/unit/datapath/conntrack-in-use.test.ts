import test from "ava";
import { addressNumber } from "../../../src/datapath/addresses.ts";
import { Conntrack } from "../../../src/datapath/conntrack.ts";
import { type CtEntry, CtFlags, ct4Key, ct6Key, ctEntry } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { address } from "./world.ts";

const entry: CtEntry = {
  lastUsed: 0,
  created: 0,
  egressRevision: 1,
  ingressRevision: 0,
  flags: CtFlags.established,
  natPort: 0,
  natId: 0,
  natAddress: new Uint8Array(16),
};

/** A flow of a pod with somebody outside, whose address is the lower or the higher one of the key. */
function flow(kernel: FakeKernel, peer: string, flags: number, isLow = true): void {
  const [pod, other] = [address(peer.includes(":") ? "fd00::2" : "10.9.0.2"), address(peer)];
  const [low, high] = isLow ? [other, pod] : [pod, other];
  const ports = { lowPort: 1, highPort: 2, protocol: 6 };
  const value = ctEntry.encode({ ...entry, flags });
  if (other.family === 4) {
    const key = { ...ports, lowAddress: addressNumber(low), highAddress: addressNumber(high) };
    kernel.set("ct4", ct4Key.encode(key), value);
  } else {
    kernel.set("ct6", ct6Key.encode({ ...ports, lowAddress: low.bytes, highAddress: high.bytes }), value);
  }
}

test("addresses of living flows are in use, on either side and in both families; of those that end they are not", async (t) => {
  const kernel = new FakeKernel();
  flow(kernel, "192.0.2.1", CtFlags.established);
  flow(kernel, "192.0.2.2", CtFlags.established, false);
  flow(kernel, "192.0.2.3", CtFlags.established | CtFlags.rst);
  flow(kernel, "192.0.2.4", CtFlags.established | CtFlags.finInitiator | CtFlags.finResponder);
  flow(kernel, "192.0.2.5", CtFlags.established | CtFlags.finInitiator);
  flow(kernel, "2001:db8::1", CtFlags.replied, false);
  flow(kernel, "192.0.2.9", CtFlags.established);
  const conntrack = new Conntrack(
    { mapDump: kernel.native.mapDump, sweepConntrack: async () => ({ seen: 0, deleted: 0 }) },
    { ct4: kernel.map("ct4"), ct6: kernel.map("ct6"), affinity: kernel.map("affinity") },
    { tcpOpening: 1, tcpEstablished: 1, tcpClosing: 1, udpUnreplied: 1, udpReplied: 1, icmp: 1, other: 1, service: 1 },
    () => 0,
  );
  const asked = [1, 2, 3, 4, 5, 6].map((last) => address(`192.0.2.${last}`));
  const found = await conntrack.inUse([...asked, address("2001:db8::1"), address("2001:db8::2")]);
  t.deepEqual([...found].sort(), ["192.0.2.1", "192.0.2.2", "192.0.2.5", "2001:db8::1"]);
  t.is((await conntrack.inUse([])).size, 0);
});
