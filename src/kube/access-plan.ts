/**
 * Where the API server is and by what we are known to it, as written down: a kubeconfig, or the files that every pod is given.
 * Reading it opens no other file: `access.ts` does, again and again, since tokens and certificates rotate.
 *
 * What a kubeconfig may say and this reader does not do is refused by name: a setting that is left out silently would talk to
 * another server, or with other rights, than its author meant.
 */
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { messageOf } from "../lib/errors.ts";
import { KubeConfigError } from "./errors.ts";

/** PEM or a token: written down there, or in a file of its own. */
export type TextSource = { readonly text: string } | { readonly path: string };

/** A program that gives credentials (client.authentication.k8s.io). */
export interface ExecPlan {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly provideClusterInfo: boolean;
  /** How to get it, for the message when it is missing. */
  readonly installHint: string;
}

export interface AccessPlan {
  /** The kubeconfig, or "service account of this pod". */
  readonly origin: string;
  /** https://host:port, with a path where the API is not at the root; no trailing slash. */
  readonly server: string;
  /** The name that the server's certificate must have; null: the host of `server`. */
  readonly serverName: string | null;
  /** Any certificate will do. */
  readonly insecure: boolean;
  readonly ca: TextSource | null;
  readonly certificate: TextSource | null;
  readonly key: TextSource | null;
  readonly token: TextSource | null;
  readonly exec: ExecPlan | null;
  /** Of the context, or of this pod; "default" if it has none. */
  readonly namespace: TextSource;
}

const text = z.string().min(1);
const clusterSchema = z.looseObject({
  server: z.url({ protocol: /^https?$/ }),
  "certificate-authority": text.optional(),
  "certificate-authority-data": z.base64().optional(),
  "insecure-skip-tls-verify": z.boolean().optional(),
  "tls-server-name": text.optional(),
});
const execSchema = z.looseObject({
  apiVersion: z.enum(["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"]),
  command: text,
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: text, value: z.string() })).nullish(),
  installHint: z.string().optional(),
  provideClusterInfo: z.boolean().optional(),
  interactiveMode: z.enum(["Never", "IfAvailable"]).optional(),
});
const userSchema = z.looseObject({
  "client-certificate": text.optional(),
  "client-certificate-data": z.base64().optional(),
  "client-key": text.optional(),
  "client-key-data": z.base64().optional(),
  token: text.optional(),
  tokenFile: text.optional(),
  exec: execSchema.optional(),
});
const contextSchema = z.looseObject({ cluster: text, user: text, namespace: text.optional() });
const named = <T extends z.ZodType>(key: string, schema: T) =>
  z.array(z.looseObject({ name: text, [key]: schema })).default([]);
const kubeconfigSchema = z.looseObject({
  clusters: named("cluster", z.unknown()),
  contexts: named("context", z.unknown()),
  users: named("user", z.unknown()),
  "current-context": z.string().default(""),
});

/** What would change whom we talk to, or as whom. */
const refusals = [
  ["cluster", "proxy-url", "name an address that is reached without a proxy"],
  ["user", "auth-provider", "use an exec plugin: API clients have no auth providers since 1.26"],
  ["user", "username", "use a token or a certificate: API servers have no passwords since 1.19"],
  ["user", "as", "name a user who has these rights itself"],
  ["user", "as-uid", "name a user who has these rights itself"],
  ["user", "as-groups", "name a user who has these rights itself"],
  ["user", "as-user-extra", "name a user who has these rights itself"],
] as const;

/**
 * @param path of the file: names in it are relative to its folder
 * @param context null: the current one
 * @throws KubeConfigError KUBE_CONFIG
 */
