/** Service addresses end at the node for what comes in by its uplinks, and for nothing else; also while nobody runs. */
import test from "ava";
import type { DesiredFrontend, DesiredState } from "../../../src/compute/desired.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import { holders } from "../../support/holders.ts";
import { Node, nothing } from "./support.ts";

function frontend(text: string, port = 80): DesiredFrontend {
  const address = parseAddress(text);
  if (address === null) throw new Error(text);
  const about = { protocol: 6, external: true, affinitySeconds: null, backends: [], service: "default/web:http" };
  return { address, port, ...about };
}

/** A node between two veths: its uplink eth0, with the default route, and another device. */
async function routed(t: Parameters<typeof Node.create>[0]) {
  const node = await Node.create(t);
  const { netns } = node;
  for (const [name, host] of [
    ["eth0", 1],
    ["eth1", 2],
  ] as const) {
    await netns.ip(`link add ${name} type veth peer name ${name}p`);
    for (const each of [name, `${name}p`]) await netns.ip(`link set ${each} up`);
    await netns.ip(`addr add 192.0.${host}.1/24 dev ${name}`);
    await netns.ip(`addr add fd00:${host}::1/64 dev ${name} nodad`);
  }
  await netns.ip("route add default via 192.0.1.254");
  await netns.ip("route add default via fd00:1::fe");
  await netns.exec("sysctl", "-qw", "net.ipv4.ip_forward=1");
  await netns.exec("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
  const ifindex = Number(/^(\d+): eth0/.exec(await netns.ip("-o link show eth0"))?.[1]);
  const uplinks = [{ ifindex, name: "eth0", mtu: 1500, l3: false }];
  const { address: own } = frontend("192.0.1.1");
  const identities = holders({ address: own, identity: 1, localNode: true, node: true });
  const state = (...frontends: readonly DesiredFrontend[]): DesiredState => ({
    ...nothing,
    identities,
    uplinks,
    frontends,
  });
  const way = (to: string, device: string) => {
    const from = to.includes(":")
      ? device === "eth0"
        ? "fd00:1::9"
        : "fd00:2::9"
      : `192.0.${device === "eth0" ? 1 : 2}.9`;
    return netns.ip(`route get ${to} from ${from} iif ${device}`).then(
      (text) => (/dev (\w+)/.exec(text)?.[1] ?? text).trim(),
      (error: unknown) => (/unreachable|No route/.test(String(error)) ? "unreachable" : String(error)),
    );
  };
  return { node, state, way };
}

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;

test("what comes in by an uplink for a service's address is answered, what the node sends or others bring is routed", async (t) => {
  const { node, state, way } = await routed(t);
  const first = await node.datapath();
  await first.apply(state(...vips.map((vip) => frontend(vip)), frontend(vips[0], 443), frontend("192.0.1.1", 30080)));
  t.deepEqual(await first.problems(), []);
  const expectClosed = async (what: string) => {
    for (const vip of vips) {
      t.is(await way(vip, "eth0"), "unreachable", `${what}: ${vip}`);
      t.is(await way(vip, "eth1"), "eth0", "not an uplink");
      t.regex(await node.netns.ip(`route get ${vip}`), /dev eth0/, "the node's own");
    }
  };
  await expectClosed("applied");
  t.is(await way("203.0.113.11", "eth0"), "eth0", "no service's");
  t.regex(await node.netns.ip("route get 192.0.1.1"), /^local/, "the node's own address, with a node port");
  t.is((await first.writes())["service routes"], 2 + 2, "an address once, and a rule a family");
  await first.apply(state(...vips.map((vip) => frontend(vip)), frontend(vips[0], 443), frontend("192.0.1.1", 30080)));
  t.is((await first.writes())["service routes"], 4);

  await first.apply({ ...state(), elsewhere: vips.map((vip) => frontend(vip).address) });
  await expectClosed("the service is for other nodes");
  t.is((await first.writes())["service routes"], 4, "which changes nothing for clients outside");
  await first.apply(state(...vips.map((vip) => frontend(vip)), frontend(vips[0], 443), frontend("192.0.1.1", 30080)));

  await node.netns.ip("rule del priority 32000");
  await node.netns.ip(`route del ${vips[0]} table 15800`);
  await first.verify();
  await expectClosed("what somebody removed comes back");
  await first.kill();
  await expectClosed("nobody runs");

  const second = await node.datapath();
  await second.apply(state(frontend(vips[1])));
  t.deepEqual(await second.problems(), []);
  t.is(await way(vips[0], "eth0"), "eth0", "the service is gone");
  t.is(await way(vips[1], "eth0"), "unreachable");
  await second.apply({ ...state(), uplinks: [] });
  t.notRegex(await node.netns.ip("rule"), /15800/);
});

test("10,000 service addresses", async (t) => {
  const { node, state, way } = await routed(t);
  const datapath = await node.datapath();
  const many = Array.from({ length: 10_000 }, (_, at) => frontend(`10.96.${at >> 8}.${at & 255}`));
  await datapath.apply(state());
  const before = performance.now();
  await datapath.apply(state(...many));
  const all = performance.now();
  await datapath.apply(state(...many.slice(1)));
  t.log(
    `written with their service entries in ${Math.round(all - before)} ms; one less in ${Math.round(performance.now() - all)} ms`,
  );
  t.is((await datapath.writes())["service routes"], 10_000 + 2 + 1);
  t.deepEqual(await datapath.problems(), []);
  t.is(await way("10.96.39.15", "eth0"), "unreachable");
  t.is(await way("10.96.0.0", "eth0"), "eth0");
});
