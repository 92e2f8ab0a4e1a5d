/** The engine of the addon (`addon/src/l7/`), as the proxy's settings say. */
import { availableParallelism } from "node:os";
import { TandemError } from "../lib/errors.ts";
import type { Handle } from "../native/handle.ts";
import type { L7Tables } from "../native/l7-contract.ts";
import type { RefusedRules } from "../api/proxy-dto.ts";
import type { EngineStats, OnLookups, OnRecords, OpenEngine } from "./engine.ts";
import type { ProxyConfig } from "./settings.ts";

/** Event loops that are used where the settings do not say how many. */
const mostThreads = 4;
const bytesOfMiB = 1 << 20;

export interface L7EngineOptions {
  /** The agent's folder. */
  readonly bpffs: string;
  readonly threads: number;
  readonly normalizePath: boolean;
  readonly dns: {
    /** ms that an answer waits for its addresses to be open. */
    readonly mostDelay: number;
    /** Answer NXDOMAIN to what is denied, and not REFUSED. */
    readonly noName: boolean;
  };
  /** addon/src/l7/limits.h; times in ms. */
  readonly limits: {
    readonly connections: number;
    readonly memory: number;
    readonly head: number;
    readonly headers: number;
    readonly connectTimeout: number;
    readonly headTimeout: number;
    readonly idleTimeout: number;
    readonly requestTimeout: number;
  };
}

/** What the addon offers for it. */
export interface L7EngineBinding {
  openL7Engine(options: L7EngineOptions, onRecords: OnRecords, onLookups: OnLookups): Handle;
  /** See EngineNames. */
  wantL7Names(engine: Handle, pattern: string | null, shared: boolean): void;
  connectL7Names(engine: Handle, connected: boolean): void;
  openL7Names(engine: Handle, tickets: readonly number[]): void;
  forgetL7Names(engine: Handle, name: string | null): void;
  forgetL7Endpoints(engine: Handle, endpoints: readonly number[]): void;
  handOverL7Names(engine: Handle, withNames: boolean): Uint8Array;
  inheritL7Names(engine: Handle, state: Uint8Array): void;
  configureL7Engine(engine: Handle, tables: L7Tables): readonly RefusedRules[];
  /** Puts its sockets where the kernel looks for the proxy. */
  listenL7Engine(engine: Handle): void;
  statsL7Engine(engine: Handle): EngineStats;
  drainL7Engine(engine: Handle, limitMs: number): Promise<void>;
  closeL7Engine(engine: Handle): Promise<void>;
}

/** @throws TandemError NOT_BUILT when the addon has no engine */
export function nativeEngine(addon: object, config: ProxyConfig): OpenEngine {
  const binding = addon as Partial<L7EngineBinding>;
  if (!hasEngine(binding)) {
    throw new TandemError({
      code: "NOT_BUILT",
      object: "tandem.node",
      message: "this addon was built without the L7 engine",
      remedy: "npm run build:addon",
    });
  }
  const options: L7EngineOptions = {
    bpffs: config.bpffs,
    threads: config.threads === 0 ? Math.min(availableParallelism(), mostThreads) : config.threads,
    normalizePath: config.httpNormalizePath,
    dns: { mostDelay: config.dnsResponseMaxDelay, noName: config.dnsRejectResponse === "nameError" },
    limits: {
      connections: config.maxConnections,
      memory: config.maxMemory * bytesOfMiB,
      head: config.maxHead,
      headers: config.maxHeaders,
      connectTimeout: config.connectTimeout,
      headTimeout: config.headTimeout,
      idleTimeout: config.idleTimeout,
      requestTimeout: config.requestTimeout,
    },
  };
  return (onRecords, onLookups) => {
    const engine = binding.openL7Engine(options, onRecords, onLookups);
    return {
      names: {
        want: (pattern, shared) => binding.wantL7Names(engine, pattern, shared),
        connected: (isConnected) => binding.connectL7Names(engine, isConnected),
        open: (tickets) => binding.openL7Names(engine, tickets),
        gone: (endpoints) => binding.forgetL7Endpoints(engine, endpoints),
        forget: (name) => binding.forgetL7Names(engine, name),
        handOver: (withNames) => binding.handOverL7Names(engine, withNames),
        inherit: (state) => binding.inheritL7Names(engine, state),
      },
      configure: (tables) => binding.configureL7Engine(engine, tables),
      listen: () => binding.listenL7Engine(engine),
      stats: () => binding.statsL7Engine(engine),
      drain: (limitMs) => binding.drainL7Engine(engine, limitMs),
      close: () => binding.closeL7Engine(engine),
    };
  };
}

function hasEngine(binding: Partial<L7EngineBinding>): binding is L7EngineBinding {
  return binding.openL7Engine !== undefined;
}
