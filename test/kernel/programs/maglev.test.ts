/** Which backend a client gets where a hash chooses: the one that every node with the same table gives it. */
import { clientHash, slotOf } from "../../support/client-hash.ts";
import { Protocol, tcp, udp } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode } from "../../support/programs.ts";
import { putService } from "../../support/programs-maps.ts";
import { isDropped, programTests } from "../../support/programs-test.ts";

const { both } = programTests();

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const ports = Array.from({ length: 40 }, (_, at) => 40_000 + 7 * at);

interface Served {
  readonly maglev: readonly number[];
  readonly backends?: readonly string[];
  readonly protocol?: number;
  readonly affinitySeconds?: number;
  readonly outside?: boolean;
}

function serve(node: ProgramNode, family: Family, options: Served): void {
  const { backends = [who.a[family], who.b[family]], protocol = Protocol.tcp, outside = true, ...rest } = options;
  const table = backends.map((address) => ({ address, port: 8080 }));
  putService(node.maps, { id: 5, address: vip[family], port: 80, protocol, backends: table, outside, ...rest });
}

const asked = async (node: ProgramNode, family: Family, port: number): Promise<string | undefined> =>
  (await node.run("from_network", wireFrame(who.w[family], vip[family], tcp(port, 80, "S")))).parsed.ip?.destination;

function hash(family: Family, port: number | null, client: string = who.w[family], protocol: number = Protocol.tcp) {
  return clientHash({ address: client, port, service: vip[family], servicePort: 80, protocol });
}

both("the slot of its hash is a client's backend, in every chunk of the table", async (t, node, family) => {
  // 300 slots lie in three chunks; where they change hands is no border of any.
  const maglev = Array.from({ length: 300 }, (_, slot) => (slot % 7 < 3 ? 1 : 0));
  serve(node, family, { maglev });
  const chunks = new Set<number>();
  for (const port of ports) {
    const slot = slotOf(hash(family, port), maglev.length);
    chunks.add(slot >> 7);
    t.is(await asked(node, family, port), maglev[slot] === 1 ? who.b[family] : who.a[family], `port ${port}`);
  }
  t.deepEqual([...chunks].sort(), [0, 1, 2]);
});

both("more than 256 backends: two bytes a slot", async (t, node, family) => {
  const backends = Array.from({ length: 300 }, (_, at) => (at === 299 ? who.b[family] : who.a[family]));
  const maglev = Array.from({ length: 200 }, (_, slot) => (slot % 3 === 0 ? 299 : 43));
  serve(node, family, { backends, maglev });
  for (const port of ports) {
    const backend = maglev[slotOf(hash(family, port), maglev.length)];
    t.is(await asked(node, family, port), backend === 299 ? who.b[family] : who.a[family], `port ${port}`);
  }
});

both("without a table hashes are spread over the backends", async (t, node, family) => {
  serve(node, family, { maglev: [] });
  const seen = new Set<string | undefined>();
  for (const port of ports) {
    const backend = await asked(node, family, port);
    t.is(backend, slotOf(hash(family, port), 2) === 1 ? who.b[family] : who.a[family]);
    seen.add(backend);
  }
  t.is(seen.size, 2);
});

both(
  "session affinity leaves the client's port out, also when the choice is not remembered",
  async (t, node, family) => {
    const maglev = Array.from({ length: 251 }, (_, slot) => slot % 2);
    serve(node, family, { maglev, affinitySeconds: 60 });
    const backend = maglev[slotOf(hash(family, null), maglev.length)] === 1 ? who.b[family] : who.a[family];
    for (const port of ports.slice(0, 8)) {
      t.is(await asked(node, family, port), backend);
      await node.maps.clear("affinity");
    }
  },
);

both("a pod's packets fall by the same hash", async (t, node, family) => {
  const maglev = Array.from({ length: 251 }, (_, slot) => slot % 2);
  serve(node, family, { maglev, protocol: Protocol.udp, outside: false, backends: [who.b[family], who.w[family]] });
  for (const port of ports) {
    const frame = podFrame("a", who.a[family], vip[family], udp(port, 80));
    const backend = maglev[slotOf(hash(family, port, who.a[family], Protocol.udp), maglev.length)];
    const result = await node.fromPod("a", frame);
    t.is(result.parsed.ip?.destination, backend === 1 ? who.w[family] : who.b[family], `port ${port}`);
  }
});

both("a table of which a part is missing sends nobody to a wrong backend", async (t, node, family) => {
  serve(node, family, { maglev: Array.from({ length: 300 }, () => 1) });
  node.maps.delete("maglev", { service: 5, chunk: 0 });
  const port = ports.find((each) => slotOf(hash(family, each), 300) < 128) ?? 0;
  const frame = wireFrame(who.w[family], vip[family], tcp(port, 80, "S"));
  await isDropped(t, node, await node.run("from_network", frame), "noBackend", "ingress");
});