export function parseKubeconfig(content: string, path: string, context: string | null = null): AccessPlan {
  const config = read(kubeconfigSchema, parseYaml(content, path), path, "");
  const name = context ?? config["current-context"];
  const find = (list: "contexts" | "clusters" | "users", key: string, wanted: string): unknown => {
    const found = config[list].find((entry) => entry.name === wanted);
    if (found !== undefined) return found[key];
    const known = config[list].map((entry) => entry.name).join(", ") || "none";
    throw refuse(
      path,
      `${list}: there is no ${wanted === "" ? "current context" : `"${wanted}"`} (there are: ${known})`,
    );
  };
  const at = read(contextSchema, find("contexts", "context", name), path, `contexts "${name}"`);
  const rawCluster = find("clusters", "cluster", at.cluster);
  const rawUser = find("users", "user", at.user) ?? {};
  const raw = { cluster: rawCluster, user: rawUser } as Readonly<Record<string, unknown>>;
  for (const [part, field, remedy] of refusals) {
    const value = (raw[part] as Readonly<Record<string, unknown>> | null)?.[field];
    if (value !== undefined) throw refuse(path, `${part}s "${at[part]}": ${field} is not supported`, remedy);
  }
  const cluster = read(clusterSchema, rawCluster, path, `clusters "${at.cluster}"`);
  const user = read(userSchema, rawUser, path, `users "${at.user}"`);
  const folder = dirname(resolve(path));
  const plan: AccessPlan = {
    origin: path,
    server: cluster.server.replace(/\/+$/, ""),
    serverName: cluster["tls-server-name"] ?? null,
    insecure: cluster["insecure-skip-tls-verify"] ?? false,
    ca: pem(cluster["certificate-authority-data"], cluster["certificate-authority"], folder),
    certificate: pem(user["client-certificate-data"], user["client-certificate"], folder),
    key: pem(user["client-key-data"], user["client-key"], folder),
    // As kubectl does: the file counts, not what is written beside it.
    token: fileOf(user.tokenFile, folder) ?? (user.token === undefined ? null : { text: user.token }),
    exec: user.exec === undefined ? null : execPlan(user.exec, folder),
    namespace: { text: at.namespace ?? "default" },
  };
  if (plan.insecure && plan.ca !== null) {
    throw refuse(
      path,
      `clusters "${at.cluster}": a certificate authority and insecure-skip-tls-verify exclude each other`,
    );
  }
  if ((plan.certificate === null) !== (plan.key === null)) {
    throw refuse(path, `users "${at.user}": a client certificate needs its key, and a key its certificate`);
  }
  return plan;
}

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * What a pod is given. An agent that provides the address of this service itself names another one by `server`.
 * @param folder of the files token, ca.crt and namespace
 * @throws KubeConfigError KUBE_CONFIG where this is no pod
 */
export function inClusterPlan(
  env: Readonly<Record<string, string | undefined>>,
  server: string | null = null,
  folder: string = serviceAccount,
): AccessPlan {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (server === null && (!host || !port)) {
    throw new KubeConfigError({
      code: "KUBE_CONFIG",
      object: "service account of this pod",
      message: "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod",
      remedy: "name a kubeconfig",
    });
  }
  const address = host?.includes(":") ? `[${host}]` : host;
  return {
    origin: "service account of this pod",
    server: server?.replace(/\/+$/, "") ?? `https://${address}:${port}`,
    serverName: null,
    insecure: false,
    ca: { path: `${folder}/ca.crt` },
    certificate: null,
    key: null,
    token: { path: `${folder}/token` },
    exec: null,
    namespace: { path: `${folder}/namespace` },
  };
}

function parseYaml(content: string, path: string): unknown {
  try {
    return parse(content);
  } catch (cause) {
    throw refuse(path, `it is no YAML: ${messageOf(cause).split("\n")[0]}`);
  }
}

function read<T extends z.ZodType>(schema: T, value: unknown, path: string, where: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    (issue) => `${[where, ...issue.path].filter(Boolean).join(".")}: ${issue.message}`,
  );
  throw refuse(path, problems.join("; "));
}

function refuse(
  path: string,
  message: string,
  remedy = "correct the kubeconfig, or name another one",
): KubeConfigError {
  return new KubeConfigError({ code: "KUBE_CONFIG", object: path, message, remedy });
}

function pem(data: string | undefined, path: string | undefined, folder: string): TextSource | null {
  // As kubectl does: data counts before a file.
  return data === undefined ? fileOf(path, folder) : { text: Buffer.from(data, "base64").toString("utf8") };
}

function fileOf(path: string | undefined, folder: string): TextSource | null {
  return path === undefined ? null : { path: resolve(folder, path) };
}

function execPlan(exec: z.output<typeof execSchema>, folder: string): ExecPlan {
  return {
    apiVersion: exec.apiVersion,
    // A bare name is looked for in PATH, everything else below the folder of the kubeconfig.
    command: exec.command.includes("/") ? resolve(folder, exec.command) : exec.command,
    args: exec.args ?? [],
    env: Object.fromEntries((exec.env ?? []).map(({ name, value }) => [name, value])),
    provideClusterInfo: exec.provideClusterInfo ?? false,
    installHint: exec.installHint ?? "",
  };
}
