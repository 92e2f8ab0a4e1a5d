/** Flows that begin at a service's address are counted once each, for clients of each kind by themselves. */
import { ServiceScope } from "../../../src/native/layouts.gen.ts";
import { Protocol, tcp } from "../../support/packets.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import type { ProgramNode } from "../../support/programs.ts";
import { mapped, putService } from "../../support/programs-maps.ts";
import { programTests } from "../../support/programs-test.ts";

const { both } = programTests();

const vip = { ipv4: "203.0.113.10", ipv6: "2001:db8:aa::10" } as const;

function begun(node: ProgramNode, family: Family): { readonly inside: bigint; readonly outside: bigint } {
  const count = (scope: number) =>
    node.maps
      .perCpu("service_flows", { address: mapped(vip[family]), port: 80, protocol: Protocol.tcp, scope })
      .reduce((sum, { begun: own }) => sum + own, 0n);
  return { inside: count(ServiceScope.inside), outside: count(ServiceScope.outside) };
}

function serve(
  node: ProgramNode,
  family: Family,
  outside: boolean,
  backends = [{ address: who.b[family], port: 8080 }],
): void {
  putService(node.maps, { id: 5, address: vip[family], port: 80, protocol: Protocol.tcp, backends, outside });
}

both("of clients outside", async (t, node, family) => {
  serve(node, family, true);
  const send = (port: number, letters: string) =>
    node.run("from_network", wireFrame(who.w[family], vip[family], tcp(port, 80, letters)));
  await send(40000, "S");
  t.deepEqual(begun(node, family), { inside: 0n, outside: 1n });
  await send(40000, "S");
  await send(40000, "A");
  t.deepEqual(begun(node, family), { inside: 0n, outside: 1n }, "packets of one flow are no flows");
  await send(40001, "S");
  t.deepEqual(begun(node, family), { inside: 0n, outside: 2n });
  serve(node, family, true, []);
  await send(40002, "S");
  t.deepEqual(begun(node, family), { inside: 0n, outside: 2n }, "one that nobody answers does not begin");
});

both("of pods, packet by packet", async (t, node, family) => {
  serve(node, family, false);
  for (const letters of ["S", "A"])
    await node.fromPod("a", podFrame("a", who.a[family], vip[family], tcp(40000, 80, letters)));
  t.deepEqual(begun(node, family), { inside: 1n, outside: 0n });
});
