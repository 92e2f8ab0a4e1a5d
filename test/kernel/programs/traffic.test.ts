/** Real packets through the attached programs: connections with megabytes of data, datagrams, echo, errors, by every way there is. */
import test, { type ExecutionContext } from "ava";
import { reasons } from "../../../src/model/reasons.gen.ts";
import { eventually } from "../../support/native.ts";
import { EtherType, ethernet, ip, mac, udp } from "../../support/packets.ts";
import { families, type Family } from "../../support/programs-frames.ts";
import { putPolicy, putService } from "../../support/programs-maps.ts";
import { places, type TrafficOptions, TrafficWorld } from "../../support/programs-traffic.ts";
import type { SocketProcess } from "../../support/programs-sockets.ts";

const megabytes = 3 << 20;

const modes: readonly (TrafficOptions & { readonly name: string })[] = [
  { name: "TCX", mode: "tcx", redirectPeer: true },
  { name: "clsact", mode: "clsact", redirectPeer: true },
  { name: "TCX without redirect_peer", mode: "tcx", redirectPeer: false },
];

const number = { ipv4: 4, ipv6: 6 } as const;

async function talks(t: ExecutionContext, from: SocketProcess, to: string, what: string): Promise<void> {
  t.deepEqual(
    await from.exchange({ address: to, port: 7 }, megabytes),
    { received: megabytes, same: true },
    `TCP ${what}`,
  );
}

async function asks(t: ExecutionContext, from: SocketProcess, to: string, family: Family, what: string): Promise<void> {
  const [answer] = await from.send({ family: number[family], address: to, port: 53, count: 1 });
  t.is(answer?.from, `${to} 53`, `UDP ${what}`);
}

for (const { name, ...options } of modes) {
  test.serial(`${name}: pods, node and another node's pod talk in every direction`, async (t) => {
    const world = await TrafficWorld.create(t, options);
    const { a, b, node, router } = world.sockets;
    for (const family of families) {
      const ways: readonly (readonly [SocketProcess, string, string])[] = [
        [a, places.b[family], "pod to pod"],
        [a, places.r[family], "pod to another node's pod"],
        [router, places.a[family], "another node's pod to pod"],
        [node, places.b[family], "node to pod"],
        [b, places.node[family], "pod to node"],
      ];
      for (const [from, to, what] of ways) {
        await talks(t, from, to, `${what} (${family})`);
        await asks(t, from, to, family, `${what} (${family})`);
      }
      for (const to of [places.b, places.r, places.node])
        t.regex(
          await world.pods.a.exec("ping", "-n", "-c", "2", "-W", "10", "-s", "1200", to[family]),
          / 0% packet loss/,
        );
    }
    t.is(dropped(world), "", "nothing was dropped");
  });

  test.serial(
    `${name}: services are translated per packet, into pods here and elsewhere, and into the client itself`,
    async (t) => {
      const world = await TrafficWorld.create(t, options);
      let id = 1;
      for (const family of families) {
        for (const backend of [places.b, places.r, places.a]) {
          for (const [protocol, port, target] of [
            [6, 80, 7],
            [17, 53, 53],
          ] as const) {
            const backends = [{ address: backend[family], port: target }];
            putService(world.maps, { id: id++, address: places.vip[family], port, protocol, backends });
          }
          const { a } = world.sockets;
          const result = await a.exchange({ address: places.vip[family], port: 80 }, megabytes);
          t.deepEqual(result, { received: megabytes, same: true }, `${family} ${backend[family]}`);
          await asks(t, a, places.vip[family], family, `${family} ${backend[family]}`);
          await world.maps.clear("ct4", "ct6");
        }
      }
      t.is(dropped(world), "", "nothing was dropped");
    },
  );

  test.serial(`${name}: policy holds for real connections, and for those that run`, async (t) => {
    const world = await TrafficWorld.create(t, options);
    const { a } = world.sockets;
    for (const family of families) {
      await talks(t, a, places.b[family], "before");
      putPolicy(world.maps, {
        set: 2,
        direction: "ingress",
        allows: 1,
        peers: { 0: [0] },
        ports: [{ protocol: 17, port: 53, groups: [0] }],
      });
      const index = await world.node.index("veth-b");
      const pod = world.maps.get("endpoint", { ifindex: index });
      if (pod === null) throw new Error("no endpoint");
      const closed = { ...pod, policySet: 2, policyRevision: pod.policyRevision + 1, flags: 4 | 32 };
      world.maps.put("endpoint", { ifindex: index }, closed);
      for (const { key } of (await world.maps.entries("endpoint_addr")).filter(({ value }) => value.ifindex === index))
        world.maps.put("endpoint_addr", key, closed);
      t.is((await a.exchange({ address: places.b[family], port: 7 }, 1000, 1500)).error, "ETIMEDOUT");
      await asks(t, a, places.b[family], family, "still allowed");
      const open = { ...closed, flags: 0, policyRevision: closed.policyRevision + 1 };
      world.maps.put("endpoint", { ifindex: index }, open);
      for (const { key } of (await world.maps.entries("endpoint_addr")).filter(({ value }) => value.ifindex === index))
        world.maps.put("endpoint_addr", key, open);
      await talks(t, a, places.b[family], "after");
    }
  });

  test.serial(`${name}: a smaller MTU on the way is found, to pods and through services`, async (t) => {
    const world = await TrafficWorld.create(t, options);
    // on the node's route only: both ends believe in 1500
    await world.node.ip("route add 10.0.2.0/24 via 192.0.2.2 mtu lock 1400");
    await world.node.ip("route add fd00:2::/64 via 2001:db8:f::2 mtu lock 1400");
    for (const family of families) {
      await talks(t, world.sockets.a, places.r[family], `over 1400 bytes (${family})`);
      putService(world.maps, {
        id: family === "ipv4" ? 1 : 2,
        address: places.vip[family],
        port: 80,
        protocol: 6,
        backends: [{ address: places.r[family], port: 7 }],
      });
      const result = await world.sockets.a.exchange({ address: places.vip[family], port: 80 }, megabytes);
      t.deepEqual(result, { received: megabytes, same: true }, `through a service (${family})`);
      const learned = await world.pods.a.exec("ip", "route", "get", places.vip[family]);
      t.regex(learned, /mtu 1400/, "the pod was told in the service's terms");
    }
  });

  test.serial(`${name}: a used up hop limit and an unreachable destination are told to the pod`, async (t) => {
    const world = await TrafficWorld.create(t, options);
    await world.node.ip("route add unreachable 10.0.9.0/24");
    await world.node.ip("route add unreachable fd00:9::/64");
    for (const family of families) {
      const ping = (...words: readonly string[]) =>
        world.pods.a
          .exec("ping", "-n", "-c", "1", "-W", "10", ...words)
          .then(String, (error: { stdout?: string }) => error.stdout ?? "");
      t.regex(await ping("-t", "1", places.r[family]), /Time to live exceeded|Time exceeded/i);
      t.regex(await ping(family === "ipv4" ? "10.0.9.9" : "fd00:9::9"), /unreachable|No route/i);
    }
  });

  test.serial(`${name}: a device without an Ethernet header carries connections both ways`, async (t) => {
    const world = await TrafficWorld.create(t, options);
    await world.tunnel(t);
    for (const family of families) {
      await talks(t, world.sockets.a, places.far[family], `into the tunnel (${family})`);
      await talks(t, world.sockets.router, places.a[family], `out of the tunnel (${family})`);
      putService(world.maps, {
        id: family === "ipv4" ? 1 : 2,
        address: places.vip[family],
        port: 80,
        protocol: 6,
        backends: [{ address: places.far[family], port: 7 }],
      });
      const result = await world.sockets.a.exchange({ address: places.vip[family], port: 80 }, megabytes);
      t.deepEqual(result, { received: megabytes, same: true }, `through a service (${family})`);
    }
  });
}

