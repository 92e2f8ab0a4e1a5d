/** The operator's settings: their names, defaults and limits. */
import { hostname } from "node:os";
import { z } from "zod";
import { type ConfigInput, ConfigError, type SettingDescription, Settings } from "../config/index.ts";

const seconds = (least: number) => z.int().min(least).max(86_400);

export const operatorSchema = z.strictObject({
  kubeconfig: z
    .string()
    .nullable()
    .default(null)
    .describe("file that says how to reach the Kubernetes API; null: the service account of this pod"),
  apiServer: z
    .string()
    .nullable()
    .default(null)
    .describe("URL of the Kubernetes API instead of the one that kubeconfig or the pod's environment name"),
  clusterId: z
    .int()
    .min(0)
    .max(255)
    .default(0)
    .describe("of this cluster among those that are connected: upper 8 bits of its identities, as the agents have it"),
  leaseNamespace: z
    .string()
    .default("")
    .describe("namespace of the lease that makes one operator the leader; empty: that of this pod"),
  leaseName: z.string().min(1).default("tandem-operator").describe("name of that lease"),
  leaseDuration: seconds(3)
    .default(15)
    .describe("seconds for which the lease must not have been renewed before another operator takes it"),
  leaseRenewDeadline: seconds(2)
    .default(10)
    .describe("seconds after its last renewal when the leader stops acting; less than leaseDuration"),
  leaseRetry: seconds(1).default(2).describe("seconds between tries to take or renew it; less than leaseRenewDeadline"),
  identityGrace: seconds(60).default(1_800).describe("seconds that a CiliumIdentity stays after its last use"),
  gcInterval: seconds(10).default(300).describe("seconds between two looks for what nobody uses any more"),
  nodeTaint: z
    .string()
    .regex(/^(|([a-z0-9.-]+\/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)$/)
    .default("tandem.io/agent-not-ready")
    .describe(
      "key of a taint that goes from a node when its agent is ready, and comes back when it waits for its network or is not ready for a minute; empty: taints are left alone",
    ),
  nodeCondition: z
    .boolean()
    .default(true)
    .describe(
      "set the condition NetworkUnavailable of a node: true while its agent waits for BGP's session and routes, false when it is ready",
    ),
  healthAddress: z
    .string()
    .min(1)
    .default("127.0.0.1:9965")
    .describe("where /healthz and /metrics answer: a port of loopback, or the path of a unix socket"),
  metricsAddress: z
    .string()
    .regex(/^(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+):\d{1,5}$/, "is not host:port")
    .nullable()
    .default(null)
    .describe("where Prometheus finds /metrics from elsewhere, as 0.0.0.0:9966; null: at healthAddress only"),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("least level that is logged"),
});

export type OperatorConfig = Readonly<z.infer<typeof operatorSchema>>;

const settings = new Settings({
  schema: operatorSchema,
  prefix: "TANDEM_OPERATOR_",
  lists: [],
  remedy: "tandem-operator --help lists every setting",
});

/** @throws ConfigError CONFIG_INVALID, CONFIG_FILE or CONFIG_FLAG */
export function loadOperatorConfig(input: ConfigInput): OperatorConfig {
  const { config } = settings.load(input);
  const { leaseRetry, leaseRenewDeadline, leaseDuration } = config;
  if (leaseRetry < leaseRenewDeadline && leaseRenewDeadline < leaseDuration) return config;
  throw new ConfigError({
    code: "CONFIG_INVALID",
    object: "settings",
    message: `settings cannot be used: leaseRetry (${leaseRetry}) has to be less than leaseRenewDeadline (${leaseRenewDeadline}), and that less than leaseDuration (${leaseDuration})`,
    remedy: "leave out what need not be changed: the defaults fit each other",
  });
}

export function operatorHelp(): string {
  return settings.help();
}

/** Of this process and no other: of two pods with the host's network the host names are equal. */
export function processIdentity(uuid: string): string {
  return `${hostname()}_${uuid}`;
}

/** Every setting, for the documentation. */
export function describeOperatorConfig(): readonly SettingDescription[] {
  return settings.describe();
}
