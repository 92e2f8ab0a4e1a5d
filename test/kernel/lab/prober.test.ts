import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { destroyCgroup, findCgroupRoot, makeCgroup } from "../../../src/lab/cgroups.ts";
import type { Attempt } from "../../../src/lab/conformance/attempts.ts";
import { type ProbeEvent, Prober } from "../../../src/lab/conformance/prober.ts";
import { readMessage } from "../../../src/lab/conformance/exchanges.ts";
import type { Outcome } from "../../../src/lab/conformance/outcome.ts";
import { ipBatch, run } from "../../../src/lab/run.ts";

const client = { 4: "10.9.0.1", 6: "fd00:9::1" } as const;
const server = { 4: "10.9.0.2", 6: "fd00:9::2" } as const;
/** Further addresses of the server: an answer has to come from the one that was asked. */
const second = { 4: "10.9.7.7", 6: "fd00:9:7::7" } as const;
const families = [4, 6] as const;

interface Pair {
  readonly events: readonly ProbeEvent[];
  readonly netns: readonly [client: string, server: string];
  readonly server: Prober;
  /** What came of it within `ms`; null: nothing. */
  try(
    attempt: Pick<Attempt, "protocol" | "destination" | "port"> & Partial<Attempt>,
    ms?: number,
  ): Promise<Outcome | null>;
  /** Whether the server's prober says that the last one arrived. */
  arrived(ms?: number): Promise<boolean>;
}

/** Two namespaces with a prober each, on one link. */
async function pair(t: ExecutionContext): Promise<Pair> {
  const unique = `tandem-prober-${randomBytes(4).toString("hex")}`;
  const netns = [`${unique}-a`, `${unique}-b`] as const;
  const cgroup = join(await findCgroupRoot(), unique);
  t.teardown(async () => {
    await destroyCgroup(cgroup);
    for (const name of netns) await run(["ip", "netns", "del", name]);
  });
  await makeCgroup(cgroup);
  await ipBatch(
    null,
    netns.map((name) => `netns add ${name}`),
  );
  await ipBatch(netns[0], ["link set lo up", `link add eth0 type veth peer name eth0 netns ${netns[1]}`]);
  const addresses = [client, server] as const;
  for (const [i, name] of netns.entries()) {
    await ipBatch(name, [
      "link set lo up",
      `addr add ${addresses[i]?.[4]}/24 dev eth0`,
      `addr add ${addresses[i]?.[6]}/64 dev eth0 nodad`,
      "link set eth0 up",
    ]);
  }
  await ipBatch(
    netns[1],
    families.map((family) => `addr add ${second[family]}/${family === 4 ? 32 : 128} dev lo`),
  );
  await ipBatch(
    netns[0],
    families.map((family) => `route add ${second[family]} via ${server[family]}`),
  );

  const events: ProbeEvent[] = [];
  const start = (place: string, name: string) =>
    Prober.start(place, { netns: name, cgroup }, (event) => void events.push(event));
  const probers = [await start("client", netns[0]), await start("server", netns[1])] as const;
  t.teardown(() => Promise.all(probers.map((prober) => prober.stop())));
  let id = 0;
  let asked: Attempt["asked"] = null;
  const find = async (place: string, ms: number) => {
    for (const end = Date.now() + ms; Date.now() < end; await sleep(5)) {
      const found = events.find((event) => event.id === id && event.place === place);
      if (found === undefined) continue;
      const { outcome } = found;
      return outcome.kind !== "said" || asked === null
        ? (outcome as Outcome)
        : readMessage(asked, outcome.bytes, outcome.ms);
    }
    return null;
  };
  return {
    events,
    netns,
    server: probers[1],
    try: async (attempt, ms = 60_000) => {
      id++;
      asked = attempt.asked ?? null;
      const source = client[attempt.destination.includes(":") ? 6 : 4];
      probers[0].try([{ asked: null, ...attempt, id, source, place: "client", servers: [], arrivesAt: null }]);
      return find("client", ms);
    },
    arrived: async (ms = 60_000) => (await find("server", ms))?.kind === "arrived",
  };
}

for (const protocol of ["tcp", "udp", "sctp"] as const) {
  test(`${protocol}: a served port answers with the server's name on each of its addresses, an unserved one refuses`, async (t) => {
    const hosts = await pair(t);
    await hosts.server.listen([
      { place: "server", protocol, port: 80 },
      { place: "server", protocol, port: 65535 },
    ]);
    for (const family of families) {
      for (const destination of [server[family], second[family]]) {
        for (const port of [80, 65535]) {
          t.like(await hosts.try({ protocol, destination, port }), { kind: "answer", name: "server" }, destination);
        }
      }
      const unserved = await hosts.try({ protocol, destination: server[family], port: 81 });
      t.deepEqual(unserved, { kind: "refused", why: "ECONNREFUSED" });
    }
  });

  test(`${protocol}: what vanishes on the way is silence, neither an answer nor a refusal`, async (t) => {
    const hosts = await pair(t);
    await hosts.server.listen([{ place: "server", protocol, port: 80 }]);
    // The server's packets go nowhere.
    await ipBatch(
      hosts.netns[1],
      families.map((family) => `route add blackhole ${client[family]}`),
    );
    for (const family of families) {
      t.is(await hosts.try({ protocol, destination: server[family], port: 80 }, 700), null);
    }
  });
}

