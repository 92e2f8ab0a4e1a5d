/** The engine alone, in a process that a benchmark pins to a core: `node l7-engine.ts LISTEN-PORT SERVER-PORT RULES`; prints "listening". */
import { loadNative } from "../../src/native/index.ts";
import type { L7Tables } from "../../src/native/l7-contract.ts";

interface Binding {
  openL7Engine(options: object, onRecords: () => void, onLookups: () => void): number;
  configureL7Engine(engine: number, tables: L7Tables): readonly unknown[];
}

const [listen, server, count] = process.argv.slice(2).map(Number);
if (listen === undefined || server === undefined || count === undefined)
  throw new Error("LISTEN-PORT SERVER-PORT RULES");
const address = Buffer.from([127, 0, 0, 1]);
const native = loadNative() as unknown as Binding;
const engine = native.openL7Engine(
  {
    threads: 1,
    normalizePath: true,
    dns: { mostDelay: 100, noName: false },
    limits: {},
    fixed: { listen: { address, port: listen }, server: { address, port: server } },
  },
  () => undefined,
  () => undefined,
);
// The last one is what is asked for.
const rules = Array.from({ length: count }, (_, at) => ({
  method: "GET",
  path: at === count - 1 ? "/api/v[0-9]+/items/.*" : `/other${at}/[a-z]+/.*`,
  host: null,
  headers: [{ name: "x-token", value: "42", mismatch: "refuse" as const }],
}));
native.configureL7Engine(engine, {
  ruleSets: [{ id: 1, protocol: "http", rules }],
  groups: [{ policySet: 1, direction: "egress", group: 0, ruleSet: 1 }],
});
console.log("listening");
setInterval(() => undefined, 1 << 30);
