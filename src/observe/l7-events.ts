/** Records of the proxy as events: who asked whom for what, and what became of it. */
import type { EventDto, L7EventDto } from "../api/dto.ts";
import { parseAddress } from "../model/ip.ts";
import type { NameOf } from "./names.ts";

/** What the proxy writes of a request (native's L7Record, of which no more is needed here). */
export type L7RequestRecord = Omit<L7EventDto, "summary"> & {
  readonly time: number;
  readonly direction: "egress" | "ingress" | null;
  readonly source: Omit<EventDto["source"], "name">;
  readonly destination: Omit<EventDto["destination"], "name">;
};

export function l7EventReport(records: readonly L7RequestRecord[], nameOf: NameOf): readonly EventDto[] {
  return records.map((record) => {
    const { time, source, destination, direction, protocol, verdict, reason, ruleSet, latency } = record;
    const { http, kafka, tls, dns } = record;
    const l7: L7EventDto = {
      protocol,
      verdict,
      reason,
      ruleSet,
      latency,
      summary: summaryOf(record),
      ...(http && { http }),
      ...(kafka && { kafka }),
      ...(tls && { tls }),
      ...(dns && { dns }),
    };
    return {
      time: new Date(time).toISOString(),
      type: "l7",
      verdict: verdict === "denied" || verdict === "refused" ? "denied" : "allowed",
      reason: reason ?? reasons[verdict],
      direction: direction ?? "egress",
      protocol,
      source: named(source, nameOf),
      destination: named(destination, nameOf),
      rules: ruleSet === 0 ? [] : [`L7 rules ${ruleSet}`],
      bytes: 0,
      l7,
    };
  });
}

const reasons: Readonly<Record<L7EventDto["verdict"], string>> = {
  forwarded: "forwarded",
  denied: "no L7 rule allows it",
  refused: "it is no request that may be passed on",
  redirected: "told to ask for the unescaped path",
  failed: "the server could not be reached, or broke off",
};

function named({ address, port, identity }: Omit<EventDto["source"], "name">, nameOf: NameOf): EventDto["source"] {
  const parsed = parseAddress(address);
  return { address, port, identity, name: parsed === null ? "" : nameOf(parsed) };
}

function summaryOf({ http, kafka, tls, dns }: L7RequestRecord): string {
  if (http !== undefined) {
    const { method, host, path, status, grpcStatus } = http;
    const answer = grpcStatus === undefined ? `${status === 0 ? "" : status}` : `gRPC ${grpcStatus}`;
    return `${method} ${host}${path} ${answer}`.trim();
  }
  if (kafka !== undefined) {
    const topics = kafka.topics.length === 0 ? "" : ` ${kafka.topics.join(",")}`;
    return `API key ${kafka.apiKey} v${kafka.apiVersion}${topics}${kafka.error === 0 ? "" : ` error ${kafka.error}`}`;
  }
  if (tls !== undefined) return tls.serverName;
  if (dns !== undefined) return `${dns.name} type ${dns.type} ${dns.addresses.join(",")}`.trim();
  return "";
}
