import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import type { CompiledSet, DesiredIdentity, DesiredState } from "../../../src/compute/desired.ts";
import type { Turn } from "../../../src/datapath/comparison.ts";
import { readIdentities, readServices } from "../../../src/datapath/kernel-views.ts";
import { Pins } from "../../../src/datapath/pins.ts";
import { contentDigest, encodeSet, type PolicyRow, policyMaps, rowOf } from "../../../src/datapath/policy-encode.ts";
import { Reconciler } from "../../../src/datapath/reconcile.ts";
import {
  EndpointFlags,
  endpoint as endpointCodec,
  service,
  serviceBackendKey,
} from "../../../src/native/layouts.gen.ts";
import { holders } from "../../support/holders.ts";
import { FakeKernel, failure, type JournalEntry } from "./fake-kernel.ts";
import { direction, endpoint, frontend, identity, openDirection, prefix, set } from "./world.ts";

async function withFolder(body: (pins: Pins) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-reconcile-"));
  try {
    const pins = new Pins(folder);
    await pins.prepare({ mountBpffs: async () => "present" });
    await body(pins);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param revision the highest that conntrack remembers */
async function start(kernel: FakeKernel, pins: Pins, revision = 0): Promise<Reconciler> {
  const reconciler = new Reconciler({
    native: { ...kernel.native, attachXdp: async () => "attached", attachCgroup: async () => "attached" },
    config: { traceFlows: false, cgroup: null, ipv4: true, ipv6: true, xdp: "off" },
    capabilities: { mode: "tcx", peerNames: true, kernelConntrack: false },
    pins,
    demands: { known: () => null, highest: 0, publish: async () => undefined },
    objects: { map: kernel.map, program: (name) => ({ name, handle: 1, id: 1 }), optionalProgram: () => null },
  });
  await reconciler.readAll({ highest: async () => ({ revision, table: 0 }) }, { highestTable: async () => 0 });
  await reconciler.replacePrograms();
  return reconciler;
}

/** A state of the world in small numbers, so that steps often agree in parts. */
interface Step {
  readonly pods: readonly { readonly number: number; readonly set: string | null }[];
  readonly sets: readonly {
    readonly allowed: readonly number[];
    readonly denied: readonly number[];
    readonly refused: boolean;
  }[];
  readonly identities: readonly { readonly host: number; readonly identity: number }[];
  readonly services: readonly { readonly number: number; readonly backends: readonly number[] }[];
  readonly prefixes: readonly number[];
  readonly restart: boolean;
  /** The kernel refuses every nth write of this step; 0: none. */
  readonly failEvery: number;
}

const small = fc.integer({ min: 1, max: 6 });
const setNames = ["a", "b", "c"] as const;
const step: fc.Arbitrary<Step> = fc.record({
  pods: fc.uniqueArray(fc.record({ number: small, set: fc.constantFrom(...setNames, null) }), {
    selector: ({ number }) => number,
  }),
  sets: fc.array(
    fc.record({
      allowed: fc.uniqueArray(small),
      denied: fc.uniqueArray(small, { maxLength: 2 }),
      refused: fc.integer({ min: 0, max: 5 }).map((dice) => dice === 0),
    }),
    { minLength: 3, maxLength: 3 },
  ),
  identities: fc.uniqueArray(fc.record({ host: small, identity: small }), { selector: ({ host }) => host }),
  services: fc.uniqueArray(fc.record({ number: small, backends: fc.uniqueArray(small, { maxLength: 3 }) }), {
    selector: ({ number }) => number,
  }),
  prefixes: fc.uniqueArray(small, { maxLength: 2 }),
  restart: fc.boolean(),
  failEvery: fc.constantFrom(0, 0, 0, 3, 7),
});

function desiredOf({ pods, sets, identities, services, prefixes }: Step): DesiredState {
  return {
    endpoints: pods.map(({ number, set: name }) => endpoint(number, name)),
    sets: setNames.map((name, index) => {
      const { allowed = [], denied = [], refused = false } = sets[index] ?? {};
      return set(
        name,
        allowed.length + denied.length === 0 ? openDirection : direction(allowed, denied),
        openDirection,
        refused ? "too many groups" : null,
      );
    }),
    identities: holders(...identities.map(({ host, identity: number }) => identity(`10.9.0.${host}`, number))),
    frontends: services.map(({ number, backends }) =>
      frontend(`10.96.0.${number}`, ...backends.map((host) => `10.9.0.${host}`)),
    ),
    clusterPrefixes: prefixes.map((number) => prefix(`10.${number}.0.0/16`)),
    uplinks: [],
  };
}

/** Content of each set number in the kernel. */
function contents(kernel: FakeKernel): ReadonlyMap<number, string> {
  const rows = new Map<number, PolicyRow[]>();
  for (const name of policyMaps) {
    for (const [key, value] of kernel.entries(name)) {
      const { set: number, row } = rowOf(name, Buffer.from(key, "latin1"), value);
      rows.set(number, [...(rows.get(number) ?? []), row]);
    }
  }
  return new Map([...rows].map(([number, list]) => [number, contentDigest(list)]));
}

/**
 * What must hold at every single write: an endpoint is opened on a set that is there whole, a revision never means two things, a
 * service is switched to a table that is there whole.
 */
class Watch {
  readonly problems: string[] = [];
  readonly #kernel: FakeKernel;
  readonly #meaning = new Map<string, string>();
  /** Contents that were wanted at some time: an endpoint may keep its last good one. */
  readonly wanted = new Set<string>();
  failEvery = 0;
  /** Of all revisions that some flow may remember, those of pods that are gone too. */
  highest = 0;
  #writes = 0;

  constructor(kernel: FakeKernel) {
    this.#kernel = kernel;
    kernel.refuse = (entry) => {
      this.#look(entry);
      this.#writes++;
      return this.failEvery > 0 && this.#writes % this.failEvery === 0
        ? failure("ENOMEM", 12, "write to map", entry.map)
        : null;
    };
  }

  #look({ map, value }: JournalEntry): void {
    if (value === null) return;
    if (map === "endpoint" || map === "endpoint_addr") {
      const { flags, policySet, policyRevision, id } = endpointCodec.decode(value);
      if (flags & EndpointFlags.closed) return;
      this.highest = Math.max(this.highest, policyRevision);
      if (policyRevision === 0) this.problems.push("revision 0");
      const content = policySet === 0 ? "" : contents(this.#kernel).get(policySet);
      if (content === undefined || !this.wanted.has(content)) {
        this.problems.push(`endpoint ${id} opened on set ${policySet}, which is not whole`);
      }
      const meaning = `${flags} ${content}`;
      const before = this.#meaning.get(`${policyRevision}`);
      if (before !== undefined && before !== `${id} ${meaning}`)
        this.problems.push(`revision ${policyRevision} has two meanings`);
      this.#meaning.set(`${policyRevision}`, `${id} ${meaning}`);
    }
    if (map === "service4") {
      const { id, backends } = service.decode(value);
      for (let slot = 0; slot < backends; slot++) {
        const key = serviceBackendKey.encode({ service: id, slot }).toString("latin1");
        if (!this.#kernel.entries("service_backend").has(key)) this.problems.push(`table ${id} has no slot ${slot}`);
      }
    }
  }
}

const digestOf = (each: CompiledSet) => {
  const rows = encodeSet(each);
  return rows.length === 0 ? "" : contentDigest(rows);
};

test("any steps, with restarts and failing writes, end in what was wanted last; nothing is half at any write", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      await withFolder(async (pins) => {
        const kernel = new FakeKernel();
        for (let number = 1; number <= 6; number++) kernel.devices.add(100 + number);
        const watch = new Watch(kernel);
        let reconciler = await start(kernel, pins);
        const last = steps.at(-1);
        for (const each of steps) {
          const desired = desiredOf(each);
          if (each.restart) reconciler = await start(kernel, pins, watch.highest);
          for (const content of desired.sets.map(digestOf)) watch.wanted.add(content);
          watch.failEvery = each.failEvery;
          await reconciler.apply(desired);
        }
        if (last === undefined) return;
        watch.failEvery = 0;
        const desired = desiredOf(last);
        await reconciler.apply(desired);
        t.deepEqual(watch.problems, []);

        const identities = await readIdentities(kernel.native, kernel.map);
        t.deepEqual(
          identities.map(({ address, identity: number }) => `${address.text} ${number}`).sort(),
          [...desired.identities.values()].map(({ address, identity: number }) => `${address.text} ${number}`).sort(),
        );
        const services = await readServices(kernel.native, kernel.map);
        const text = (vip: string, backends: readonly { address: { text: string } }[]) =>
          `${vip} ${backends.map(({ address }) => address.text).join()}`;
        t.deepEqual(
          services.map(({ frontend: vip, backends }) => text(vip.address.text, backends)).sort(),
          desired.frontends.map(({ address, backends }) => text(address.text, backends)).sort(),
        );
        t.is(
          kernel.entries("service_backend").size,
          desired.frontends.reduce((sum, { backends }) => sum + backends.length, 0),
        );
        t.is(kernel.entries("cluster_prefix4").size, desired.clusterPrefixes.length);

        const inKernel = contents(kernel);
        const endpoints = [...kernel.entries("endpoint").values()].map((value) => endpointCodec.decode(value));
        t.is(endpoints.length, desired.endpoints.length);
        t.is(kernel.entries("endpoint_addr").size, desired.endpoints.length * 2);
        const used = new Set<number>();
        for (const { row, set: name } of desired.endpoints) {
          const value = endpoints.find(({ id }) => id === row.id);
          const wanted = desired.sets.find(({ key }) => key === name);
          if (value?.policySet) used.add(value.policySet);
          if (wanted === undefined || wanted.refused !== null) continue;
          t.is((value?.flags ?? 0) & EndpointFlags.closed, 0);
          t.is(value?.policySet === 0 ? "" : inKernel.get(value?.policySet ?? 0), digestOf(wanted));
        }
        t.deepEqual([...inKernel.keys()].sort(), [...used].sort(), "no set is left that nobody uses");

        // A restart finds all as it should be.
        const next = await start(kernel, pins);
        const before = kernel.picture();
        kernel.journal.length = 0;
        await next.apply(desired);
        t.deepEqual(kernel.journal, []);
        t.deepEqual(kernel.picture(), before);
      });
    }),
    { numRuns: 60 },
  );
});

