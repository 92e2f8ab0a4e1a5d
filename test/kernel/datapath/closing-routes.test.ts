/** Routes that close the node's pod CIDRs, in a real namespace: written, left while nobody runs, given up with the CIDR, and in nobody's way. */
import test from "ava";
import { parsePrefix, type Prefix } from "../../../src/model/ip.ts";
import type { Netns } from "../../support/netns.ts";
import { Node, nothing } from "./support.ts";

const prefixes = (...texts: readonly string[]): readonly Prefix[] => texts.flatMap((text) => parsePrefix(text) ?? []);

async function closed(space: Netns): Promise<readonly string[]> {
  const shown = await Promise.all(["-4", "-6"].map((family) => space.ip(`${family} route show type unreachable`)));
  return shown
    .flatMap((text) => text.split("\n"))
    .flatMap((line) => /^unreachable (\S+) .*proto 158 /.exec(line)?.[1] ?? [])
    .sort();
}

test("a CIDR is closed as long as it is the node's, whoever runs, and repaired", async (t) => {
  const node = await Node.create(t);
  const first = await node.datapath();
  await first.apply({ ...nothing, podCidrs: prefixes("10.9.0.0/24", "fd00:9::/64") });
  t.deepEqual(await first.problems(), []);
  t.deepEqual(await closed(node.netns), ["10.9.0.0/24", "fd00:9::/64"]);
  const { "closing routes": writes } = await first.writes();
  t.is(writes, 2);
  await first.apply({ ...nothing, podCidrs: prefixes("10.9.0.0/24", "fd00:9::/64") });
  await first.apply(nothing);
  t.is((await first.writes())["closing routes"], 2, "the same, or not known: nothing is done");

  await node.netns.ip("route del unreachable 10.9.0.0/24");
  await first.verify();
  t.deepEqual(await closed(node.netns), ["10.9.0.0/24", "fd00:9::/64"], "what somebody removed comes back");
  await first.kill();
  t.deepEqual(await closed(node.netns), ["10.9.0.0/24", "fd00:9::/64"]);

  const second = await node.datapath({ ipv6: false });
  await second.apply(nothing);
  t.deepEqual(await closed(node.netns), ["10.9.0.0/24", "fd00:9::/64"], "not known: what the one before left stays");
  await second.apply({ ...nothing, podCidrs: prefixes("10.8.0.0/24", "fd00:9::/64") });
  t.deepEqual(await second.problems(), []);
  t.deepEqual(await closed(node.netns), ["10.8.0.0/24"], "another CIDR, and a family that is off");
});

test("whoever else has a route of the CIDR wins, and routes of others stay", async (t) => {
  const node = await Node.create(t);
  await node.netns.ip("link add bridge0 type veth peer name port0");
  await node.netns.ip("link set bridge0 up");
  await node.netns.ip("route add 10.9.0.0/24 dev bridge0");
  await node.netns.ip("route add unreachable 10.7.0.0/24");
  const datapath = await node.datapath();
  await datapath.apply({ ...nothing, podCidrs: prefixes("10.9.0.0/24") });
  t.deepEqual(await datapath.problems(), []);
  t.regex(await node.netns.ip("route get 10.9.0.7"), /dev bridge0/);
  await node.netns.ip("route del 10.9.0.0/24 dev bridge0");
  await t.throwsAsync(node.netns.ip("route get 10.9.0.7"), { message: /No route to host|unreachable/ });
  await datapath.apply({ ...nothing, podCidrs: [] });
  t.deepEqual(await closed(node.netns), []);
  t.regex(await node.netns.ip("route show 10.7.0.0/24"), /unreachable/);
});
