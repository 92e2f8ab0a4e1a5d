/** Services by XDP on the uplink: as without it, while the driver sends most packets on by itself. */
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { loadNative, packageRoot } from "../../src/native/index.ts";
import { agentStatus, settled, withLab } from "../support/lab.ts";
import {
  announceTransfers,
  transfer,
  transferBackend,
  transferBytes,
  transferService,
  transferVips,
} from "../support/transfers.ts";

async function ethtool(lab: Lab, place: string, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(place, ["ethtool", ...words]);
  if (code !== 0) throw new Error(`ethtool ${words.join(" ")}: ${stderr}`);
  return stdout;
}

/** A veth hands on what XDP sends where the other end has a program, too: that of node-1's uplink gets one that knows no service. */
async function receiveAtFabric(t: ExecutionContext, lab: Lab): Promise<void> {
  const native = loadNative();
  const netns = netnsPath(lab.plan.fabric.netns);
  const port = (await native.links(netns)).find(({ name }) => name === lab.node("node-1").slot);
  const { object, programs } = await native.loadObject({
    path: join(packageRoot(), "build/bpf/wire.bpf.o"),
    pinPath: null,
    rodata: [],
    maxEntries: [],
    skipPrograms: [],
    reuseMaps: [],
  });
  t.teardown(() => native.closeObject(object));
  await native.attachXdp(programs[0]?.handle ?? 0, { index: port?.index ?? 0, netns }, "native", null);
}

/** Packets that XDP sent back by node-1's uplink. */
async function sentByDriver(lab: Lab): Promise<number> {
  const counters = await ethtool(lab, "node/node-1", "-S", "eth0");
  return [...counters.matchAll(/rx_queue_\d+_xdp_tx: (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

for (const loadBalancerMode of ["snat", "dsr"] as const) {
  test(`a service is used by XDP, also while no agent runs and when it comes back (${loadBalancerMode})`, (t) =>
    withLab(
      t,
      { nodes: 2, objects: [transferBackend, transferService], agent: { loadBalancerMode, xdp: "native" } },
      async (lab) => {
        await settled(lab);
        await announceTransfers(lab);
        // As behind a network card: what is sent has its checksum, and arrives.
        await receiveAtFabric(t, lab);
        for (const place of ["external/client", "default/backend"])
          await ethtool(lab, place, "-K", "eth0", "tx", "off");

        const uses = async (what: string) => {
          for (const vip of transferVips) {
            const before = await sentByDriver(lab);
            t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, `${vip}, ${what}`);
            t.true((await sentByDriver(lab)) - before > 100, `${vip}, ${what}: by the driver`);
          }
        };
        t.deepEqual((await agentStatus(lab, "node-1")).attach.xdp, [{ device: "eth0", mode: "native", why: "" }]);
        await uses("at first");
        await lab.stopAgent("node-1", "SIGKILL");
        await uses("without an agent");
        await lab.startAgent("node-1");
        await uses("after its return");
        const { forwarded, problems } = await agentStatus(lab, "node-1");
        t.true(forwarded.some(({ direction, packets }) => direction === "ingress" && packets > 1000));
        t.deepEqual(
          problems.filter(({ code }) => code.startsWith("XDP")),
          [],
        );
      },
    ));
}

test("veths are left out unless asked for, and status says why", (t) =>
  withLab(t, { nodes: 2, objects: [transferBackend, transferService] }, async (lab) => {
    await settled(lab);
    await announceTransfers(lab);
    const { stdout } = await lab.agent("node-1", ["status"]);
    t.regex(stdout, /XDP: +eth0: off \(a veth; the setting xdp: native takes it\)/);
    for (const vip of transferVips) t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, vip);
  }));