test("addresses come inside of their prefixes and leave before them", async (t) => {
  await withFolder(async (pins) => {
    const kernel = new FakeKernel();
    const reconciler = await start(kernel, pins);
    const nothing: DesiredState = {
      identities: new Map(),
      clusterPrefixes: [],
      endpoints: [],
      sets: [],
      frontends: [],
      uplinks: [],
    };
    kernel.journal.length = 0;
    await reconciler.apply({
      ...nothing,
      identities: holders(identity("10.9.0.1", 7)),
      clusterPrefixes: [prefix("10.9.0.0/16")],
    });
    const maps = () => kernel.journal.filter(({ map }) => map !== "settings").map(({ map, op }) => `${op} ${map}`);
    t.deepEqual(maps(), ["update cluster_prefix4", "update ipcache4"]);
    kernel.journal.length = 0;
    await reconciler.apply(nothing);
    t.deepEqual(maps(), ["delete ipcache4", "delete cluster_prefix4"]);
  });
});

test("connections of others are known before the first service is served, and those that began meanwhile after it", async (t) => {
  await withFolder(async (pins) => {
    const kernel = new FakeKernel();
    const { redirectedFlows } = kernel.native;
    let looks = 0;
    kernel.native.redirectedFlows = async (netns) => {
      kernel.redirected = [Buffer.alloc(40, 1), Buffer.alloc(40, 2)].slice(0, ++looks);
      return redirectedFlows(netns);
    };
    const reconciler = await start(kernel, pins);
    const state = (...frontends: DesiredState["frontends"]): DesiredState => ({
      identities: new Map(),
      clusterPrefixes: [],
      endpoints: [],
      sets: [],
      frontends,
      uplinks: [],
    });
    const maps = async (desired: DesiredState) => {
      kernel.journal.length = 0;
      await reconciler.apply(desired);
      return kernel.journal
        .filter(({ map }) => ["kernel_flow", "service4"].includes(map))
        .map(({ map, op }) => `${op} ${map}`);
    };
    t.deepEqual(await maps(state()), []);
    const web = frontend("10.96.0.1", "10.9.0.1");
    t.deepEqual(await maps(state(web)), ["update kernel_flow", "update service4", "update kernel_flow"]);
    t.deepEqual(
      await maps(state(web, frontend("10.96.0.2", "10.9.0.1"))),
      ["update service4"],
      "later ones are ours from the start",
    );
    t.is(looks, 2);
  });
});

