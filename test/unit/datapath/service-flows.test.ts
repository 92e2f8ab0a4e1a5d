/** Counts of flows by the address of a service, in the words of the field; those of addresses that are gone go. */
import test from "ava";
import { ServiceFlowCounts } from "../../../src/datapath/service-flows.ts";
import { toMappedBytes } from "../../../src/model/ip.ts";
import { ServiceScope, service6Key, serviceFlows } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { frontend } from "./world.ts";

test("a count is the sum over processors, and lives as long as its frontend", async (t) => {
  const kernel = new FakeKernel();
  const counts = new ServiceFlowCounts(kernel.native, kernel.map("service_flows"));
  const all = [frontend("10.96.0.1"), frontend("fd00:96::1")];
  for (const [i, { address, port, protocol }] of all.entries()) {
    const key = service6Key.encode({ address: toMappedBytes(address), port, protocol, scope: i });
    kernel.set("service_flows", key, Buffer.concat([1n, 4n].map((begun) => serviceFlows.encode({ begun }))));
  }
  const read = async () =>
    (await counts.read()).map(({ frontend: { address, port }, outside, begun }) => [
      address.text,
      port,
      outside,
      begun,
    ]);
  t.deepEqual(await read(), [
    ["10.96.0.1", 80, false, 5],
    ["fd00:96::1", 80, true, 5],
  ]);
  t.is(ServiceScope.outside, 1);
  await counts.prune(all);
  t.is((await read()).length, 2);
  await counts.prune(all.slice(1));
  t.deepEqual(await read(), [["fd00:96::1", 80, true, 5]]);
});

test("what programs count of a frontend that is on its way out goes, too; one that came back is counted", async (t) => {
  const kernel = new FakeKernel();
  const counts = new ServiceFlowCounts(kernel.native, kernel.map("service_flows"));
  const [one, other] = [frontend("10.96.0.1"), frontend("10.96.0.2")];
  const count = ({ address, port, protocol }: typeof one) => {
    const key = service6Key.encode({ address: toMappedBytes(address), port, protocol, scope: ServiceScope.inside });
    kernel.set("service_flows", key, serviceFlows.encode({ begun: 1n }));
  };
  const addresses = async () => (await counts.read()).map((each) => each.frontend.address.text).sort();
  for (const each of [one, other]) count(each);
  await counts.prune([one, other]);
  await counts.prune([other]);
  t.deepEqual(await addresses(), ["10.96.0.2"]);
  count(one);
  await counts.prune([other]);
  t.deepEqual(await addresses(), ["10.96.0.2"]);
  await counts.prune([]);
  count(one);
  count(other);
  await counts.prune([{ ...one }]);
  t.deepEqual(await addresses(), ["10.96.0.1"]);
});
