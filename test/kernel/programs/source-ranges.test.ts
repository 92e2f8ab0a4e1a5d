/** Which clients outside may use a service (loadBalancerSourceRanges), packet by packet. */
import { Protocol, tcp, udp } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { putService, putSources, type TestSources } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests();

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
/** Around the client, and one that it is not in. */
const around = { ipv4: ["198.51.100.0/24"], ipv6: ["2001:db8:99::/48"] } as const;
const elsewhere = { ipv4: ["198.18.0.0/15", "10.0.0.0/8"], ipv6: ["2001:db8:98::/48"] } as const;

function serve(node: ProgramNode, family: Family, sources: TestSources | null, protocol: number = Protocol.tcp): void {
  const place = { address: vip[family], port: 80, protocol };
  const backends = [{ address: who.a[family], port: 8080 }];
  putService(node.maps, { ...place, id: 5, backends, outside: true, restricted: true });
  if (sources !== null) putSources(node.maps, place, sources);
}

const asks = (node: ProgramNode, family: Family, port = 40000): Promise<RunResult> =>
  node.run("from_network", wireFrame(who.w[family], vip[family], tcp(port, 80, "S")));

both(
  "allow: a client of the list is served, another one is dropped and nothing of it is remembered",
  async (t, node, family) => {
    serve(node, family, { list: 1, prefixes: [...elsewhere[family], ...around[family]] });
    isPassed(t, node, await asks(node, family), "redirect", "ingress");
    serve(node, family, { list: 2, prefixes: elsewhere[family] });
    const before = await node.flows(family);
    node.takeMetrics();
    await node.takeEvents();
    await isDropped(t, node, await asks(node, family, 40001), "sourceRange", "ingress");
    t.deepEqual(await node.flows(family), before);
  },
);

both("deny: the other way round", async (t, node, family) => {
  serve(node, family, { list: 1, deny: true, prefixes: elsewhere[family] });
  isPassed(t, node, await asks(node, family), "redirect", "ingress");
  serve(node, family, { list: 2, deny: true, prefixes: around[family] });
  node.takeMetrics();
  await node.takeEvents();
  await isDropped(t, node, await asks(node, family, 40001), "sourceRange", "ingress");
});

both("whoever is taken off the list is out, also with what he began", async (t, node, family) => {
  serve(node, family, { list: 1, prefixes: around[family] });
  isPassed(t, node, await asks(node, family), "redirect", "ingress");
  serve(node, family, { list: 2, prefixes: elsewhere[family] });
  node.takeMetrics();
  await node.takeEvents();
  const later = await node.run("from_network", wireFrame(who.w[family], vip[family], tcp(40000, 80, "A")));
  await isDropped(t, node, later, "sourceRange", "ingress");
});

both(
  "nor does he begin anything with a backend on another node, under the ports of what he had",
  async (t, node, family) => {
    const send = (make: typeof tcp | typeof udp) =>
      node.run(
        "from_network",
        wireFrame(who.w[family], vip[family], make === tcp ? tcp(40000, 80, "S") : udp(40000, 80)),
      );
    for (const [make, protocol] of [
      [tcp, Protocol.tcp],
      [udp, Protocol.udp],
    ] as const) {
      const place = { address: vip[family], port: 80, protocol };
      const backends = [{ address: who.r[family], port: 8080 }];
      putService(node.maps, { ...place, id: 5, backends, outside: true, restricted: true });
      putSources(node.maps, place, { list: 1, prefixes: around[family] });
      t.is((await send(make)).parsed.ip?.source, who.host[family]);
      putSources(node.maps, place, { list: 2, prefixes: elsewhere[family] });
      node.takeMetrics();
      await node.takeEvents();
      await isDropped(t, node, await send(make), "sourceRange", "ingress");
    }
  },
);

both(
  "a service that is not for all and has no rule, or a list without anybody, is for nobody",
  async (t, node, family) => {
    serve(node, family, null);
    await isDropped(t, node, await asks(node, family), "sourceRange", "ingress");
    serve(node, family, { list: 0, prefixes: [] });
    await isDropped(t, node, await asks(node, family), "sourceRange", "ingress");
  },
);

both("lists are kept apart by their numbers, and frontends by their ports' protocol", async (t, node, family) => {
  serve(node, family, { list: 1, prefixes: elsewhere[family] });
  serve(node, family, { list: 2, prefixes: around[family] }, Protocol.udp);
  const datagram = await node.run("from_network", wireFrame(who.w[family], vip[family], udp(40000, 80)));
  isPassed(t, node, datagram, "redirect", "ingress");
  await node.takeEvents();
  await isDropped(t, node, await asks(node, family), "sourceRange", "ingress");
});

both("clients of the node are not asked", async (t, node, family) => {
  serve(node, family, { list: 1, prefixes: elsewhere[family] });
  const place = { address: vip[family], port: 80, protocol: Protocol.tcp };
  putService(node.maps, { ...place, id: 6, backends: [{ address: who.b[family], port: 8080 }] });
  const own = await node.fromPod("a", podFrame("a", who.a[family], vip[family], tcp(40000, 80, "S")));
  t.is(own.verdict, "redirect");
  t.is(own.parsed.ip?.destination, who.b[family]);
});
