/** The routes source on the real kernel, in a network namespace of its own. */
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import { loadNative } from "../../../src/native/index.ts";
import { RoutesSource } from "../../../src/sources/routes/index.ts";

const run = promisify(execFile);
const native = loadNative();
const followerProgram = fileURLToPath(new URL("follower.ts", import.meta.url));

/** The system's, but keeping the test's process alive. */
const clock: Clock = {
  ...systemClock,
  setTimer: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

let count = 0;

class Node {
  readonly netns = `tandem-routes-${process.pid}-${count++}`;
  readonly store = new TableStore();
  readonly reports = new Map<string, readonly Problem[]>();
  readonly source: RoutesSource;
  readonly stopping = new AbortController();
  /** "table key gone|set", as they came. */
  readonly changes: string[] = [];

  constructor(uplinks: readonly string[]) {
    this.source = new RoutesSource({
      native,
      config: { nodeName: "n1", uplinks: [...uplinks] },
      store: this.store,
      conditions: { report: (topic, problems) => void this.reports.set(topic, problems) },
      log: silentLogger,
      clock,
      netns: `/run/netns/${this.netns}`,
    });
    this.store.onChange(({ table, key, after }) =>
      this.changes.push(`${table} ${key} ${after === undefined ? "gone" : "set"}`),
    );
  }

  /** Lines of `ip -batch`, all in one process. */
  async ip(...lines: readonly string[]): Promise<void> {
    const child = spawn("ip", ["-n", this.netns, "-batch", "-"], { stdio: ["pipe", "ignore", "pipe"] });
    let errors = "";
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.stdin.end(`${lines.join("\n")}\n`);
    const code = await new Promise((resolve) => child.once("close", resolve));
    if (code !== 0) throw new Error(errors);
  }

  get uplinks(): readonly string[] {
    return [...this.store.table("uplinks").values()].map(({ name, l3 }) => (l3 ? `${name} l3` : name)).sort();
  }

  get routes(): readonly string[] {
    return [...this.store.table("routes").values()]
      .map(({ destination, nextHops, protocol }) =>
        [
          destination.text,
          ...nextHops.map(({ gateway, device }) => `${gateway?.text ?? "-"}@${device}`),
          `proto ${protocol}`,
        ].join(" "),
      )
      .sort();
  }
}

async function node(t: ExecutionContext, uplinks: readonly string[] = ["auto"]): Promise<Node> {
  const made = new Node(uplinks);
  await run("ip", ["netns", "add", made.netns]);
  t.teardown(async () => {
    made.stopping.abort();
    await run("ip", ["netns", "delete", made.netns]);
  });
  await made.ip(
    "link set lo up",
    "link add eth0 type veth peer name wire0",
    "link set wire0 up",
    "addr add 192.0.2.1/24 dev eth0",
    "addr add 2001:db8::1/64 dev eth0 nodad",
    "link set eth0 up",
  );
  return made;
}

/** Waits until it holds; fails with what was seen last. */
async function until<T>(t: ExecutionContext, look: () => T, wanted: T): Promise<void> {
  const end = performance.now() + 30_000;
  while (performance.now() < end) {
    if (JSON.stringify(look()) === JSON.stringify(wanted)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.deepEqual(look(), wanted);
}

const connected = ["192.0.2.0/24 -@eth0 proto 2", "2001:db8::/64 -@eth0 proto 2"];

test("routes and devices come and go, and the tables follow", async (t) => {
  const made = await node(t);
  await made.source.start(made.stopping.signal);
  t.deepEqual(made.uplinks, ["eth0"]);
  t.deepEqual(made.routes, connected);
  t.deepEqual(made.reports.get("uplinks"), []);

  await made.ip(
    "route add 10.0.2.0/24 via 192.0.2.2 proto 17",
    "route add fd00:2::/64 via 2001:db8::2 proto 17",
    "route add 10.0.4.0/24 nexthop via 192.0.2.2 nexthop via 192.0.2.3",
    "tuntap add dev tun-1 mode tun",
    "link set tun-1 up",
    "route add 10.0.3.0/24 dev tun-1 proto 17 src 192.0.2.1",
    "route add 192.0.2.3 dev tun-1 table 77",
    "route add 10.0.5.0/24 dev lo table 100",
  );
  await until(t, () => made.routes, [
    "10.0.2.0/24 192.0.2.2@eth0 proto 17",
    "10.0.3.0/24 -@tun-1 proto 17",
    "10.0.4.0/24 192.0.2.2@eth0 192.0.2.3@eth0 proto 3",
    connected[0] ?? "",
    "192.0.2.3/32 -@tun-1 proto 3",
    connected[1] ?? "",
    "fd00:2::/64 2001:db8::2@eth0 proto 17",
  ]);
  await until(t, () => made.uplinks, ["eth0", "tun-1 l3"]);

  await made.ip("link delete tun-1", "route del fd00:2::/64", "route replace 10.0.2.0/24 via 192.0.2.9 proto 17");
  await until(t, () => made.uplinks, ["eth0"]);
  await until(t, () => made.routes, [
    "10.0.2.0/24 192.0.2.9@eth0 proto 17",
    "10.0.4.0/24 192.0.2.2@eth0 192.0.2.3@eth0 proto 3",
    ...connected,
  ]);

  // The kernel removes the IPv4 routes of a device that goes down without a word.
  await made.ip("link set eth0 down");
  await until(t, () => made.routes, []);
  await until(t, () => made.uplinks, []);
  t.like(made.reports.get("uplinks")?.[0], { code: "NO_UPLINK", severity: "warning" });
});

/** How long a route may be away unnoticed is a matter of a clock, and so of the unit test; a loaded machine may take its time between the two. */
test("after kube-router's delete and add of routes, again and again, all are there, and whatever was missed came back", async (t) => {
  const made = await node(t);
  const add = (i: number) => `route add 10.0.${i}.0/24 via 192.0.2.2 proto 17`;
  await made.ip(...Array.from({ length: 100 }, (_, i) => add(i)));
  await made.source.start(made.stopping.signal);
  const before = made.routes;
  t.is(before.length, 102);
  made.changes.length = 0;
  for (let round = 0; round < 5; round++) {
    await made.ip(...Array.from({ length: 100 }, (_, i) => [`route del 10.0.${i}.0/24 proto 17`, add(i)]).flat());
  }
  // Events come in order: with the last one all are seen.
  await made.ip("route add 10.1.0.0/24 via 192.0.2.2 proto 17");
  await until(t, () => made.routes.includes("10.1.0.0/24 192.0.2.2@eth0 proto 17"), true);
  await until(t, () => made.routes.filter((each) => !each.startsWith("10.1.0.0/24")), before);
  const last = new Map(made.changes.map((each) => [each.split(" ")[1], each]));
  t.deepEqual(
    [...last.values()].filter((each) => each.endsWith("gone")),
    [],
  );
});

test("a named uplink that is not there is an error, and taken as soon as it is", async (t) => {
  const made = await node(t, ["eth0", "wan0"]);
  await made.source.start(made.stopping.signal);
  t.like(made.reports.get("uplinks")?.[0], { code: "UPLINK_MISSING", object: "device wan0" });
  await made.ip("link add wan0 type veth peer name wan1");
  await until(t, () => made.uplinks, ["eth0", "wan0"]);
  t.deepEqual(made.reports.get("uplinks"), []);
  await made.ip("link set wan0 name wan9");
  await until(t, () => made.uplinks, ["eth0"]);
});

test("after an overrun of the monitor the tables are those of the kernel", async (t) => {
  t.timeout(900_000);
  const made = await node(t);
  const follower = spawn(process.execPath, ["--import=tsx", followerProgram, `/run/netns/${made.netns}`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.teardown(() => follower.kill("SIGKILL"));
  const lines = createInterface({ input: follower.stdout })[Symbol.asyncIterator]();
  const ask = async () => {
    follower.stdin.write("\n");
    const { value } = (await lines.next()) as { value: string };
    return JSON.parse(value) as { readonly routes: number; readonly stale: boolean; readonly detail: string };
  };
  await lines.next();
  t.is((await ask()).routes, 2);

  // More changes than its socket holds, while it reads nothing.
  follower.kill("SIGSTOP");
  const routes = Array.from(
    { length: 20_000 },
    (_, i) => `route add 10.${i >> 8}.${i & 255}.0/24 via 192.0.2.2 proto 17`,
  );
  await made.ip(...routes, ...routes.slice(0, 10_000).map((line) => line.replace("add", "del")));
  follower.kill("SIGCONT");

  let seen = await ask();
  for (let tries = 0; seen.routes !== 10_002 && tries < 6_000; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    seen = await ask();
  }
  t.is(seen.routes, 10_002);
  t.regex(seen.detail, /listed again \d+ times after lost events/);
  t.false(seen.stale);
});

test("addresses of this node's own devices come and go, pods' devices aside", async (t) => {
  const made = await node(t);
  await made.source.start(made.stopping.signal);
  const own = () =>
    [...made.store.table("localAddresses").values()].map(({ address, device }) => `${address.text} ${device}`).sort();
  await until(t, own, ["192.0.2.1 eth0", "2001:db8::1 eth0"]);

  await made.ip(
    "addr add 192.0.2.9/24 dev eth0",
    "link add br0 type bridge",
    "addr add 172.17.0.1/16 dev br0",
    "addr add fd00:172::1/64 dev br0 nodad",
    "addr add 203.0.113.53/32 dev lo",
    "addr add 10.9.9.1 peer 10.9.9.2 dev br0",
    "link add tdm0123456789a type veth peer name pod0",
    "addr add 10.1.1.2/32 dev tdm0123456789a",
  );
  await until(t, own, [
    "10.9.9.1 br0",
    "172.17.0.1 br0",
    "192.0.2.1 eth0",
    "192.0.2.9 eth0",
    "2001:db8::1 eth0",
    "203.0.113.53 lo",
    "fd00:172::1 br0",
  ]);

  await made.ip("addr del 192.0.2.9/24 dev eth0", "addr del 203.0.113.53/32 dev lo", "link delete br0");
  await until(t, own, ["192.0.2.1 eth0", "2001:db8::1 eth0"]);
  t.deepEqual([...made.store.table("localAddresses").keys()].sort(), ["192.0.2.1", "2001:db8::1"]);
});
