/** How many backends a status counts: each address, port and protocol once, however many addresses of services lead there. */
import test from "ava";
import type { DesiredFrontend } from "../../../src/compute/desired.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import { statusReport, type StatusParts } from "../../../src/observe/status.ts";

function address(text: string) {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

const at = (text: string, port: number) => ({ address: address(text), port });

function frontend(protocol: number, backends: DesiredFrontend["backends"]): DesiredFrontend {
  const common = { external: false, affinitySeconds: null, service: "shop/web:http" };
  return { ...common, ...at("10.96.0.1", 80), protocol, backends };
}

function counted(frontends: readonly DesiredFrontend[]): number {
  const parts = {
    started: 0,
    readyMs: 1,
    problems: [],
    sources: [],
    routes: { missing: [] },
    traffic: [],
    datapath: {},
    result: { identities: [], policies: [], desired: { frontends } },
  } as unknown as StatusParts;
  return statusReport(parts).counts.backends;
}

test("backends that several addresses share count once, by the same list or an equal one", (t) => {
  const list = [at("10.1.0.1", 8080), at("10.1.0.2", 8080)];
  t.is(counted([frontend(6, list), frontend(6, list), frontend(6, [at("10.1.0.1", 8080)])]), 2);
});

test("ports and protocols of one address count apart, each once", (t) => {
  const list = [at("10.1.0.1", 8080), at("10.1.0.1", 8081), at("fd00::1", 8080)];
  t.is(counted([frontend(6, list), frontend(17, list), frontend(6, [...list]), frontend(17, [...list])]), 6);
  t.is(counted([]), 0);
});
