/** What the process needs of the native engine, so that its tests do without. */
import type { LookupMessage } from "../api/names-link.ts";
import type { ProxyStats, RefusedRules } from "../api/proxy-dto.ts";
import type { L7Tables } from "../native/l7-contract.ts";

export type EngineStats = Omit<ProxyStats, "rules" | "denied" | "durations">;

/** What the engine has to know about names of DNS, beside who may ask for them. */
export interface EngineNames {
  /** Answers for names like this are told. null: none are. @param shared what one pod was given is open to all: else each pod's answers are told */
  want(pattern: string | null, shared: boolean): void;
  /** Whether somebody opens what is told; while nobody does, no answer waits. */
  connected(isConnected: boolean): void;
  /** Their addresses are open. */
  open(tickets: readonly number[]): void;
  /** Pods that are no more, by number: nothing is open to who has the number next. */
  gone(endpoints: readonly number[]): void;
  /** Addresses of the name (with its last dot; null: of all) may be closed again. */
  forget(name: string | null): void;
  /** For a successor: questions under way and, `withNames`, what is known to be open. Bytes that only an engine reads. */
  handOver(withNames: boolean): Uint8Array;
  /** What a predecessor handed over. May be called again: what comes later is added. */
  inherit(state: Uint8Array): void;
}

export interface Engine {
  readonly names: EngineNames;
  /** Takes effect for every request from now on. @returns what it could not use, and refuses */
  configure(tables: L7Tables): readonly RefusedRules[];
  /** From now on the kernel gives flows to this process, and to no other. */
  listen(): void;
  stats(): EngineStats;
  /**
   * Takes no new connections, ends idle ones, and resolves when none is left and what was asked of DNS is answered, or after `limitMs`, when the
   * rest is reset.
   */
  drain(limitMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Lines of JSON (L7Record), each with its end of line. @param lost records that were not kept since the last batch */
export type OnRecords = (lines: Buffer, lost: number) => void;

/** Answers that may open something. */
export type OnLookups = (lookups: readonly LookupMessage[]) => void;

export type OpenEngine = (onRecords: OnRecords, onLookups: OnLookups) => Engine;
