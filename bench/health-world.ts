/** Other nodes for `bench health`, and the source that asks them: addresses behind one veth of a namespace. */
import { systemClock } from "../src/lib/clock.ts";
import { addressFromBytes, makePrefix } from "../src/model/ip.ts";
import { TableStore } from "../src/model/store.ts";
import { loadNative } from "../src/native/index.ts";
import { HealthSource } from "../src/sources/health/index.ts";

export const port = 4240;

/** Table rows of nodes: 10.200.x.y each, with pods 10.201.x.y/32. */
export function nodes(many: number): TableStore {
  const store = new TableStore();
  for (let at = 0; at < many; at++) {
    const address = (second: number) => addressFromBytes(Uint8Array.of(10, second, at >> 8, at & 255));
    const [name, cidr] = [`node-${at}`, makePrefix(address(201), 32)];
    store.upsert("nodes", name, { name, labels: {}, addresses: [address(200)], podCidrs: [cidr] });
    const nextHops = [{ gateway: address(200), ifindex: 2, device: "va" }];
    store.upsert("routes", cidr.text, { destination: cidr, protocol: 17, nextHops, metric: 0, mtu: 1500, since: 0 });
  }
  return store;
}

export function sourceOf(netns: string, store: TableStore): HealthSource {
  return new HealthSource({
    native: loadNative(),
    config: { nodeName: "self", ipv4: true, ipv6: false, healthProbe: true, healthInterval: 5, healthPort: port },
    store,
    conditions: { report: () => undefined },
    clock: systemClock,
    netns: `/run/netns/${netns}`,
  });
}