test("a peer's address that changes hands moves the revision of those whose policy it can take from, and of no other", async (t) => {
  await withFolder(async (pins) => {
    const kernel = new FakeKernel();
    for (const number of [1, 2, 3, 4]) kernel.devices.add(100 + number);
    const reconciler = await start(kernel, pins);
    const desired = (...identities: readonly DesiredIdentity[]): DesiredState => ({
      identities: holders(...identities),
      clusterPrefixes: [prefix("10.9.0.0/16")],
      endpoints: [endpoint(1, "allows"), endpoint(2, "denies"), endpoint(3, "other"), endpoint(4, "open")],
      sets: [
        set("allows", direction([50])),
        set("denies", direction([60], [51])),
        set("other", direction([70])),
        set("open", openDirection),
      ],
      frontends: [],
      uplinks: [],
    });
    const revisions = () => [1, 2, 3, 4].map((id) => reconciler.endpoints.stateOf(id)?.policyRevision ?? 0);
    const moved = async (...identities: readonly DesiredIdentity[]) => {
      const before = revisions();
      await reconciler.apply(desired(...identities));
      return revisions().map((revision, index) => revision !== before[index]);
    };
    await reconciler.apply(desired());
    t.deepEqual(
      await moved(identity("10.9.0.9", 50)),
      [false, false, false, false],
      "a new pod that is allowed takes nothing away",
    );
    t.deepEqual(
      await moved(identity("10.9.0.9", 51)),
      [true, true, false, false],
      "from an allowed one to a denied one",
    );
    t.deepEqual(
      await moved(identity("10.9.0.9", 99)),
      [false, false, false, false],
      "from a denied one to nobody in particular",
    );
    t.deepEqual(await moved(identity("10.9.0.9", 50)), [false, false, false, false]);
    t.deepEqual(await moved(), [true, false, false, false], "the allowed one has gone");
  });
});

