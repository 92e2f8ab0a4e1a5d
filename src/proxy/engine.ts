/** What the process needs of the native engine, so that its tests do without. */
import type { ProxyStats, RefusedRules } from "../api/proxy-dto.ts";
import type { L7Tables } from "../native/l7-contract.ts";

export type EngineStats = Omit<ProxyStats, "rules" | "denied">;

export interface Engine {
  /** Takes effect for every request from now on. @returns what it could not use, and refuses */
  configure(tables: L7Tables): readonly RefusedRules[];
  /** From now on the kernel gives flows to this process, and to no other. */
  listen(): void;
  stats(): EngineStats;
  /** Takes no new connections, ends idle ones, and resolves when none is left, or after `limitMs`, when the rest is reset. */
  drain(limitMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Lines of JSON (L7Record), each with its end of line. @param lost records that were not kept since the last batch */
export type OnRecords = (lines: Buffer, lost: number) => void;

export type OpenEngine = (onRecords: OnRecords) => Engine;
