/** Agent and proxy over a real socket, with an engine that only remembers what it was told. */
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { L7 } from "../../../src/agent/l7/index.ts";
import { parseDemands } from "../../../src/compute/l7/parse-demands.ts";
import type { ProxyStats } from "../../../src/api/proxy-dto.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import type { L7Record, L7Tables } from "../../../src/native/l7-contract.ts";
import type { Engine, OnLookups, OnRecords } from "../../../src/proxy/engine.ts";
import { LastRules } from "../../../src/proxy/last-rules.ts";
import { Names } from "../../../src/proxy/names.ts";
import { TandemProxy } from "../../../src/proxy/tandem-proxy.ts";
import { Turn } from "../../../src/proxy/turn.ts";
import { fakeAgent, temporaryFolder } from "../../support/fake-agent.ts";

const get = 'http [{"method":"GET"}]';
const demands = (text: string) => ({ egress: [{ group: 1, text }], ingress: [] });

class FakeEngine implements Engine {
  readonly told: L7Tables[] = [];
  readonly toldOfNames: unknown[] = [];
  readonly names = {
    want: (pattern: string | null, shared: boolean) => this.toldOfNames.push(["want", pattern, shared]),
    gone: (endpoints: readonly number[]) => this.toldOfNames.push(["gone", endpoints]),
    connected: (isConnected: boolean) => this.toldOfNames.push(["connected", isConnected]),
    open: (tickets: readonly number[]) => this.toldOfNames.push(["open", tickets]),
    forget: (name: string | null) => this.toldOfNames.push(["forget", name]),
    handOver: (withNames: boolean) => Buffer.from(withNames ? "known" : "asked"),
    inherit: (state: Uint8Array) => this.toldOfNames.push(["inherit", Buffer.from(state).toString()]),
  };
  readonly onRecords: OnRecords;
  readonly onLookups: OnLookups;
  listens = false;
  drained: number | null = null;
  closed = false;

  constructor(onRecords: OnRecords, onLookups: OnLookups) {
    this.onRecords = onRecords;
    this.onLookups = onLookups;
  }

  configure(tables: L7Tables) {
    this.told.push(tables);
    return tables.ruleSets.flatMap((set) =>
      set.protocol === "kafka" ? [{ ruleSet: set.id, message: "no kafka here" }] : [],
    );
  }

  listen() {
    this.listens = true;
  }

  stats() {
    return { connections: 3, connectionsTotal: 9, refused: 0, requests: 0, memory: 1_000, recordsLost: 0 };
  }

  async drain(limitMs: number) {
    this.drained = limitMs;
  }

  async close() {
    this.closed = true;
  }
}

