/** Services by XDP on the uplink: as without it, while the driver sends most packets on by itself. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, settled, withLab } from "../support/lab.ts";
import {
  announceTransfers,
  transfer,
  transferBackend,
  transferBytes,
  transferService,
  transferVips,
} from "../support/transfers.ts";
import { likeNetworkCards } from "../support/wire-peer.ts";

/** Packets that XDP sent back by node-1's uplink. */
async function sentByDriver(lab: Lab): Promise<number> {
  const { stdout } = await lab.exec("node/node-1", ["ethtool", "-S", "eth0"]);
  return [...stdout.matchAll(/rx_queue_\d+_xdp_tx: (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

for (const loadBalancerMode of ["snat", "dsr"] as const) {
  test(`a service is used by XDP, also while no agent runs and when it comes back (${loadBalancerMode})`, (t) =>
    withLab(
      t,
      { nodes: 2, objects: [transferBackend, transferService], agent: { loadBalancerMode, xdp: "native" } },
      async (lab) => {
        await settled(lab);
        await announceTransfers(lab);
        t.teardown(await likeNetworkCards(lab, "node-1", ["external/client", "default/backend"]));

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

test("generic XDP is for any device, and leaves to tc what its checksums are not complete of", (t) =>
  withLab(t, { nodes: 2, objects: [transferBackend, transferService], agent: { xdp: "generic" } }, async (lab) => {
    await settled(lab);
    await announceTransfers(lab);
    t.deepEqual((await agentStatus(lab, "node-1")).attach.xdp, [{ device: "eth0", mode: "generic", why: "" }]);
    for (const vip of transferVips) t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, vip);
    for (const place of ["external/client", "default/backend"]) {
      const { code, stderr } = await lab.exec(place, ["ethtool", "-K", "eth0", "tx", "off"]);
      t.is(code, 0, stderr);
    }
    for (const vip of transferVips) t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, vip);
  }));

test("veths are left out unless asked for, and status says why", (t) =>
  withLab(t, { nodes: 2, objects: [transferBackend, transferService] }, async (lab) => {
    await settled(lab);
    await announceTransfers(lab);
    const { stdout } = await lab.agent("node-1", ["status"]);
    t.regex(stdout, /XDP: +eth0: off \(a veth; the setting xdp: native takes it\)/);
    for (const vip of transferVips) t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, vip);
  }));
