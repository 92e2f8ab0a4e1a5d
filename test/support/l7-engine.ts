/** The engine on loopback: one listener, one server, one set of rules, real sockets. Nothing of the kernel's tables. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionContext } from "ava";
import type { Handle } from "../../src/native/handle.ts";
import { loadNative } from "../../src/native/index.ts";
import type { L7Record, L7RuleSet, L7Tables } from "../../src/native/l7-contract.ts";
import type { EngineStats } from "../../src/proxy/engine.ts";

interface Place {
  readonly address: Buffer;
  readonly port: number;
}

export interface FixedOptions {
  readonly threads: number;
  readonly normalizePath: boolean;
  readonly dns: { readonly mostDelay: number; readonly noName: boolean };
  readonly limits: Readonly<Record<string, number>>;
  readonly fixed: { readonly listen: Place; readonly server: Place };
}

interface FixedBinding {
  openL7Engine(options: FixedOptions, onRecords: (lines: Buffer, lost: number) => void, onLookups: () => void): Handle;
  configureL7Engine(engine: Handle, tables: L7Tables): readonly unknown[];
  statsL7Engine(engine: Handle): EngineStats;
  drainL7Engine(engine: Handle, limitMs: number): Promise<void>;
  closeL7Engine(engine: Handle): Promise<void>;
}

const loopback = Buffer.from([127, 0, 0, 1]);

export interface TestEngine {
  readonly port: number;
  readonly records: readonly L7Record[];
  stats(): EngineStats;
  configure(rules: readonly L7RuleSet[]): void;
  drain(limitMs: number): Promise<void>;
  /** Polls; two minutes at most. */
  until(what: string, condition: () => boolean): Promise<void>;
}

/** Ends with the test. @param port of the server on 127.0.0.1 */
export async function startEngine(
  t: ExecutionContext,
  port: number,
  rules: readonly L7RuleSet[],
  limits: Readonly<Record<string, number>> = {},
): Promise<TestEngine> {
  const native = loadNative() as unknown as FixedBinding;
  const records: L7Record[] = [];
  const own = await freePort();
  const options: FixedOptions = {
    threads: 2,
    normalizePath: true,
    dns: { mostDelay: 100, noName: false },
    limits,
    fixed: { listen: { address: loopback, port: own }, server: { address: loopback, port } },
  };
  const take = (lines: Buffer) => {
    for (const line of lines.toString().split("\n")) if (line !== "") records.push(JSON.parse(line) as L7Record);
  };
  const engine = native.openL7Engine(options, take, () => undefined);
  t.teardown(() => native.closeL7Engine(engine));
  const configure = (sets: readonly L7RuleSet[]) => {
    const groups = sets.map(({ id }, group) => ({ policySet: 1, direction: "egress" as const, group, ruleSet: id }));
    const refused = native.configureL7Engine(engine, { ruleSets: sets, groups });
    if (refused.length > 0) throw new Error(JSON.stringify(refused));
  };
  configure(rules);
  return {
    port: own,
    records,
    configure,
    stats: () => native.statsL7Engine(engine),
    drain: (limitMs) => native.drainL7Engine(engine, limitMs),
    async until(what, condition) {
      for (let tries = 0; !condition(); tries++) {
        if (tries > 6000) throw new Error(`not in time: ${what}`);
        await sleep(20);
      }
    },
  };
}

/** Nobody has it now. The engine shares it among its threads, so it cannot choose one itself. */
async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address !== "string" ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}
