/** What is announced against what should be: with a daemon that goes, refuses, and has paths of others. */
import test, { type ExecutionContext } from "ava";
import { Advertiser, type AdvertiserOptions } from "../../../../src/agent/advertise/index.ts";
import { computeFrontends } from "../../../../src/compute/services/index.ts";
import type { ComputeResult } from "../../../../src/compute/result.ts";
import { makePrefix } from "../../../../src/model/ip.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import type { BgpPathRow } from "../../../../src/model/tables.ts";
import type { GobgpSession } from "../../../../src/sources/gobgp/index.ts";
import { GobgpError } from "../../../../src/sources/gobgp/errors.ts";
import type { Announcement } from "../../../../src/sources/gobgp/types.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { address, endpoint, node, service, slice, tables } from "../../compute/services/support.ts";

const vip = "198.51.100.1";
const mark = "64512:1413566020:1";

/** Keeps what it is told in the store's table, as the source of events would. */
class Daemon {
  readonly calls: string[] = [];
  fails = false;
  readonly #store: TableStore;
  #sets: readonly object[] = [];
  #policies: readonly object[] = [];
  readonly session: GobgpSession;

  constructor(store: TableStore) {
    this.#store = store;
    const client = {
      address: "127.0.0.1:50051",
      protocol: { writes: true, label: "GoBGP 3" },
      definedSets: async () => this.#sets,
      policies: async () => this.#policies,
      addExportPolicy: async () => {
        this.calls.push("policy");
        this.#sets = [
          { name: "tandem_services", prefixes: [] },
          { name: "tandem_services6", prefixes: [] },
        ];
        this.#policies = [{ policies: [{ name: "tandem_services" }] }];
      },
      changeSet: async (change: string, name: string, prefixes: readonly { readonly text: string }[]) => {
        this.calls.push(`${change} ${prefixes.map(({ text }) => text).join()} ${name}`);
      },
      paths: async function* () {},
      announce: async ({ prefix, nextHop, largeCommunities = [] }: Announcement) => {
        this.calls.push(`announce ${prefix.text}`);
        if (this.fails) throw new GobgpError("GOBGP_REFUSED", "127.0.0.1:50051", "AddPath: no");
        this.put(
          prefix.address.text,
          nextHop.text,
          largeCommunities.map((parts) => parts.join(":")),
        );
      },
      withdraw: async ({ prefix }: Announcement) => {
        this.calls.push(`withdraw ${prefix.text}`);
        store.delete("bgpPaths", prefix.text);
      },
    };
    this.session = { client: client as unknown as GobgpSession["client"], asn: 64512 };
  }

  put(text: string, nextHop: string, communities: readonly string[]): void {
    const prefix = makePrefix(address(text), 32);
    const row: BgpPathRow = {
      prefix,
      nextHop: address(nextHop),
      peer: null,
      asPath: "",
      localPref: null,
      med: null,
      communities,
      originatorId: null,
      stale: false,
      others: [],
    };
    this.#store.upsert("bgpPaths", prefix.text, row);
  }

  take(): readonly string[] {
    return this.calls.splice(0);
  }
}

function world(t: ExecutionContext, config: Partial<AdvertiserOptions["config"]> = {}) {
  const store = new TableStore();
  const clock = new ManualClock();
  const daemon = new Daemon(store);
  const bgp: { session: GobgpSession | null } = { session: daemon.session };
  const problems = new Map<string, readonly Problem[]>();
  const faults: { all: string | null; addresses: Map<string, string>; mended: number } = {
    all: null,
    addresses: new Map(),
    mended: 0,
  };
  const advertiser = new Advertiser({
    config: {
      nodeName: "node-1",
      advertiseServices: "all",
      advertiseAddresses: ["LoadBalancer"],
      advertiseDrainTaints: [],
      advertiseNextHop: "node",
      advertiseOnStop: "keep",
      ...config,
    },
    store,
    bgp,
    conditions: {
      report: (topic: string, found: readonly Problem[]) => void problems.set(topic, found),
    },
    servability: () => ({ all: faults.all, addresses: new Map(faults.addresses) }),
    mend: () => void faults.mended++,
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined } as never,
    clock,
  });
  t.teardown(() => advertiser.stop());
  const apply = (ready: boolean) => {
    const rows = tables({
      services: [
        service("web", {
          type: "LoadBalancer",
          externalTrafficPolicy: "Local",
          loadBalancerIps: [address(vip)],
        }),
      ],
      nodes: [node("node-1", ["172.18.0.1"])],
      endpointSlices: [slice("s", [endpoint("10.1.0.1", { node: "node-1", ready, serving: ready })])],
    });
    const { frontends } = computeFrontends(rows, { nodeName: "node-1" });
    advertiser.applied({ desired: { frontends } } as unknown as ComputeResult, rows as never);
  };
  const state = () => advertiser.rows().map((row) => row.state)[0];
  return { store, clock, daemon, bgp, problems, faults, advertiser, apply, state };
}

/** By a daemon that has our policy, and the first time. */
const announced = [`add ${vip}/32 tandem_services`, `announce ${vip}/32`];
const first = ["policy", ...announced];
const withdrawn = [`withdraw ${vip}/32`, `remove ${vip}/32 tandem_services`];

test("the set goes before the path, and after its withdrawal; what holds is not told again", async (t) => {
  const { clock, daemon, advertiser, apply, state } = world(t);
  apply(true);
  advertiser.start();
  await clock.advance(5_000);
  t.deepEqual(daemon.take(), first);
  t.is(state(), "advertised");
  apply(false);
  await clock.advance(10);
  t.deepEqual(daemon.take(), withdrawn);
  t.is(state(), "withheld");
});