/** What was dropped, in words. */
function dropped(world: TrafficWorld): string {
  return reasons
    .filter(({ number: reason }) => reason !== 0)
    .flatMap(({ number: reason, name }) =>
      (["egress", "ingress"] as const).map((direction) => [name, direction, world.counted(reason, direction)] as const),
    )
    .filter(([, , packets]) => packets > 0)
    .map((row) => row.join(" "))
    .join(", ");
}

test.serial(
  "frames that no test run takes: cut off within a header, or with a VLAN tag, which would leave with the packet",
  async (t) => {
    const world = await TrafficWorld.create(t, { mode: "tcx", redirectPeer: true });
    const macs = { source: mac("02:00:00:00:00:0a"), destination: mac("02:00:00:00:01:00") };
    const count = (name: string) =>
      world.counted(reasons.find((reason) => reason.name === name)?.number ?? -1, "egress");
    for (const family of families) {
      const packet = ip(places.a[family], places.r[family], udp(40000, 53));
      const type = family === "ipv4" ? EtherType.ipv4 : EtherType.ipv6;
      const header = family === "ipv4" ? 20 : 40;
      const before = count("malformed");
      for (let length = 1; length < header; length++)
        await world.frame("a", ethernet(macs, type, packet.subarray(0, length)));
      const wrongVersion = Buffer.from(packet);
      wrongVersion[0] = family === "ipv4" ? 0x65 : 0x40;
      await world.frame("a", ethernet(macs, type, wrongVersion));
      // A busy kernel takes what is in its queues later.
      await eventually(() => count("malformed") - before >= header);
      t.is(count("malformed") - before, header, `every one of ${header} frames`);

      const tag = Buffer.from([0, 100, type >> 8, type & 255]);
      const tagged = count("unsupportedProtocol");
      await world.frame("a", ethernet(macs, EtherType.vlan, Buffer.concat([tag, packet])));
      await eventually(() => count("unsupportedProtocol") > tagged);
      t.is(count("unsupportedProtocol") - tagged, 1);
      t.is(world.counted(0, "egress"), 0, "none passed");
    }
  },
);
