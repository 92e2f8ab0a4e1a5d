/** Runs a credential plugin of a kubeconfig (client.authentication.k8s.io) and reads what it prints. */
import { execFile, type ExecFileException } from "node:child_process";
import { z } from "zod";
import type { AccessPlan, ExecPlan } from "./access-plan.ts";
import { KubeConfigError } from "./errors.ts";

/** ms: a plugin may ask a server of its own. */
const patienceMs = 30_000;
const outputLimit = 1024 * 1024;

export interface ExecCredential {
  readonly token: string | null;
  /** PEM. */
  readonly certificate: string | null;
  readonly key: string | null;
  /** ms since the epoch; null: until the API server refuses it. */
  readonly expires: number | null;
}

export type CredentialPlugin = (plan: ExecPlan, cluster: AccessPlan, ca: string | null) => Promise<ExecCredential>;

const credentialSchema = z.looseObject({
  kind: z.literal("ExecCredential"),
  status: z.looseObject({
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
    expirationTimestamp: z.iso.datetime({ offset: true }).nullish(),
  }),
});

/** @throws KubeConfigError KUBE_CREDENTIALS */
export const runCredentialPlugin: CredentialPlugin = async (plan, cluster, ca) => {
  const info = {
    apiVersion: plan.apiVersion,
    kind: "ExecCredential",
    spec: {
      interactive: false,
      ...(plan.provideClusterInfo ? { cluster: clusterInfo(cluster, ca) } : {}),
    },
  };
  const env = { ...process.env, ...plan.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
  const output = await new Promise<string>((resolve, reject) => {
    const options = { env, timeout: patienceMs, killSignal: "SIGKILL", maxBuffer: outputLimit } as const;
    const child = execFile(plan.command, [...plan.args], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(pluginError(plan, `${whyItEnded(error)} ${stderr}`, error));
    });
    child.stdin?.end();
  });
  return readCredential(plan, output);
};

function whyItEnded(error: ExecFileException): string {
  if (error.killed) return `no answer in ${patienceMs / 1_000} s`;
  // Its message repeats the arguments and what the plugin printed.
  return typeof error.code === "number" ? `it ended with ${error.code}:` : error.message;
}

function readCredential(plan: ExecPlan, output: string): ExecCredential {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch (cause) {
    // Never the output itself: it may hold the secret.
    throw pluginError(plan, "what it printed is no JSON", cause);
  }
  const result = credentialSchema.safeParse(value);
  if (!result.success) throw pluginError(plan, `what it printed is no ExecCredential: ${problemsOf(result.error)}`);
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = result.data.status;
  if (token === undefined && (clientCertificateData === undefined || clientKeyData === undefined)) {
    throw pluginError(plan, "it gave neither a token nor a certificate with its key");
  }
  return {
    token: token ?? null,
    certificate: clientCertificateData ?? null,
    key: clientKeyData ?? null,
    expires: expirationTimestamp ? Date.parse(expirationTimestamp) : null,
  };
}

/** Where, not what: values may be secret. */
function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
}

function clusterInfo(cluster: AccessPlan, ca: string | null): object {
  return {
    server: cluster.server,
    ...(cluster.serverName === null ? {} : { "tls-server-name": cluster.serverName }),
    ...(cluster.insecure ? { "insecure-skip-tls-verify": true } : {}),
    ...(ca === null ? {} : { "certificate-authority-data": Buffer.from(ca).toString("base64") }),
  };
}

function pluginError(plan: ExecPlan, message: string, cause?: unknown): KubeConfigError {
  return new KubeConfigError({
    code: "KUBE_CREDENTIALS",
    object: plan.command,
    message: `the credential plugin failed: ${message.trim()}`,
    remedy: plan.installHint === "" ? "run it by hand to see why" : plan.installHint,
    cause,
  });
}
