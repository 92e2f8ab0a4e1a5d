import test from "ava";
import type { BestPath } from "../../../src/lab/injector/gobgp.ts";
import { Injector } from "../../../src/lab/injector/injector.ts";

const path = (prefix: string, nextHop: string, more: Partial<BestPath> = {}): BestPath => ({
  prefix,
  nextHop,
  family: prefix.includes(":") ? 6 : 4,
  withdrawn: false,
  local: false,
  ...more,
});

/** Runs the injector over streams of paths; when the last stream ends it is stopped. Gives what it did to the kernel. */
async function replay(
  streams: readonly (readonly (BestPath | readonly BestPath[])[])[],
  multipath = false,
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
      deleteRoute: async (prefix) => void kernel.push(`- ${prefix}`),
    },
    subnets: [
      { address: "172.30.0.1", prefixLength: 24 },
      { address: "fd72:30:1::1", prefixLength: 64 },
    ],
    announcements: [{ prefix: "10.64.1.0/24", nextHop: "172.30.0.1" }],
    multipath,
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
    true,
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
