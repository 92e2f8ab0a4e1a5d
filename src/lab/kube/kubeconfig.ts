/** Kubeconfigs of a lab: the same credentials, for this machine and for nodes that reach the API server at another address. */
import { dirname, resolve } from "node:path";
import { isIP } from "node:net";
import { parse, stringify } from "yaml";
import { isRecord, parseKubeconfig } from "../../kube/index.ts";
import { LabError } from "../errors.ts";

/**
 * A certificate is checked against a name, and SNI takes no addresses. Every API server that pods can reach has this one in its
 * certificate, since pods find it so.
 */
const podsName = "kubernetes.default.svc";

type Fields = Readonly<Record<string, unknown>>;

/**
 * The current context alone, with files by absolute paths.
 * @param server to connect to instead; the name in its certificate stays
 * @throws KubeConfigError, LabError LAB_API
 */
export function kubeconfigFor(text: string, path: string, server: string | null): string {
  const access = parseKubeconfig(text, path);
  const config = parse(text) as Fields;
  const context = named(config, "contexts", config["current-context"], "context", path);
  const folder = dirname(resolve(path));
  const cluster = named(config, "clusters", context.cluster, "cluster", path);
  const user = named(config, "users", context.user, "user", path);
  const name = access.serverName ?? nameFor(access.server);
  const moved =
    server === null ? {} : { server, ...(name !== null && !access.insecure && { "tls-server-name": name }) };
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "lab", cluster: { ...absolute(cluster, folder), ...moved } }],
    contexts: [{ name: "lab", context: { ...context, cluster: "lab", user: "lab" } }],
    "current-context": "lab",
    users: [{ name: "lab", user: absolute(user, folder) }],
  });
}

function nameFor(server: string): string | null {
  const { protocol, hostname } = new URL(server);
  if (protocol !== "https:") return null;
  return isIP(hostname.replace(/^\[|\]$/g, "")) === 0 ? hostname : podsName;
}

function named(config: Fields, list: string, name: unknown, key: string, path: string): Fields {
  const entries = config[list];
  const found: unknown = Array.isArray(entries)
    ? entries.find((entry) => isRecord(entry) && entry.name === name)
    : null;
  const value = isRecord(found) ? found[key] : null;
  if (isRecord(value)) return value;
  throw new LabError("LAB_API", path, `${list}: there is no "${String(name)}"`, "name one that is there");
}

const files = new Set(["certificate-authority", "client-certificate", "client-key", "tokenFile"]);

function absolute(fields: Fields, folder: string): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      key,
      files.has(key) && typeof value === "string" ? resolve(folder, value) : value,
    ]),
  );
}