const record: L7Record = {
  time: 1_700_000_000_000,
  protocol: "http/1.1",
  verdict: "forwarded",
  direction: null,
  reason: null,
  source: { address: "10.0.1.2", port: 40_000, identity: 300, endpoint: 1 },
  destination: { address: "10.0.1.3", port: 80, identity: 301, endpoint: 2 },
  ruleSet: 1,
  latency: 1_500,
  http: { method: "GET", host: "api", path: "/", status: 200 },
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

interface World {
  readonly l7: L7;
  readonly problems: Map<string, readonly Problem[]>;
  readonly records: L7Record[];
  readonly stats: ProxyStats[];
  readonly socket: string;
  readonly folder: string;
}

async function world(t: ExecutionContext, l7Proxy: "on" | "off" = "on"): Promise<World> {
  const folder = await temporaryFolder(t);
  const problems = new Map<string, readonly Problem[]>();
  const records: L7Record[] = [];
  const stats: ProxyStats[] = [];
  const l7 = await L7.open({
    config: { l7Proxy, stateDir: join(folder, "state") },
    readDemands: parseDemands,
    conditions: { report: (topic, list) => problems.set(topic, list) },
    log: silentLogger,
    clock: systemClock,
    onRecords: (batch) => records.push(...batch),
    onStats: (_process, each) => stats.push(each),
  });
  const { socket } = await fakeAgent(t, { proxy: l7 });
  l7.start();
  t.teardown(() => l7.stop());
  return { l7, problems, records, stats, socket, folder };
}

function startProxy(t: ExecutionContext, { socket, folder }: Pick<World, "socket" | "folder">) {
  const engines: FakeEngine[] = [];
  const proxy = new TandemProxy({
    agentSocket: socket,
    version: "0.1.0",
    pid: 4711,
    drainMs: 2_000,
    openEngine: (onRecords, onLookups) => {
      const engine = new FakeEngine(onRecords, onLookups);
      engines.push(engine);
      return engine;
    },
    turn: new Turn(folder, systemClock),
    lastRules: new LastRules({ stateDir: join(folder, "proxy"), log: silentLogger, clock: systemClock }),
    accessLog: null,
    onState: () => undefined,
    log: silentLogger,
    clock: systemClock,
  });
  const ended = proxy.run();
  t.teardown(async () => {
    await proxy.stop();
    await ended;
  });
  return { proxy, engines, ended };
}

test("a proxy gets the rules before it takes flows, and the agent knows when new ones hold", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const { proxy, engines } = startProxy(t, made);
  await until(() => proxy.state === "active");
  t.true(engines[0]?.listens);
  t.deepEqual(engines[0]?.told.at(-1)?.groups, [{ policySet: 5, direction: "egress", group: 1, ruleSet: 1 }]);
  await until(() => made.l7.proxy().instances[0]?.state === "active");
  await made.l7.demands.publish(
    new Map([
      [5, demands(get)],
      [6, demands('kafka [{"topic":"a"}]')],
    ]),
    false,
  );
  await until(() => made.l7.proxy().instances[0]?.generation === made.l7.proxy().generation);
  t.deepEqual(
    engines[0]?.told.at(-1)?.ruleSets.map(({ id }) => id),
    [1, 2],
  );
  t.deepEqual(
    made.problems.get("l7-proxy")?.map(({ code, object }) => `${code} ${object}`),
    ["L7_RULES_REFUSED L7 rules 2"],
  );
});

test("records reach the agent while somebody looks, and are counted by rule always", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const { proxy, engines } = startProxy(t, made);
  await until(() => proxy.state === "active");
  const line = (each: L7Record) => Buffer.from(`${JSON.stringify(each)}\n`);
  engines[0]?.onRecords(line(record), 0);
  made.l7.watch(true);
  // The order of messages is kept: when this one has come, the one before would have, too.
  await until(() => {
    engines[0]?.onRecords(line({ ...record, verdict: "denied", direction: "egress", ruleSet: 0, latency: null }), 0);
    return made.records.length > 0;
  });
  t.true(made.records.every(({ verdict }) => verdict === "denied"));
  await until(() => (made.l7.rules().denied[0]?.requests ?? 0) > 0);
  t.like(made.l7.rules().rules[0], { ruleSet: 1, requests: 1, latencyMean: 1_500, text: get });
  t.like(made.l7.rules().denied[0], { direction: "egress", source: 300, destination: 301, protocol: "http/1.1" });
});

test("the agent is told how long requests took, what was denied by which rules, and how long answers of DNS waited", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const { proxy, engines } = startProxy(t, made);
  await until(() => proxy.state === "active" && made.l7.proxy().instances[0]?.state === "active");
  const denied: L7Record = { ...record, verdict: "denied", direction: "egress", ruleSet: 0, asked: [1], latency: null };
  engines[0]?.onRecords(Buffer.from([record, denied].map((each) => `${JSON.stringify(each)}\n`).join("")), 0);
  const lookup = { ticket: 4, endpoint: 1, name: "a.example.", ttl: 30, addresses: ["192.0.2.1"] };
  engines[0]?.onLookups([lookup, { ...lookup, ticket: 5 }]);
  made.l7.broadcast({ type: "names-open", tickets: [4, 99] });
  const last = () => made.stats.at(-1);
  await until(() => (last()?.durations?.dnsHold.count ?? 0) > 0);
  t.is(last()?.durations?.dnsHold.count, 1, "one waits on, and of one nobody knows");
  t.like(
    last()?.rules.find(({ ruleSet }) => ruleSet === 1),
    { requests: 1, denied: 1 },
  );
  const [[protocol, data] = ["", null]] = last()?.durations?.requests ?? [];
  t.is(protocol, "http/1.1");
  t.like(data, { count: 1, sum: 0.0015 });
  t.is(data?.buckets.find(({ le }) => le === 0.0025)?.count, 1);
  t.is(data?.buckets.find(({ le }) => le === 0.001)?.count, 0);
});

