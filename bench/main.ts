/** `scripts/bench [SECTION…] [--json FILE] [--quick] [--xdp]`: runs the sections one after the other and prints their tables. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { benchAgent } from "./agent.ts";
import { benchCni } from "./cni.ts";
import { benchBgp } from "./bgp.ts";
import { benchBgpFailover } from "./bgp-failover.ts";
import { benchBgpRoutes } from "./bgp-routes.ts";
import { benchHealth } from "./health.ts";
import { benchKube } from "./kube.ts";
import { benchDns } from "./l7-dns.ts";
import { benchL7Http } from "./l7-http.ts";
import { benchL7Http2 } from "./l7-http2.ts";
import { benchMaglev } from "./maglev.ts";
import { benchNorthSouth } from "./north-south.ts";
import { benchPaths } from "./paths.ts";
import { benchPolicy } from "./policy.ts";
import { benchPrograms } from "./programs.ts";
import { benchServiceLoad } from "./service-load.ts";
import { benchServices } from "./services.ts";
import type { Row } from "./support.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    quick: { type: "boolean", default: false },
    xdp: { type: "boolean", default: false },
  },
});

const rounds = values.quick ? 1 : 3;
const seconds = values.quick ? 0.5 : 1.5;
const sections: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  programs: () => benchPrograms({ rounds }),
  paths: () => benchPaths({ rounds, seconds }),
  services: () => benchServices({ rounds, seconds, mostRules: values.quick ? 1000 : 10_000 }),
  "service-load": () =>
    benchServiceLoad(values.quick ? { services: 1_000, changes: 50 } : { services: 10_000, changes: 300 }),
  "l7-http": () => benchL7Http({ rounds, seconds }),
  "l7-http2": () => benchL7Http2({ rounds, seconds }),
  "north-south": () => benchNorthSouth({ rounds, seconds, xdp: values.xdp }),
  maglev: () => benchMaglev({ rounds, changes: values.quick ? 20 : 200 }),
  cni: () => benchCni({ adds: values.quick ? 10 : 60 }),
  agent: () => benchAgent({ rounds }),
  kube: () =>
    benchKube(
      values.quick
        ? { rounds, idleSeconds: 20, starts: 10, changes: 3 }
        : { rounds, idleSeconds: 120, starts: 60, changes: 15 },
    ),
  bgp: () => benchBgp(values.quick ? 10 : 100),
  "bgp-failover": () => benchBgpFailover(values.quick ? 5 : 50),
  "bgp-routes": () => benchBgpRoutes(values.quick ? { flaps: 3, starts: 1 } : { flaps: 10, starts: 5 }),
  health: () => benchHealth(values.quick ? { rounds: 1, seconds: 10, holes: 4 } : { rounds, seconds: 30, holes: 20 }),
  "l7-dns": () => benchDns({ rounds, seconds: seconds * 2 }),
  policy: () => benchPolicy({ rounds, changes: values.quick ? 10 : 60 }),
};

const unknown = positionals.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`bench: no section is called ${unknown.join(", ")} (${Object.keys(sections).join(" ")})`);
  process.exit(2);
}
console.log("Shared machines are noisy: read the ratios, each is the median of pairs measured in turn in this run.");
const results: Record<string, readonly Row[]> = {};
for (const [name, run] of Object.entries(sections)) {
  if (positionals.length === 0 || positionals.includes(name)) results[name] = await run();
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
