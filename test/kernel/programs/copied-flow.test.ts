/** Connections that the kernel's conntrack has, where programs cannot ask it: the agent copies those that others' rules lead elsewhere. */
import { loadNative } from "../../../src/native/index.ts";
import { kernelFlowKey } from "../../../src/native/layouts.gen.ts";
import { connectInKernel, unanswered } from "../../support/kernel-connections.ts";
import { Protocol, tcp } from "../../support/packets.ts";
import { type Family, who, wireFrame } from "../../support/programs-frames.ts";
import { putService } from "../../support/programs-maps.ts";
import type { ProgramNode } from "../../support/programs.ts";
import { programTests } from "../../support/programs-test.ts";

const { both } = programTests({ config_kernel_conntrack: 0 });
const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;

/** What the agent does now and then. @returns how many packets' ways there are */
async function copy(node: ProgramNode): Promise<number> {
  const keys = await loadNative().redirectedFlows(`/run/netns/${node.netns}`);
  for (let at = 0; at < keys.length; at += kernelFlowKey.size) {
    node.maps.put("kernel_flow", kernelFlowKey.decode(keys, at), 1);
  }
  return keys.length / kernelFlowKey.size;
}

function serve(node: ProgramNode, family: Family, backend: string): void {
  const backends = [{ address: backend, port: 8080 }];
  putService(node.maps, { id: 5, address: vip[family], port: 8080, protocol: Protocol.tcp, backends, outside: true });
}

const asks = (node: ProgramNode, family: Family, port: number, letters: string) =>
  node.run("from_network", wireFrame(who.w[family], vip[family], tcp(port, 8080, letters)));

both("one that others' rules led to a backend is left to them until it begins anew", async (t, node, family) => {
  const before = await copy(node);
  serve(node, family, who.a[family]);
  const forget = await connectInKernel(node, [
    [who.w[family], 40_040, who.r[family], 8080, vip[family]],
    [who.w[family], 40_041, who.r[family], 8080],
    [who.w[family], 40_042, who.r[family], unanswered, vip[family]],
  ]);
  await forget();
  t.is((await copy(node)) - before, 2, "both ways of the one that was led elsewhere and answered");
  for (const letters of ["A", "PA", "FA", "R"]) {
    const passed = await asks(node, family, 40_040, letters);
    t.is(passed.verdict, "stack", letters);
  }
  t.deepEqual(await node.flows(family), [], "it is no flow of ours");
  for (const port of [40_041, 40_042]) {
    const passed = await asks(node, family, port, "A");
    t.is(passed.parsed.ip?.destination, who.a[family], `${port}`);
  }
  t.is((await asks(node, family, 40_040, "S")).parsed.ip?.destination, who.a[family]);
  t.is((await asks(node, family, 40_040, "A")).parsed.ip?.destination, who.a[family]);
});

both("the port of one of the node's own is given to no client of the same server", async (t, node, family) => {
  serve(node, family, who.r[family]);
  const clusterIP = { ipv4: "10.96.0.1", ipv6: "fd00:96::1" }[family];
  const forget = await connectInKernel(node, [[who.host[family], 40_050, who.r[family], 8080, clusterIP]]);
  await forget(); // the server is on another node
  await copy(node);
  const { ip } = (await asks(node, family, 40_050, "S")).parsed;
  t.deepEqual([ip?.source, ip?.destination], [who.host[family], who.r[family]]);
  t.not(ip?.sourcePort, 40_050);
  t.is((await asks(node, family, 40_051, "S")).parsed.ip?.sourcePort, 40_051);
});
