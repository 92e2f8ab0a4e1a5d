/**
 * `node --expose-gc --import tsx names-memory.ts RATE SECONDS PODS`: the agent's memory of names, with its own limits and file, while proxies tell so
 * many new names in a second for so long, by a clock that goes as fast as they are taken. Each name has an address of its own, and is of one of the pods
 * in turns. A line of JSON for each tenth of the time: addresses in the cache, rows in the table, and bytes of the heap after a collection.
 */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNames, NamesLink } from "../../src/agent/names/index.ts";
import type { DesiredEndpoint } from "../../src/compute/desired.ts";
import { silentLogger } from "../../src/model/logging.ts";
import { TableStore } from "../../src/model/store.ts";
import { ManualClock } from "./manual-clock.ts";

const [rate = 0, seconds = 0, pods = 0] = process.argv.slice(2).map(Number);
/** Seconds of one step: fewer writes of the file than in so much time, and no other work. */
const step = 10;

const folder = await mkdtemp(join(tmpdir(), "tandem-names-memory-"));
const clock = new ManualClock();
const store = new TableStore();
let toldForgotten = 0;
const follower = createNames({
  config: {
    dnsMode: "proxy",
    dnsServers: [],
    dnsMinTtl: 3_600,
    dnsMaxAddresses: 1_000,
    ipv4: true,
    ipv6: true,
    stateDir: folder,
  },
  clock,
  machine: { boot: "one", uptimeMs: () => clock.monotonicMs() },
  store,
  conditions: { report: () => undefined },
  log: silentLogger,
  inUse: async () => new Set(),
  forgotten: (names) => {
    toldForgotten += names?.length ?? 0;
  },
});
const link = new NamesLink({
  learn: (endpoint, name, found) => follower.learn(endpoint, name, found),
  endpointOf: (number) => `container-${number}`,
  store,
  broadcast: () => undefined,
});
link.restored();
const endpoints = Array.from({ length: pods }, (_, id) => ({
  row: { id, containerId: `container-${id}`, pod: `default/pod-${id}` },
})) as unknown as readonly DesiredEndpoint[];
follower.follow([], endpoints);
follower.start();

let opened = 0;
const send = (message: { readonly type: string; readonly tickets?: readonly number[] }) => {
  opened += message.tickets?.length ?? 0;
};
for (let second = 0, told = 0; second < seconds; second += step) {
  for (let lookups = rate * step; lookups > 0; lookups--, told++) {
    const address = `${20 + (told >> 24)}.${(told >> 16) & 255}.${(told >> 8) & 255}.${told & 255}`;
    const lookup = {
      ticket: told,
      endpoint: told % pods,
      name: `n${told}.shop.example.com.`,
      ttl: 60,
      addresses: [address],
    };
    link.take({ type: "names-seen", lookups: [lookup] } as { type: string }, send);
  }
  link.applied([], store.revision);
  store.snapshot();
  await clock.advance(step * 1_000);
  if ((second + step) % (seconds / 10) >= step) continue;
  globalThis.gc?.();
  process.stdout.write(
    `${JSON.stringify({
      told,
      opened,
      addresses: follower.cache().reduce((sum, { addresses }) => sum + addresses.length, 0),
      rows: store.table("names").size,
      forgotten: toldForgotten,
      heap: process.memoryUsage().heapUsed,
      file: (await stat(join(folder, "names.json"))).size,
    })}\n`,
  );
}
await follower.stop();
await rm(folder, { recursive: true, force: true });
