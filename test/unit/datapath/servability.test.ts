/** Whose clients a failure concerns: of one service, of all, or of none. */
import test from "ava";
import type { EntryFailure } from "../../../src/datapath/problems.ts";
import { servability } from "../../../src/datapath/servability.ts";
import { ServiceReconciler } from "../../../src/datapath/services.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { frontend } from "./world.ts";

const failure = (map: string): EntryFailure => ({ map, entry: "an entry", maxEntries: 1, error: new Error("EIO") });

test("policies, identities, prefixes and pods take nothing from services; a setting or an uplink takes all", (t) => {
  const others = ["policy_peer", "ipcache4", "endpoint", "native_prefix4", "service_address", "maglev", "nat4"];
  t.deepEqual(servability(others.map(failure), []), { all: null, addresses: new Map() });
  t.regex(servability([failure("settings")], []).all ?? "", /^map settings /);
  t.regex(servability([failure("device")], []).all ?? "", /^map device /);
  t.is(servability([], [{ name: "eth0" }]).all, "the programs of eth0 are not attached");
});

test("of services without room the address is named, of all that have it nothing", async (t) => {
  for (const [sizes, map] of [
    [{ service_backend: 2 }, "service_backend"],
    [{ service4: 1 }, "service4"],
  ] as const) {
    const kernel = new FakeKernel(sizes);
    const services = new ServiceReconciler(kernel.native, kernel.map);
    await services.read();
    t.deepEqual(await services.apply([frontend("10.96.0.1", "10.9.0.1")]), []);
    const failures = await services.apply([
      frontend("10.96.0.1", "10.9.0.1"),
      frontend("10.96.0.2", "10.9.0.2", "10.9.0.3"),
    ]);
    const { all, addresses } = servability(failures, []);
    t.is(all, null);
    t.deepEqual([...addresses.keys()], ["10.96.0.2"]);
    t.regex(addresses.get("10.96.0.2") ?? "", new RegExp(`^map ${map} has not taken .*10\\.96\\.0\\.2:80`));
  }
});