test("a proxy that starts while the agent is away works by the last rules", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const first = startProxy(t, made);
  await until(() => first.proxy.state === "active");
  await first.proxy.stop();
  await first.ended;
  const second = startProxy(t, { ...made, socket: join(made.folder, "nobody.sock") });
  await until(() => second.proxy.state === "active");
  t.deepEqual(second.engines[0]?.told.at(-1)?.groups, [{ policySet: 5, direction: "egress", group: 1, ruleSet: 1 }]);
});

test("a successor takes over; the one before drains, waits, and is there when the successor has ended", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const old = startProxy(t, made);
  await until(() => old.proxy.state === "active");
  const successor = startProxy(t, made);
  await until(() => successor.proxy.state === "active" && old.proxy.state === "standby");
  t.is(old.engines[0]?.drained, 2_000);
  const [heir] = successor.engines;
  await until(() => (heir?.toldOfNames.filter((each) => String(each).startsWith("inherit")).length ?? 0) > 1);
  t.deepEqual(
    heir?.toldOfNames.filter((each) => String(each).startsWith("inherit")),
    [
      ["inherit", "known"],
      ["inherit", "asked"],
    ],
    "what is open before it has the flows, what is under way behind that",
  );
  t.true(old.engines[0]?.closed);
  await until(() => made.l7.proxy().instances.filter(({ state }) => state === "active").length === 1);
  await successor.proxy.stop();
  await until(() => old.proxy.state === "active");
  t.true(old.engines.at(-1)?.listens);
  t.not(old.engines.at(-1), old.engines[0]);
});

test("a successor that no agent has told the names yet has them of the one before, and what the agent takes back stays so", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  const old = startProxy(t, made);
  await until(() => old.proxy.state === "active" && made.l7.proxy().instances[0]?.state === "active");
  made.l7.broadcast({ type: "names-wanted", pattern: "a\\.test\\.", shared: false });
  await until(() => old.engines[0]?.toldOfNames.some((each) => String(each).startsWith("want,a")) ?? false);
  const successor = startProxy(t, { ...made, socket: join(made.folder, "nobody.sock") });
  await until(() => successor.proxy.state === "active");
  const told = successor.engines[0]?.toldOfNames ?? [];
  const at = (text: string) => told.findIndex((each) => String(each).startsWith(text));
  t.true(at("want,a") >= 0 && at("inherit,known") > at("want,a"), JSON.stringify(told));

  const names = new Names(() => true, systemClock);
  const engine = new FakeEngine(
    () => undefined,
    () => undefined,
  );
  names.use(engine.names);
  names.take({ type: "names-forget", names: ["b.test."] });
  names.take({ type: "names-gone", endpoints: [7] });
  engine.toldOfNames.length = 0;
  names.inherit(JSON.stringify({ wanted: null, memory: "" }));
  t.deepEqual(engine.toldOfNames, [
    ["inherit", ""],
    ["forget", "b.test."],
    ["gone", [7]],
  ]);
  engine.toldOfNames.length = 0;
  for (const other of ["", "{}", "null", "[1]"]) names.inherit(other);
  t.deepEqual(engine.toldOfNames, [], "of a version that speaks otherwise");
});

test("a switch of endpoints does not wait for a proxy that is away", async (t) => {
  const made = await world(t);
  await made.l7.demands.publish(new Map([[5, demands(get)]]), true);
  await made.l7.demands.publish(new Map([[6, demands(get)]]), true);
  t.deepEqual(made.l7.proxy().instances, []);
});

test("an agent with l7Proxy off lets no proxy in, and says that the ports are closed", async (t) => {
  const made = await world(t, "off");
  await made.l7.demands.publish(new Map([[5, demands(get)]]), false);
  t.deepEqual(
    made.problems.get("l7-proxy")?.map(({ code }) => code),
    ["PROXY_OFF"],
  );
  const { proxy } = startProxy(t, made);
  await proxy.stop();
  t.deepEqual(made.l7.proxy().instances, []);
});