test("a path that an agent before left is withdrawn, also when the setting is off; one of others never", async (t) => {
  const { clock, daemon, advertiser, apply } = world(t, { advertiseServices: "off" });
  daemon.put("198.51.100.7", "172.18.0.1", [mark]);
  daemon.put("198.51.100.8", "172.18.0.1", ["64512:1"]);
  apply(true);
  advertiser.start();
  await clock.advance(5_000);
  t.deepEqual(daemon.take(), ["withdraw 198.51.100.7/32"]);
});

test("where somebody else announces the prefix nothing is done; once it is gone ours is announced", async (t) => {
  const { store, clock, daemon, advertiser, apply, state } = world(t);
  daemon.put(vip, "172.18.0.1", []);
  apply(true);
  advertiser.start();
  await clock.advance(100);
  t.deepEqual(daemon.take(), []);
  t.is(state(), "foreign");
  store.delete("bgpPaths", `${vip}/32`);
  await clock.advance(100);
  t.deepEqual(daemon.take(), first);
  // kube-router replaces ours: what is there now is not ours to withdraw.
  daemon.put(vip, "172.18.0.1", []);
  await clock.advance(100);
  apply(false);
  await clock.advance(100);
  t.false(daemon.take().some((call) => call.startsWith("withdraw")));
});

test("a daemon that goes is waited for, and a new one is told all of it", async (t) => {
  const { store, clock, daemon, bgp, advertiser, apply, state } = world(t);
  apply(true);
  advertiser.start();
  await clock.advance(100);
  daemon.take();
  bgp.session = null;
  advertiser.wake();
  await clock.advance(100);
  t.is(state(), "waiting");
  store.delete("bgpPaths", `${vip}/32`);
  const next = new Daemon(store);
  bgp.session = next.session;
  advertiser.wake();
  await clock.advance(100);
  t.deepEqual(next.take(), first);
  t.deepEqual(daemon.take(), []);
});

test("what the daemon refuses is told and tried again with pauses that grow", async (t) => {
  const { clock, daemon, problems, advertiser, apply, state } = world(t);
  daemon.fails = true;
  apply(true);
  advertiser.start();
  await clock.advance(20_000);
  t.is(problems.get("advertise")?.[0]?.code, "GOBGP_REFUSED");
  t.is(state(), "waiting");
  const tries = daemon.take().filter((call) => call.startsWith("announce")).length;
  t.true(tries > 3 && tries < 20, String(tries));
  daemon.fails = false;
  await clock.advance(6_000);
  t.deepEqual(problems.get("advertise"), []);
  t.is(state(), "advertised");
});

test("a datapath that fails for a while gets nobody, one that fails for a moment does", async (t) => {
  const { clock, daemon, advertiser, apply, state } = world(t);
  apply(true);
  advertiser.start();
  await clock.advance(100);
  daemon.take();
  advertiser.failed();
  await clock.advance(2_000);
  t.deepEqual(daemon.take(), []);
  await clock.advance(3_000);
  t.deepEqual(daemon.take(), withdrawn);
  t.is(state(), "withheld");
  apply(true);
  await clock.advance(100);
  t.deepEqual(daemon.take(), announced);
});

test("a fault that lasts takes away the address that is not served, or all of them; one that passes and one of others take nothing", async (t) => {
  const { clock, daemon, faults, advertiser, apply, state } = world(t);
  apply(true);
  advertiser.start();
  await clock.advance(100);
  daemon.take();
  // Of another service: what it cannot serve is its own matter.
  faults.addresses.set("198.51.100.99", "map service_backend has not taken backends of another");
  apply(true);
  await clock.advance(10_000);
  t.deepEqual(daemon.take(), []);
  // Ours, mended by another try before the time is over.
  faults.addresses = new Map([[vip, "map service4 has not taken it"]]);
  apply(true);
  const mended = faults.mended;
  await clock.advance(2_500);
  t.true(faults.mended > mended, "it is tried again");
  faults.addresses.clear();
  apply(true);
  await clock.advance(10_000);
  t.deepEqual(daemon.take(), []);
  // Ours, for good, although it is tried again and again.
  faults.addresses.set(vip, "map service4 has not taken it");
  apply(true);
  await clock.advance(2_000);
  apply(true);
  await clock.advance(500);
  t.deepEqual(daemon.take(), []);
  await clock.advance(2_000);
  t.deepEqual(daemon.take(), withdrawn);
  t.is(state(), "withheld");
  t.regex(advertiser.rows()[0]?.why ?? "", /map service4 has not taken it$/);
  const tries = faults.mended;
  await clock.advance(60_000);
  t.is(faults.mended, tries, "no more than until it is known to last");
  faults.addresses.clear();
  apply(true);
  await clock.advance(100);
  t.deepEqual(daemon.take(), announced);
  faults.all = "the programs of eth0 are not attached";
  apply(true);
  await clock.advance(4_500);
  t.deepEqual(daemon.take(), withdrawn);
});

test("a stop withdraws by choice alone", async (t) => {
  for (const [advertiseOnStop, calls] of [
    ["keep", []],
    ["withdraw", withdrawn],
  ] as const) {
    const { clock, daemon, advertiser, apply } = world(t, { advertiseOnStop });
    apply(true);
    advertiser.start();
    await clock.advance(100);
    daemon.take();
    await advertiser.stop();
    t.deepEqual(daemon.take(), calls);
  }
});

test("a path that vanished is announced again", async (t) => {
  const { store, clock, daemon, advertiser, apply } = world(t);
  apply(true);
  advertiser.start();
  await clock.advance(100);
  daemon.take();
  store.delete("bgpPaths", `${vip}/32`);
  await clock.advance(5_000);
  t.deepEqual(daemon.take(), [`announce ${vip}/32`]);
});