test("a change does not wait for the comparison of services and addresses, and is no difference; what is one is found", async (t) => {
  await withFolder(async (pins) => {
    const kernel = new FakeKernel();
    const { mapDump } = kernel.native;
    let held: { readonly handle: number; readonly reached: () => void; readonly until: Promise<void> } | null = null;
    kernel.native.mapDump = async (handle) => {
      const found = await mapDump(handle);
      if (held?.handle !== handle) return found;
      held.reached();
      await held.until;
      return found;
    };
    const reconciler = await start(kernel, pins);
    let queue: Promise<unknown> = Promise.resolve();
    const turn: Turn = (step) => {
      const result = queue.then(step);
      queue = result;
      return result;
    };
    const leadTo = (host: number) =>
      turn(() =>
        reconciler.apply({
          endpoints: [],
          sets: [],
          identities: holders(identity(`10.9.0.${host}`, 1001)),
          frontends: [frontend("10.96.0.1", `10.9.0.${host}`), frontend(`10.96.1.${host}`, "10.9.0.1")],
          clusterPrefixes: [],
          uplinks: [],
        }),
      );
    await leadTo(1);
    t.false(await reconciler.verify(turn), "all is as it was left");
    for (const [at, name] of (["ipcache4", "service4", "service_backend", "service_address"] as const).entries()) {
      let release: () => void = () => undefined;
      const until = new Promise<void>((resolve) => {
        release = resolve;
      });
      const reached = new Promise<void>((resolve) => {
        held = { handle: kernel.map(name).handle, reached: resolve, until };
      });
      const verifying = reconciler.verify(turn);
      await reached;
      await leadTo(2 + at);
      release();
      t.false(await verifying, `${name}: a change of ours is no difference`);
      held = null;
      const [key] = kernel.entries(name).keys();
      kernel.set(name, Buffer.from(key ?? "", "latin1"), Buffer.alloc(kernel.map(name).valueSize, 0xee));
      t.true(await reconciler.verify(turn), `${name}: one of somebody else's is`);
      await leadTo(2 + at);
      t.false(await reconciler.verify(turn), `${name}: it was mended`);
    }
  });
});
