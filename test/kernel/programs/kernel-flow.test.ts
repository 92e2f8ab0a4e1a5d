/** Connections that the kernel's conntrack has go on by it, as those that kube-proxy's rules began before Tandem served their address. */
import test from "ava";
import { loadNative } from "../../../src/native/index.ts";
import { Protocol, tcp, type Transport } from "../../support/packets.ts";
import { type Family, who, wireFrame } from "../../support/programs-frames.ts";
import { connectInKernel as connect, unanswered } from "../../support/kernel-connections.ts";
import type { ProgramNode, RunResult } from "../../support/programs.ts";
import { putService } from "../../support/programs-maps.ts";
import { programTests } from "../../support/programs-test.ts";

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;
const way = (result: RunResult) => {
  const seen = result.parsed.ip;
  return `${seen?.source}:${seen?.sourcePort} > ${seen?.destination}:${seen?.destinationPort}`;
};

const asks = (node: ProgramNode, family: Family, transport: Transport, to: string = vip[family]) =>
  node.run("from_network", wireFrame(who.w[family], to, transport));

if ((await loadNative().probeFeatures()).kernel_conntrack?.supported !== true) {
  test("connections that the kernel has", (t) => {
    t.log("skipped: programs cannot ask this kernel's conntrack");
    t.pass();
  });
} else {
  const { both } = programTests({ config_kernel_conntrack: 1 });
  const backend = (family: Family) => `${who.a[family]}:8080`;
  const serve = (node: ProgramNode, family: Family, address: string, port: number) =>
    putService(node.maps, {
      id: port,
      address,
      port,
      protocol: Protocol.tcp,
      backends: [{ address: who.a[family], port: 8080 }],
      outside: true,
    });

  both("a connection of the kernel's is left to it until it begins anew", async (t, node, family) => {
    serve(node, family, vip[family], 80);
    const forget = await connect(node, [[who.w[family], 40_000, vip[family], 80]]);
    for (const letters of ["A", "PA", "FA", "R"]) {
      const packet = wireFrame(who.w[family], vip[family], tcp(40_000, 80, letters));
      const passed = await node.run("from_network", packet);
      t.is(passed.verdict, "stack", letters);
      t.deepEqual(passed.frame, packet, letters);
    }
    t.deepEqual(await node.flows(family), [], "it is no flow of ours");
    t.is(way(await asks(node, family, tcp(40_000, 80, "S"))), `${who.w[family]}:40000 > ${backend(family)}`);
    t.is(way(await asks(node, family, tcp(40_000, 80, "A"))), `${who.w[family]}:40000 > ${backend(family)}`);
    await forget();
  });

  both("one that it does not have, or without an answer, gets a backend", async (t, node, family) => {
    for (const port of [80, unanswered]) serve(node, family, vip[family], port);
    const forget = await connect(node, [
      [who.w[family], 40_010, vip[family], 80],
      [who.w[family], 40_011, vip[family], unanswered],
    ]);
    t.is((await asks(node, family, tcp(40_010, 80, "A"))).verdict, "stack");
    for (const [from, port] of [
      [40_012, 80],
      [40_011, unanswered],
    ] as const) {
      const passed = await asks(node, family, tcp(from, port, "A"));
      t.is(passed.verdict, "redirect");
      t.is(way(passed), `${who.w[family]}:${from} > ${backend(family)}`);
    }
    await forget();
  });

  both(
    "answers to a connection of the node's own come back, though its port is a service's",
    async (t, node, family) => {
      serve(node, family, who.host[family], 30_080);
      const forget = await connect(node, [[who.host[family], 30_080, who.w[family], 443]]);
      t.is((await asks(node, family, tcp(443, 30_080, "A"), who.host[family])).verdict, "stack");
      t.is(
        way(await asks(node, family, tcp(444, 30_080, "A"), who.host[family])),
        `${who.w[family]}:444 > ${backend(family)}`,
      );
      await forget();
    },
  );

  both(
    "the port of a connection that the node has by others' rules is given to no client of the same server",
    async (t, node, family) => {
      putService(node.maps, {
        id: 5,
        address: vip[family],
        port: 80,
        protocol: Protocol.tcp,
        backends: [{ address: who.r[family], port: 8080 }],
        outside: true,
      });
      const clusterIP = { ipv4: "10.96.0.1", ipv6: "fd00:96::1" }[family];
      const forget = await connect(node, [[who.host[family], 40_030, who.r[family], 8080, clusterIP]]);
      await forget(); // the server is on another node
      const renamed = await asks(node, family, tcp(40_030, 80, "S"));
      t.is(renamed.verdict, "redirect");
      t.is(renamed.parsed.ip?.destination, who.r[family]);
      t.is(renamed.parsed.ip?.source, who.host[family]);
      t.not(renamed.parsed.ip?.sourcePort, 40_030);
      t.is((await asks(node, family, tcp(40_031, 80, "S"))).parsed.ip?.sourcePort, 40_031);
    },
  );
}
