/** The second way to the L7 proxy: a mark says which listener is meant, and nft finds it. Whole ways: test/e2e/l7-tproxy.test.ts. */
import { closeSync } from "node:fs";
import type { ExecutionContext } from "ava";
import { ProxyKind, ProxyPort, ProxyRedirect } from "../../../src/native/layouts.gen.ts";
import { tcp, udp } from "../../support/packets.ts";
import type { ProgramNode } from "../../support/programs.ts";
import { type Family, podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { putPolicy } from "../../support/programs-maps.ts";
import { isDropped, isPassed, programTests } from "../../support/programs-test.ts";

const { both } = programTests({ config_proxy_redirect: ProxyRedirect.tproxy });
const closed = programTests({ config_proxy_redirect: ProxyRedirect.none });

const loopback = { ipv4: Buffer.from([127, 0, 0, 1]), ipv6: Buffer.from([...Buffer.alloc(15), 1]) };
const rule = { port: 80, groups: [0] };

function redirectAll(node: ProgramNode, direction: "egress" | "ingress"): void {
  const ports = [6, 17].map((protocol) => ({ protocol, ...rule }));
  putPolicy(node.maps, { set: 1, direction, redirects: 1, peers: { 0: [0] }, ports });
  node.enforce("a", direction);
}

/** One worker whose listener has that port. Its slot is empty again once the test is over. */
async function listen(t: ExecutionContext, node: ProgramNode, family: Family, kind: "tcp" | "udp", port: number) {
  const { fd } = await node.native.openSocket(`/run/netns/${node.netns}`, {
    type: kind,
    address: loopback[family],
    port,
    transparent: true,
    mark: null,
    reusePort: false,
    listen: kind === "tcp" ? 8 : null,
  });
  let isOpen = true;
  const close = () => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  t.teardown(close);
  const slot = ProxyKind[`${kind}${family === "ipv4" ? 4 : 6}`] * 64;
  node.maps.put("proxy_socket", slot, BigInt(fd));
  node.maps.put("proxy", 0, { workers: 1, generation: 1 });
  return close;
}

for (const [kind, transport] of [
  ["tcp", tcp(40000, 80, "S")],
  ["udp", udp(40000, 80)],
] as const) {
  for (const direction of ["egress", "ingress"] as const) {
    const send = (node: ProgramNode, family: Family, mark = 0) =>
      direction === "egress"
        ? node.fromPod("a", podFrame("a", who.a[family], who.r[family], transport), { mark })
        : node.run("from_network", wireFrame(who.r[family], who.a[family], transport), { mark });

    both(
      `${direction} of ${kind}: the mark says which listener, and it is closed without one`,
      async (t, node, family) => {
        redirectAll(node, direction);
        const close = await listen(t, node, family, kind, ProxyPort.nobody + 3);
        const result = await send(node, family, 0x4077_4000);
        isPassed(t, node, result, "stack", direction);
        t.is(result.mark, 0x4003_4900, "bits of others stay");
        await node.takeEvents();
        close();
        const [flow] = await node.flows(family);
        t.true(flow?.flags.includes("proxy"));
        await isDropped(t, node, await send(node, family), "proxyMissing", direction);
      },
    );

    both(`${direction} of ${kind}: a listener that no mark can name gets nothing`, async (t, node, family) => {
      redirectAll(node, direction);
      await listen(t, node, family, kind, ProxyPort.last + 1);
      t.is((await send(node, family)).verdict, "drop");
    });

    closed.both(`${direction} of ${kind}: without either way it is closed`, async (t, node, family) => {
      redirectAll(node, direction);
      await listen(t, node, family, kind, ProxyPort.first);
      t.is((await send(node, family)).verdict, "drop");
    });
  }
}
