import test from "ava";
import type { BestPath } from "../../../src/lab/injector/gobgp.ts";
import { Injector, type InjectorDependencies } from "../../../src/lab/injector/injector.ts";
import { tunnelName } from "../../../src/lib/kube-router.ts";

const path = (prefix: string, nextHop: string, more: Partial<BestPath> = {}): BestPath => ({
  prefix,
  nextHop,
  family: prefix.includes(":") ? 6 : 4,
  withdrawn: false,
  local: false,
  ...more,
});

function tunnelsOf(kernel: string[]): NonNullable<InjectorDependencies["tunnels"]> {
  return {
    ensure: async (nextHop) => {
      kernel.push(`+ tunnel to ${nextHop}`);
      return tunnelName(nextHop);
    },
    remove: async (nextHop) => void kernel.push(`- tunnel to ${nextHop}`),
    source: () => "172.30.0.1",
  };
}

/** Runs the injector over streams of paths; when the last stream ends it is stopped. Gives what it did to the kernel. */
async function replay(
  streams: readonly (readonly (BestPath | readonly BestPath[])[])[],
  more: Pick<InjectorDependencies, "multipath" | "overlay"> = {},
): Promise<{ kernel: string[]; announced: string[] }> {
  const kernel: string[] = [];
  const announced: string[] = [];
  const stop = new AbortController();
  let next = 0;
  const injector = new Injector({
    gobgp: {
      async *bestPaths() {
        const stream = streams[next++];
        if (stream === undefined) stop.abort();
        else for (const one of stream) yield await Promise.resolve([one].flat());
      },
      announce: async (prefix, nextHop) => void announced.push(`${prefix} via ${nextHop}`),
    },
    routes: {
      replaceRoute: async (prefix, nextHops) => void kernel.push(`+ ${prefix} via ${nextHops.join()}`),
      replaceTunnelRoute: async (prefix, device, source) => void kernel.push(`+ ${prefix} dev ${device} src ${source}`),
      deleteRoute: async (prefix) => void kernel.push(`- ${prefix}`),
    },
    subnets: [
      { address: "172.30.0.1", prefixLength: 24 },
      { address: "fd72:30:1::1", prefixLength: 64 },
    ],
    announcements: [{ prefix: "10.64.1.0/24", nextHop: "172.30.0.1" }],
    ...(more.overlay !== undefined && { tunnels: tunnelsOf(kernel) }),
    ...more,
    log: () => {},
    syncIntervalMs: 60_000,
    retryMs: 1,
  });
  await injector.run(stop.signal);
  return { kernel, announced };
}

test("a best path becomes a route, deleted first, and every known route is written again after it", async (t) => {
  const a = path("10.64.2.0/24", "172.30.0.2");
  const b = path("fd00:10:40:3::/64", "fd72:30:1::3");
  const { kernel } = await replay([[a, b]]);
  t.deepEqual(kernel, [
    "- 10.64.2.0/24",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "- fd00:10:40:3::/64",
    "+ fd00:10:40:3::/64 via fd72:30:1::3",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "+ fd00:10:40:3::/64 via fd72:30:1::3",
  ]);
});

test("a withdrawn path loses its route and nothing else, and is not written again", async (t) => {
  const a = path("10.64.2.0/24", "172.30.0.2");
  const b = path("10.64.3.0/24", "172.30.0.3");
  const { kernel } = await replay([[a, b, { ...a, withdrawn: true }, b]]);
  const after = kernel.slice(kernel.lastIndexOf("- 10.64.2.0/24") + 1);
  t.false(after.some((line) => line.includes("10.64.2.0")));
  t.true(after.includes("+ 10.64.3.0/24 via 172.30.0.3"));
});

test("a next hop outside of the node's subnets gives no route and takes an old one away", async (t) => {
  const near = path("10.64.2.0/24", "172.30.0.2");
  const { kernel } = await replay([[near, { ...near, nextHop: "192.0.2.1" }]]);
  t.is(kernel.at(-1), "- 10.64.2.0/24");
});

test("paths of the own speaker are left alone, and the own pod CIDR is announced to each new daemon", async (t) => {
  const { kernel, announced } = await replay([[path("10.64.1.0/24", "172.30.0.1", { local: true })], []]);
  t.deepEqual(kernel, []);
  t.deepEqual(new Set(announced), new Set(["10.64.1.0/24 via 172.30.0.1"]));
  t.true(announced.length >= 2);
});

test("a daemon that dies leaves its routes in the kernel and is forgotten by the replay", async (t) => {
  const { kernel } = await replay([[path("10.64.2.0/24", "172.30.0.2")], [path("10.64.3.0/24", "172.30.0.3")]]);
  const later = kernel.slice(kernel.indexOf("- 10.64.3.0/24"));
  t.false(later.some((line) => line.includes("10.64.2.0")));
});

test("with multipath, equally good paths are one route, changed in place, and deleted with the last of them", async (t) => {
  const by = (nextHop: string) => path("10.64.2.0/24", nextHop);
  const { kernel } = await replay(
    [
      [
        [by("172.30.0.253"), path("10.64.3.0/24", "172.30.0.254"), by("172.30.0.254")],
        [by("172.30.0.254")],
        [{ ...by("172.30.0.254"), withdrawn: true }],
      ],
    ],
    { multipath: true },
  );
  t.deepEqual(kernel, [
    "+ 10.64.2.0/24 via 172.30.0.253,172.30.0.254",
    "+ 10.64.2.0/24 via 172.30.0.253,172.30.0.254",
    "+ 10.64.3.0/24 via 172.30.0.254",
    "+ 10.64.2.0/24 via 172.30.0.253,172.30.0.254",
    "+ 10.64.3.0/24 via 172.30.0.254",
    "+ 10.64.2.0/24 via 172.30.0.254",
    "+ 10.64.3.0/24 via 172.30.0.254",
    "+ 10.64.2.0/24 via 172.30.0.254",
    "- 10.64.2.0/24",
  ]);
});

test("with an overlay of type subnet, next hops elsewhere are behind tunnels, and those on the link lose theirs", async (t) => {
  const elsewhere = path("10.64.3.0/24", "10.99.0.2");
  const { kernel } = await replay([[path("10.64.2.0/24", "172.30.0.2"), elsewhere]], { overlay: "subnet" });
  t.deepEqual(kernel, [
    "- 10.64.2.0/24",
    "- tunnel to 172.30.0.2",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "+ tunnel to 10.99.0.2",
    "+ 10.64.3.0/24 dev tun-88d764f82ca src 172.30.0.1",
    "+ 10.64.2.0/24 via 172.30.0.2",
    "+ 10.64.3.0/24 dev tun-88d764f82ca src 172.30.0.1",
  ]);
});

test("with one of type full all are, and a withdrawn path leaves its tunnel", async (t) => {
  const near = path("10.64.2.0/24", "172.30.0.2");
  const { kernel } = await replay([[near, { ...near, withdrawn: true }]], { overlay: "full" });
  const route = `+ 10.64.2.0/24 dev ${tunnelName("172.30.0.2")} src 172.30.0.1`;
  t.deepEqual(kernel, ["+ tunnel to 172.30.0.2", route, route, "- 10.64.2.0/24"]);
});

test("devices of tunnels are called as kube-router calls them", (t) => {
  // `GenerateTunnelName`; an address and another with its dots elsewhere are one device.
  t.is(tunnelName("10.99.0.2"), "tun-88d764f82ca");
  t.is(tunnelName("21.3.0.4"), tunnelName("2.13.0.4"));
  t.is(tunnelName("fd72:30:1::2").length, 15);
});
