/** Which translated sockets are ended when backends leave, and where. */
import test from "ava";
import type { DesiredFrontend } from "../../../src/compute/desired.ts";
import { StaleSockets } from "../../../src/datapath/stale-sockets.ts";
import { type Address, parseAddress, toMappedBytes } from "../../../src/model/ip.ts";
import { sockReverse, sockReverseKey } from "../../../src/native/layouts.gen.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

const at = (text: string, port: number) => ({ address: address(text), port });
const [dns, web] = [at("10.96.0.10", 53), at("10.96.0.1", 80)];
const [a, b, six] = [at("10.1.0.1", 5353), at("10.1.0.2", 5353), at("fd00:1::1", 5353)];
type Place = typeof dns;

function frontend(service: Place, backends: readonly Place[], more: Partial<DesiredFrontend> = {}): DesiredFrontend {
  const common = { external: false, affinitySeconds: null, service: "shop/dns:dns" };
  return { ...common, ...service, protocol: 17, backends, ...more };
}

function world() {
  const kernel = new FakeKernel();
  const sockets = new StaleSockets(kernel.native, kernel.map("sock_reverse"));
  return {
    kernel,
    sockets,
    connect(cookie: bigint, service: Place, backend: Place) {
      kernel.set(
        "sock_reverse",
        sockReverseKey.encode({ cookie, backend: toMappedBytes(backend.address), port: backend.port }),
        sockReverse.encode({ address: toMappedBytes(service.address), port: service.port }),
      );
    },
    async apply(frontends: readonly DesiredFrontend[], namespaces: readonly string[] = []) {
      await sockets.apply(frontends, new Set(namespaces));
      return kernel.destroyed.splice(0).sort();
    },
  };
}

test("sockets of a backend that left are ended in every namespace, and no others", async (t) => {
  const { connect, apply } = world();
  const other = at("10.96.0.11", 53);
  connect(1n, dns, a);
  connect(2n, dns, b);
  connect(3n, other, a);
  const rest = frontend(other, [a]);
  t.deepEqual(await apply([frontend(dns, [a, b]), rest]), []);
  t.deepEqual(await apply([frontend(dns, [b]), rest], ["/pod1", "/pod2"]), ["/pod1 1", "/pod2 1", "node 1"]);
  t.deepEqual(await apply([frontend(dns, [b, a]), rest]), [], "it comes back: nobody left");
});

test("a service that is gone takes its sockets along; both families", async (t) => {
  const { connect, apply } = world();
  const service = at("fd00:96::10", 53);
  connect(1n, service, six);
  connect(2n, dns, a);
  t.deepEqual(await apply([frontend(dns, [a]), frontend(service, [six])]), []);
  t.deepEqual(await apply([frontend(dns, [a])]), ["node 1"]);
});

test("who gets nothing new and still serves keeps its sockets until it does not", async (t) => {
  const { connect, apply } = world();
  connect(1n, dns, a);
  t.deepEqual(await apply([frontend(dns, [a, b])]), []);
  t.deepEqual(await apply([frontend(dns, [b], { others: [a] })]), []);
  t.deepEqual(await apply([frontend(dns, [b])]), ["node 1"]);
});

test("what left while nobody ran is found at the first look, with services that are gone", async (t) => {
  const { connect, apply } = world();
  connect(1n, dns, a);
  connect(2n, dns, b);
  connect(3n, at("10.96.0.99", 53), b);
  t.deepEqual(await apply([frontend(dns, [b])]), ["node 1", "node 3"]);
  t.deepEqual(await apply([frontend(dns, [b])]), []);
});

test("TCP is left alone, also at an address and port that a UDP service has", async (t) => {
  const { connect, apply } = world();
  connect(1n, web, a);
  const tcp = (backends: readonly Place[]) => frontend(web, backends, { protocol: 6 });
  await apply([tcp([a]), frontend(dns, [a])]);
  t.deepEqual(await apply([tcp([]), frontend(dns, [a])]), []);
  t.deepEqual(await apply([tcp([]), frontend(dns, [])]), [], "nobody of that service");
});

test("of sockets that were closed nothing is asked, however many the kernel remembers", async (t) => {
  const { kernel, connect } = world();
  for (let cookie = 1n; cookie < 100n; cookie++) connect(cookie, dns, a);
  let lookups = 0;
  const native: FakeKernel["native"] = {
    ...kernel.native,
    connectedDatagramSockets: async () => Buffer.from([...kernel.entries("sock_reverse").keys()][7] ?? "", "latin1"),
    mapLookup: (handle, key) => {
      lookups++;
      return kernel.native.mapLookup(handle, key);
    },
  };
  const sockets = new StaleSockets(native, kernel.map("sock_reverse"));
  await sockets.apply([frontend(dns, [a])], new Set());
  lookups = 0;
  await sockets.apply([frontend(dns, [b])], new Set());
  t.deepEqual([kernel.destroyed, lookups], [["node 8"], 1]);
});

test("what cannot be ended is counted; a namespace that is gone is not", async (t) => {
  const { kernel, connect } = world();
  connect(1n, dns, a);
  const errors = new Map([
    ["/gone", failure("ENOENT", 2, "open", "/gone")],
    ["/broken", failure("EOPNOTSUPP", 95, "destroy", "a UDP socket")],
  ]);
  const native: FakeKernel["native"] = {
    ...kernel.native,
    destroyDatagramSockets: async (netns) => {
      const error = errors.get(netns ?? "");
      if (error !== undefined) throw error;
      return 1;
    },
  };
  const sockets = new StaleSockets(native, kernel.map("sock_reverse"));
  await sockets.apply([], new Set(["/gone", "/broken", "/pod"]));
  t.is(sockets.counters.writes, 2);
  t.is(sockets.counters.failures, 1);
  t.regex(sockets.counters.lastError ?? "", /^\/broken: /);
});
