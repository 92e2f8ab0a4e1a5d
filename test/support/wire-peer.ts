/** What a veth needs that a network card has, so that XDP on a lab's uplink can be seen at work. */
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { loadNative, packageRoot } from "../../src/native/index.ts";

/**
 * What XDP sends on by a node's uplink arrives: a veth hands it on only where its other end has a program, too, so that end gets one that
 * knows no service. And the senders complete their checksums themselves, as nobody does it for what no stack sees.
 * @param senders places of the lab, each with an eth0
 * @returns what takes the program off
 */
export async function likeNetworkCards(lab: Lab, node: string, senders: readonly string[]): Promise<() => void> {
  const native = loadNative();
  const netns = netnsPath(lab.plan.fabric.netns);
  const port = (await native.links(netns)).find(({ name }) => name === lab.node(node).slot);
  const { object, programs } = await native.loadObject({
    path: join(packageRoot(), "build/bpf/wire.bpf.o"),
    pinPath: null,
    rodata: [],
    maxEntries: [],
    skipPrograms: [],
    reuseMaps: [],
  });
  await native.attachXdp(programs[0]?.handle ?? 0, { index: port?.index ?? 0, netns }, "native", null);
  for (const place of senders) {
    const { code, stderr } = await lab.exec(place, ["ethtool", "-K", "eth0", "tx", "off"]);
    if (code !== 0) throw new Error(`ethtool at ${place}: ${stderr}`);
  }
  return () => native.closeObject(object);
}
