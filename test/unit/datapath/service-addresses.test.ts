import test from "ava";
import { ServiceAddressReconciler } from "../../../src/datapath/service-addresses.ts";
import { fromMappedBytes } from "../../../src/model/ip.ts";
import { serviceAddress, serviceAddressKey } from "../../../src/native/layouts.gen.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { frontend } from "./world.ts";

const [inside, both] = [1, 3];

/** "address: scopes" of what the kernel has. */
function held(kernel: FakeKernel): readonly string[] {
  return [...kernel.entries("service_address")]
    .map(([key, value]) => {
      const { address } = serviceAddressKey.decode(Buffer.from(key, "latin1"));
      return `${fromMappedBytes(address).text}: ${serviceAddress.decode(value).scopes}`;
    })
    .sort();
}

const open = (vip: string, port: number) => ({ ...frontend(vip), port, outside: [] });

test("an address is there while a frontend has it, for the clients that one is for", async (t) => {
  const kernel = new FakeKernel();
  const made = new ServiceAddressReconciler(kernel.native, kernel.map);
  const [first, second, third] = [frontend("10.96.0.1"), open("10.96.0.1", 443), open("fd00:96::1", 80)];
  t.deepEqual(await made.apply([first, second, third]), []);
  t.deepEqual(held(kernel), [`10.96.0.1: ${both}`, `fd00:96::1: ${both}`]);
  const before = kernel.journal.length;
  await made.apply([first, second, third]);
  await made.apply([first, { ...second, backends: [] }, third]);
  t.is(kernel.journal.length, before, "backends are no matter of addresses");
  await made.apply([first]);
  t.deepEqual(held(kernel), [`10.96.0.1: ${inside}`]);
  await made.apply([]);
  t.deepEqual(held(kernel), []);
});

test("what an agent before this one left, or somebody else wrote, is put right", async (t) => {
  const kernel = new FakeKernel();
  await new ServiceAddressReconciler(kernel.native, kernel.map).apply([frontend("10.96.0.1"), frontend("10.96.0.2")]);
  const made = new ServiceAddressReconciler(kernel.native, kernel.map);
  await made.read();
  await made.apply([frontend("10.96.0.2"), frontend("10.96.0.3")]);
  t.deepEqual(held(kernel), [`10.96.0.2: ${inside}`, `10.96.0.3: ${inside}`]);
  const [key] = kernel.entries("service_address").keys();
  kernel.set("service_address", Buffer.from(key ?? "", "latin1"), serviceAddress.encode({ scopes: 0 }));
  t.is(await made.read(), 1);
  await made.apply([frontend("10.96.0.2"), frontend("10.96.0.3")]);
  t.deepEqual(held(kernel), [`10.96.0.2: ${inside}`, `10.96.0.3: ${inside}`]);
});