test("an echo request is answered; other ICMP messages are told by the prober that they reach", async (t) => {
  const hosts = await pair(t);
  t.like(await hosts.try({ protocol: "icmp", destination: server[4], port: 8 }), { kind: "answer", name: "-" });
  t.like(await hosts.try({ protocol: "icmp", destination: server[6], port: 128 }), { kind: "answer", name: "-" });
  const silent = [
    ...[0, 3, 11, 13].map((type) => [server[4], type] as const),
    ...[1, 3, 8, 129].map((type) => [server[6], type] as const),
  ];
  for (const [destination, port] of silent) {
    t.is(await hosts.try({ protocol: "icmp", destination, port }, 50), null, `${destination} type ${port}`);
    t.true(await hosts.arrived(), `${destination} type ${port}`);
  }
});

test("DNS is answered over UDP and TCP with what names were given, Kafka with the broker's name, each by whom it was asked", async (t) => {
  const hosts = await pair(t);
  await hosts.server.listen([
    { place: "server", protocol: "dns", port: 53 },
    { place: "server", protocol: "kafka", port: 9092 },
  ]);
  await hosts.server.publish(new Map([["a.test", ["203.0.113.1", "2001:db8::1"]]]));
  const kafka = { kind: "kafka", apiVersion: 0, clientId: "c", topics: ["orders"] } as const;
  for (const destination of [server[4], server[6], second[4], second[6]]) {
    for (const protocol of ["udp", "tcp"] as const) {
      for (const name of ["A.test.", "b.test"]) {
        const asked = { kind: "dns", name, type: "A" } as const;
        t.like(await hosts.try({ protocol, destination, port: 53, asked }), { kind: "answer", name: "server" });
      }
    }
    for (const apiKey of ["produce", "fetch", "metadata", "heartbeat", "apiversions"]) {
      const asked = { ...kafka, apiKey };
      t.like(await hosts.try({ protocol: "tcp", destination, port: 9092, asked }), { kind: "answer", name: "server" });
    }
  }
  const dig = async (...words: readonly string[]) =>
    (await run(["nsenter", `--net=/run/netns/${hosts.netns[0]}`, "dig", "+short", "+tries=1", ...words])).stdout.trim();
  t.is(await dig(`@${server[4]}`, "a.test"), "203.0.113.1");
  t.is(await dig(`@${server[6]}`, "+tcp", "a.test", "AAAA"), "2001:db8::1");
  t.is(await dig(`@${server[4]}`, "b.test"), "");
  await hosts.server.publish(new Map());
  t.is(await dig(`@${server[4]}`, "a.test"), "");
});

test("a connection alone counts where that is all that is wanted", async (t) => {
  const hosts = await pair(t);
  await hosts.server.listen([{ place: "server", protocol: "http", port: 80 }]);
  for (const family of families) {
    const open = { protocol: "open", destination: server[family] } as const;
    t.like(await hosts.try({ ...open, port: 80 }), { kind: "answer", name: "-" });
    t.deepEqual(await hosts.try({ ...open, port: 81 }), { kind: "refused", why: "ECONNREFUSED" });
  }
});

test("what cannot be sent is told as such: an address that the client does not have, no route", async (t) => {
  const hosts = await pair(t);
  const stranger = await Prober.start(
    "stranger",
    { netns: hosts.netns[0], cgroup: join(await findCgroupRoot(), hosts.netns[0].slice(0, -2)) },
    (event) => void (hosts.events as ProbeEvent[]).push(event),
  );
  t.teardown(() => stranger.stop());
  const attempt = { protocol: "tcp", asked: null, port: 80, place: "stranger", servers: [], arrivesAt: null } as const;
  stranger.try([
    { ...attempt, id: 1000, source: "10.9.0.99", destination: server[4] },
    { ...attempt, id: 1001, source: client[4], destination: "192.0.2.1" },
  ]);
  const outcome = (id: number) => hosts.events.find((event) => event.id === id)?.outcome;
  for (const end = Date.now() + 60_000; Date.now() < end && !(outcome(1000) && outcome(1001)); ) await sleep(5);
  t.deepEqual(outcome(1000), { kind: "failed", why: "EADDRNOTAVAIL" });
  t.deepEqual(outcome(1001), { kind: "refused", why: "ENETUNREACH" });
});
