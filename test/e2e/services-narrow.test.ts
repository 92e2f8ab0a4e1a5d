/** Services over ways that take less than the client's: who sends too much is told, and everything arrives. */
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, podAddress, settled, withLab } from "../support/lab.ts";
import {
  announceTransfers,
  ipAt,
  transfer,
  transferBackend,
  transferBytes,
  transferService,
  transferVips,
} from "../support/transfers.ts";

/** Packets that node-1 found too large so far. */
async function tooLarge(lab: Lab): Promise<number> {
  const { drops } = await agentStatus(lab, "node-1");
  return drops.filter(({ reason }) => reason.startsWith("larger than")).reduce((sum, { packets }) => sum + packets, 0);
}

/** The client sends and gets through the service by node-1, from where both ways take 1,340 bytes: what IPv6 needs with a packet around it. */
async function bothWays(t: ExecutionContext, lab: Lab, answersDirectly: boolean): Promise<void> {
  const { tor } = lab.plan;
  const two = lab.node("node-2");
  const narrow = ["mtu", "lock", "1340"];
  await announceTransfers(lab);
  for (const [family, vip, number] of [
    ["-4", transferVips[0], 4],
    ["-6", transferVips[1], 6],
  ] as const) {
    const of = (place: { readonly ipv4: string; readonly ipv6: string }) => (number === 4 ? place.ipv4 : place.ipv6);
    const shown = await ipAt(lab, "external/client", family, "-br", "addr", "show", "scope", "global");
    const client = /\s([0-9a-f.:]+)\/\d+/.exec(shown)?.[1] ?? "none";
    const backend = await podAddress(lab, "default/backend", number);
    await ipAt(lab, "node/node-1", family, "route", "add", backend, "via", of(two), ...narrow);
    await ipAt(lab, "node/node-1", family, "route", "add", client, "via", of(tor), ...narrow);
    const before = await tooLarge(lab);
    t.is(await transfer(lab, vip), `200 ${transferBytes} ${transferBytes}`, vip);
    const told = (await tooLarge(lab)) - before;
    t.true(told > (answersDirectly ? 0 : 1), `${vip}: ${told} packets were too large`);
  }
}

for (const [loadBalancerMode, dsrDispatch] of [
  ["snat", "option"],
  ["dsr", "option"],
  ["dsr", "ipip"],
] as const) {
  const agent = { loadBalancerMode, dsrDispatch };
  test(`an upload and a download through a service over ways that take less (${loadBalancerMode}, ${dsrDispatch})`, (t) =>
    withLab(t, { nodes: 2, objects: [transferBackend, transferService], agent }, async (lab) => {
      await settled(lab);
      await bothWays(t, lab, loadBalancerMode === "dsr");
    }));
}
