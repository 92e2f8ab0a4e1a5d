/** Who outside may use a service, as it comes into the kernel: what is not finished there must be open to nobody. */
import test from "ava";
import type { DesiredFrontend } from "../../../src/compute/desired.ts";
import { ServiceReconciler } from "../../../src/datapath/services.ts";
import { parsePrefix, type Prefix } from "../../../src/model/ip.ts";

import {
  ServiceFlags,
  ServiceScope,
  service,
  service4Key,
  sourceRange4Key,
  sourceRule,
} from "../../../src/native/layouts.gen.ts";
import { addressOfNumber } from "../../../src/datapath/addresses.ts";
import { FakeKernel, failure } from "./fake-kernel.ts";
import { frontend } from "./world.ts";

const prefixes = (texts: readonly string[]): readonly Prefix[] => texts.flatMap((text) => parsePrefix(text) ?? []);

function limited(vip: string, ranges: readonly string[], policy: "allow" | "deny" = "allow"): DesiredFrontend {
  const own = frontend(vip, "10.9.0.1");
  return { ...own, external: true, outside: own.backends, sources: { policy, prefixes: prefixes(ranges) } };
}

const open = (vip: string): DesiredFrontend => {
  const { sources: _, ...rest } = limited(vip, []);
  return rest;
};

async function reconciler(kernel: FakeKernel): Promise<ServiceReconciler> {
  const made = new ServiceReconciler(kernel.native, kernel.map);
  await made.read();
  return made;
}

/** What clients outside find: "all", or "policy prefixes" of the list that the address's rule names, "nobody" without one. */
function who(kernel: FakeKernel): Readonly<Record<string, string>> {
  const lists = new Map<number, string[]>();
  for (const key of kernel.entries("source_range4").keys()) {
    const { prefixlen, list, address } = sourceRange4Key.decode(Buffer.from(key, "latin1"));
    lists.set(list, [...(lists.get(list) ?? []), `${addressOfNumber(address).text}/${prefixlen - 32}`].sort());
  }
  const found: Record<string, string> = {};
  for (const [key, value] of kernel.entries("service4")) {
    const { address, scope } = service4Key.decode(Buffer.from(key, "latin1"));
    if (scope !== ServiceScope.outside) continue;
    const rule = kernel.entries("source_rule4").get(key);
    const { list, flags } = rule === undefined ? { list: 0, flags: 0 } : sourceRule.decode(rule);
    const listed = lists.get(list)?.join(" ") ?? "nobody";
    const restricted = (service.decode(value).flags & ServiceFlags.ranges) !== 0;
    found[addressOfNumber(address).text] = restricted ? `${flags === 0 ? "allow" : "deny"} ${listed}` : "all";
  }
  return found;
}

test("equal lists are one; what is restricted by none any more goes", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([
    limited("203.0.113.1", ["10.0.0.0/8", "192.0.2.0/24"]),
    limited("203.0.113.2", ["192.0.2.0/24", "10.0.0.0/8"], "deny"),
    limited("203.0.113.3", []),
    open("203.0.113.4"),
  ]);
  t.deepEqual(who(kernel), {
    "203.0.113.1": "allow 10.0.0.0/8 192.0.2.0/24",
    "203.0.113.2": "deny 10.0.0.0/8 192.0.2.0/24",
    "203.0.113.3": "allow nobody",
    "203.0.113.4": "all",
  });
  t.is(kernel.entries("source_range4").size, 2);
  await services.apply([open("203.0.113.1"), limited("203.0.113.2", ["10.0.0.0/8"], "deny")]);
  t.deepEqual(who(kernel), { "203.0.113.1": "all", "203.0.113.2": "deny 10.0.0.0/8" });
  t.is(kernel.entries("source_range4").size, 1);
  t.is(kernel.entries("source_rule4").size, 1);
});

test("list, rule, service; and when it opens: service, rule, list", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([open("203.0.113.1")]);
  const steps = async (next: DesiredFrontend) => {
    kernel.journal.length = 0;
    await services.apply([next]);
    return kernel.journal.map(({ map, op }) => `${op} ${map}`);
  };
  t.deepEqual(await steps(limited("203.0.113.1", ["10.0.0.0/8"])), [
    "update source_range4",
    "update source_rule4",
    "update service4",
  ]);
  t.deepEqual(await steps(limited("203.0.113.1", ["192.0.2.0/24"])), [
    "update source_range4",
    "update source_rule4",
    "delete source_range4",
  ]);
  t.deepEqual(await steps(open("203.0.113.1")), ["update service4", "delete source_rule4", "delete source_range4"]);
});

test("a restart keeps the lists that are wanted and removes one that was half written", async (t) => {
  const kernel = new FakeKernel();
  const wanted = () => [limited("203.0.113.1", ["10.0.0.0/8"])];
  await (await reconciler(kernel)).apply(wanted());
  const before = kernel.picture();
  kernel.set("source_range4", sourceRange4Key.encode({ prefixlen: 40, list: 9, address: 0x0b000000 }), Buffer.alloc(4));
  const next = await reconciler(kernel);
  kernel.journal.length = 0;
  await next.apply(wanted());
  t.deepEqual(kernel.picture(), before);
  t.deepEqual(
    kernel.journal.map(({ map, op }) => `${op} ${map}`),
    ["delete source_range4"],
  );
});

test("without room for the list the address is closed, and opens for them once there is", async (t) => {
  const kernel = new FakeKernel({ source_range4: 2 });
  const services = await reconciler(kernel);
  const other = limited("203.0.113.2", ["172.16.0.0/12", "10.0.0.0/8"]);
  await services.apply([other]);
  const big = limited("203.0.113.1", ["192.0.2.0/24"], "deny");
  const failures = await services.apply([big, other]);
  t.deepEqual(
    failures.map(({ map }) => map),
    ["source_range4"],
  );
  t.deepEqual(who(kernel), { "203.0.113.1": "allow nobody", "203.0.113.2": "allow 10.0.0.0/8 172.16.0.0/12" });
  await services.apply([big]);
  t.deepEqual(await services.apply([big]), [], "the room was made by the update before");
  t.deepEqual(who(kernel), { "203.0.113.1": "deny 192.0.2.0/24" });
});

test("a service that keeps its table for want of room is for those who may use it now", async (t) => {
  const kernel = new FakeKernel({ service_backend: 2 });
  const services = await reconciler(kernel);
  await services.apply([open("203.0.113.1")]);
  const { backends } = frontend("203.0.113.1", "10.9.0.1", "10.9.0.2");
  const failures = await services.apply([{ ...limited("203.0.113.1", ["10.0.0.0/8"]), backends, outside: backends }]);
  t.not(failures.length, 0);
  t.deepEqual(who(kernel), { "203.0.113.1": "allow 10.0.0.0/8" });
});

test("where the rule cannot be written the address is closed", async (t) => {
  const kernel = new FakeKernel();
  const services = await reconciler(kernel);
  await services.apply([open("203.0.113.1")]);
  kernel.refuse = ({ map }) => (map === "source_rule4" ? failure("ENOMEM", 12, "update", map) : null);
  await services.apply([limited("203.0.113.1", ["10.0.0.0/8"], "deny")]);
  t.deepEqual(who(kernel), { "203.0.113.1": "allow nobody" });
});
