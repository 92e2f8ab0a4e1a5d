/** Reading a conformance case: a folder with cluster.yaml, policies.yaml and probes.yaml (test/conformance/README.md). */
import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { LabError } from "../errors.ts";
import { type KubeObject, readManifests } from "../objects.ts";

const protocols = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6"] as const;
export type ProbeProtocol = (typeof protocols)[number];

const probeSchema = z
  .strictObject({
    from: z.string(),
    to: z.string().optional(),
    protocol: z.enum(protocols).optional(),
    port: z.int().min(1).max(65535).optional(),
    icmp: z.strictObject({ type: z.int().min(0).max(255) }).optional(),
    family: z.enum(["IPv4", "IPv6"]).optional(),
    expect: z.enum(["allow", "deny", "forbidden", "refused"]),
    http: z
      .strictObject({
        method: z.string().default("GET"),
        path: z.string().default("/"),
        host: z.string().optional(),
        headers: z.record(z.string(), z.union([z.string(), z.array(z.string())])).default({}),
      })
      .optional(),
    kafka: z
      .strictObject({
        apiKey: z.string(),
        apiVersion: z.int().min(0).max(32_767).default(0),
        clientID: z.string().default(""),
        topic: z.union([z.string(), z.array(z.string())]).default([]),
      })
      .optional(),
    dns: z.strictObject({ name: z.string(), type: z.enum(["A", "AAAA"]).default("A"), server: z.string() }).optional(),
    resolved: z.array(z.strictObject({ name: z.string(), addresses: z.array(z.string()) })).default([]),
  })
  .refine(({ to, dns }) => (to === undefined) !== (dns === undefined), "needs either to or dns")
  .refine(({ dns, port, icmp }) => dns !== undefined || (port === undefined) !== (icmp === undefined), {
    error: "needs either port or icmp",
  });

const probesSchema = z.strictObject({
  description: z.string(),
  covers: z.array(z.string()),
  probes: z.array(probeSchema).min(1),
});

export interface HttpRequest {
  readonly kind: "http";
  readonly method: string;
  readonly path: string;
  /** null: where it is sent to. */
  readonly host: string | null;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export interface DnsRequest {
  readonly kind: "dns";
  /** As the case writes it. */
  readonly name: string;
  readonly type: "A" | "AAAA";
}

export interface KafkaRequest {
  readonly kind: "kafka";
  /** Name of the request, in any case. */
  readonly apiKey: string;
  readonly apiVersion: number;
  readonly clientId: string;
  readonly topics: readonly string[];
}

/** What the client has learned from DNS before. */
export interface ResolvedName {
  readonly name: string;
  readonly addresses: readonly string[];
}

export interface CaseProbe {
  /** From 1, as they stand in the file. */
  readonly number: number;
  readonly from: string;
  /** With a request of DNS: the server. */
  readonly to: string;
  readonly protocol: ProbeProtocol;
  /** Or the type of an ICMP message. */
  readonly port: number;
  readonly family: 4 | 6 | null;
  /** What is sent over the connection; null: it is only opened. */
  readonly request: HttpRequest | DnsRequest | KafkaRequest | null;
  readonly resolved: readonly ResolvedName[];
  readonly expect: "allow" | "deny" | "forbidden" | "refused";
}

export interface ConformanceCase {
  /** The folder's name. */
  readonly name: string;
  readonly description: string;
  readonly cluster: readonly KubeObject[];
  readonly policies: readonly KubeObject[];
  readonly probes: readonly CaseProbe[];
}

/** @throws LabError LAB_CASE, LAB_MANIFEST naming the file and what is wrong with it */
export async function readCase(folder: string): Promise<ConformanceCase> {
  const file = join(folder, "probes.yaml");
  const text = await readFile(file, "utf8").catch(() => {
    throw new LabError("LAB_CASE", folder, "not a conformance case: no probes.yaml", "name folders of cases");
  });
  const checked = probesSchema.safeParse(parseYaml(text, file));
  if (!checked.success) {
    const issues = checked.error.issues.map(({ path, message }) => `${path.join(".") || "file"}: ${message}`);
    throw new LabError("LAB_CASE", file, issues.slice(0, 5).join("; "), "correct the case");
  }
  return {
    name: basename(resolve(folder)),
    description: checked.data.description,
    cluster: await readManifests([join(folder, "cluster.yaml")]),
    policies: await readManifests([join(folder, "policies.yaml")]),
    probes: checked.data.probes.map((probe, i) => readProbe(probe, i + 1)),
  };
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new LabError("LAB_CASE", file, error instanceof Error ? error.message : String(error), "correct the YAML");
  }
}

function readProbe(probe: z.infer<typeof probeSchema>, number: number): CaseProbe {
  const { dns, family, icmp, resolved } = probe;
  return {
    number,
    from: probe.from,
    to: probe.to ?? dns?.server ?? "",
    protocol: probe.protocol ?? (dns === undefined ? "TCP" : "UDP"),
    port: icmp?.type ?? probe.port ?? 53,
    family: family === undefined ? null : family === "IPv4" ? 4 : 6,
    request: requestOf(probe),
    resolved,
    expect: probe.expect,
  };
}

function requestOf({ dns, http, kafka }: z.infer<typeof probeSchema>): CaseProbe["request"] {
  if (http !== undefined) return { kind: "http", ...http, host: http.host ?? null, headers: headersOf(http.headers) };
  if (dns !== undefined) return { kind: "dns", name: dns.name, type: dns.type };
  if (kafka === undefined) return null;
  const { apiKey, apiVersion, clientID, topic } = kafka;
  return { kind: "kafka", apiKey, apiVersion, clientId: clientID, topics: typeof topic === "string" ? [topic] : topic };
}

function headersOf(written: Readonly<Record<string, string | readonly string[]>>): HttpRequest["headers"] {
  return Object.entries(written).flatMap(([name, values]) =>
    (typeof values === "string" ? [values] : values).map((value) => [name, value] as const),
  );
}

export function isIcmp(protocol: ProbeProtocol): boolean {
  return protocol === "ICMP" || protocol === "ICMPv6";
}

/** "shop/front to shop/cart TCP 8080 (IPv6)": a probe as tables show it. */
export function probeTitle(probe: CaseProbe): string {
  const { family, from, port, protocol, request, to } = probe;
  const what = isIcmp(protocol) ? `${protocol} type ${port}` : `${protocol} ${port}`;
  const extra = [...(request === null ? [] : [request.kind]), ...(family === null ? [] : [`IPv${family}`])];
  return `${from} to ${to} ${what}${extra.length === 0 ? "" : ` (${extra.join(", ")})`}`;
}
