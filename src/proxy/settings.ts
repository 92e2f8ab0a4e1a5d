/** The proxy's settings: their names, defaults and limits. What policies say comes from the agent. */
import { z } from "zod";
import { type ConfigInput, type SettingDescription, Settings } from "../config/index.ts";

const ms = (least: number, initial: number) => z.int().min(least).max(86_400_000).default(initial);

export const proxySchema = z.strictObject({
  agentSocket: z.string().min(1).default("/run/tandem/agent.sock").describe("unix socket of the node's agent"),
  bpffs: z
    .string()
    .min(1)
    .default("/sys/fs/bpf/tandem")
    .describe("bpffs folder of the agent: where the kernel's tables are, and where the proxy's sockets are found"),
  stateDir: z
    .string()
    .min(1)
    .default("/var/lib/tandem/proxy")
    .describe("folder of the last rules, which hold while the agent is away"),
  threads: z
    .int()
    .min(0)
    .max(16)
    .default(0)
    .describe("event loops, each on a thread of its own; 0: one for each core, up to 4"),
  maxConnections: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(65_536)
    .describe("connections at once; further ones are refused"),
  maxMemory: z
    .int()
    .min(16)
    .max(65_536)
    .default(512)
    .describe("MiB that all connections together may hold; beyond, idle ones go and new ones are refused"),
  maxHead: z
    .int()
    .min(1_024)
    .max(61_440)
    .default(61_440)
    .describe("bytes of a request's or an answer's head; a longer one is refused"),
  maxHeaders: z.int().min(8).max(1_000).default(100).describe("fields of a head; a request with more is refused"),
  connectTimeout: ms(100, 5_000).describe("ms in which a server has to take a connection"),
  headTimeout: ms(100, 10_000).describe("ms from a request's first byte to the end of its head"),
  idleTimeout: ms(0, 3_600_000).describe("ms after which a connection without a request is closed; 0: never"),
  requestTimeout: ms(0, 3_600_000).describe("ms from a request's head to the end of its answer; 0: never"),
  httpNormalizePath: z
    .boolean()
    .default(true)
    .describe("paths of HTTP are normalised before rules see them and servers get them (RFC 3986)"),
  dnsResponseMaxDelay: ms(0, 100).describe(
    "ms that an answer of DNS waits for the agent to open its addresses; then it goes to the pod all the same",
  ),
  dnsRejectResponse: z
    .enum(["refused", "nameError"])
    .default("refused")
    .describe(
      "answer to a question of DNS that no rule allows; nameError where resolvers of pods end a search at a refusal",
    ),
  drainSeconds: z
    .int()
    .min(0)
    .max(86_400)
    .default(30)
    .describe("seconds that connections may still take when the proxy ends or has a successor; then they are reset"),
  accessLog: z
    .string()
    .default("")
    .describe("file that gets a line of JSON for each request, opened again by SIGHUP; empty: none"),
  accessLogBytes: z
    .int()
    .min(65_536)
    .default(67_108_864)
    .describe("size at which it is renamed to FILE.1, over the one before, and begun anew"),
  readyFile: z
    .string()
    .default("")
    .describe("file that is there while the node's flows come to this proxy, for probes; empty: none"),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("least level that is logged"),
});

export type ProxyConfig = Readonly<z.infer<typeof proxySchema>>;

const settings = new Settings({
  schema: proxySchema,
  prefix: "TANDEM_PROXY_",
  lists: [],
  remedy: "tandem-proxy --help lists every setting",
});

/** @throws ConfigError CONFIG_INVALID, CONFIG_FILE or CONFIG_FLAG */
export function loadProxyConfig(input: ConfigInput): ProxyConfig {
  return settings.load(input).config;
}

export function proxyHelp(): string {
  return settings.help();
}

/** Every setting, for the documentation. */
export function describeProxyConfig(): readonly SettingDescription[] {
  return settings.describe();
}
