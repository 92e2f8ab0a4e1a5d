/** The engine's filters on given bytes, with texts as Latin-1. */
import type { L7HttpRule, L7Record, L7RuleSet, L7Runner, L7Step } from "../../src/native/l7-contract.ts";
import { loadNative } from "../../src/native/index.ts";

const native = loadNative() as unknown as L7Runner;

export const anyHttp: L7HttpRule = { method: null, path: null, host: null, headers: [] };

export function httpRules(...rules: readonly Partial<L7HttpRule>[]): readonly L7RuleSet[] {
  return [{ id: 1, protocol: "http", rules: rules.map((rule) => ({ ...anyHttp, ...rule })) }];
}

export type Step = readonly [from: "client" | "server", bytes: string];

export interface Ran {
  readonly client: string;
  readonly server: string;
  readonly finished: boolean;
  readonly reset: boolean;
  readonly connections: number;
  readonly records: readonly (Pick<L7Record, "verdict" | "direction" | "reason" | "ruleSet"> & {
    readonly detail: Pick<L7Record, "http" | "tls" | "kafka">;
  })[];
}

export interface RunOptions {
  readonly egress?: readonly L7RuleSet[] | null;
  readonly ingress?: readonly L7RuleSet[] | null;
  readonly normalizePath?: boolean;
  readonly limits?: { readonly head?: number; readonly headers?: number };
}

const words = new Set(["end", "broke", "late"]);

export function runFilter(options: RunOptions, ...steps: readonly Step[]): Ran {
  const { egress = httpRules({}), ingress = null, normalizePath = true, limits = {} } = options;
  const given = steps.map(
    ([from, bytes]): L7Step => ({
      from,
      bytes: words.has(bytes) ? (bytes as "end" | "broke" | "late") : Buffer.from(bytes, "latin1"),
    }),
  );
  const { client, server, records } = native.runL7Filter({ egress, ingress, normalizePath, limits }, given);
  return {
    client: client.bytes.toString("latin1"),
    server: server.bytes.toString("latin1"),
    finished: client.finished,
    reset: client.reset,
    connections: server.connections,
    records: records.map(({ verdict, direction, reason, ruleSet, detail }) => ({
      verdict,
      direction,
      reason,
      ruleSet,
      detail: JSON.parse(detail),
    })),
  };
}

/** "200 403": the statuses of answers, by their status lines. */
export function statuses(text: string): string {
  return [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => status).join(" ");
}
