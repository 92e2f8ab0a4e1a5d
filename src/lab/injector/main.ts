/** The injector's process, one per node, inside the node's network namespace: `tandem-injector CONFIG.json`. */
import { readFileSync } from "node:fs";
import { createInjector, type InjectorConfig } from "./compose.ts";

const config = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as InjectorConfig;
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
process.once("SIGINT", () => stop.abort());

const injector = await createInjector(config, (event) =>
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`),
);
await injector.run(stop.signal);
