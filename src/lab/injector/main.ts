/** The injector's process, one per node, inside the node's network namespace: `tandem-injector CONFIG.json`. */
import { readFileSync } from "node:fs";
import { GobgpClient } from "./gobgp.ts";
import { Injector } from "./injector.ts";
import { deleteRoute, nodeSubnets, replaceRoute, replaceTunnelRoute } from "./routes.ts";

export interface InjectorConfig {
  /** host:port of gobgpd's API. */
  readonly api: string;
  /** Those of the node whose subnets have next hops: its InternalIPs, and those of further uplinks. */
  readonly addresses: readonly string[];
  readonly announcements: readonly { readonly prefix: string; readonly nextHop: string }[];
  readonly multipath: boolean;
}

const config = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as InjectorConfig;
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
process.once("SIGINT", () => stop.abort());

const injector = new Injector({
  gobgp: new GobgpClient(config.api),
  routes: { replaceRoute, replaceTunnelRoute, deleteRoute },
  subnets: await nodeSubnets(config.addresses),
  announcements: config.announcements,
  multipath: config.multipath,
  log: (event) => process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`),
  syncIntervalMs: 60_000,
  retryMs: 300,
});
await injector.run(stop.signal);
