/**
 * Who the server is and who may ask it: an authority of its own, a certificate of the server's and one of an administrator's, and a token.
 * Made once per folder, by the `openssl` command: Node.js has no maker of certificates, and whoever has CA certificates of Debian has openssl.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";

export interface Credentials {
  /** PEM. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly tokens: readonly string[];
}

export interface CredentialsOptions {
  readonly folder: string;
  /** "IP:…" and "DNS:…". */
  readonly names: readonly string[];
  /** As clients on this machine reach it. */
  readonly url: string;
}

const wellKnown = [
  "kubernetes",
  "kubernetes.default",
  "kubernetes.default.svc",
  "kubernetes.default.svc.cluster.local",
];

/** "IP:10.0.0.1" or "DNS:host". */
export function certificateName(host: string): string {
  return isIP(host) === 0 ? `DNS:${host}` : `IP:${host}`;
}

/** Reads what is in the folder, and makes what is not; writes both kubeconfigs. @throws Error without openssl */
export function credentialsOf({ folder, names, url }: CredentialsOptions): Credentials {
  const file = (name: string) => join(folder, name);
  const read = (name: string) => readFileSync(file(name), "utf8");
  if (!existsSync(file("ca.crt"))) {
    // Nothing but what is said here; Debian's own file would make every certificate one of an authority.
    writeFileSync(file("openssl.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n");
    certificate(folder, "ca", "/CN=test-ca", null, ["basicConstraints=critical,CA:TRUE", keyUsage("keyCertSign")]);
    const client = ["extendedKeyUsage=clientAuth", keyUsage("digitalSignature")];
    certificate(folder, "admin", "/O=system:masters/CN=admin", "ca", client);
    writeFileSync(file("token"), randomBytes(16).toString("hex"), { mode: 0o600 });
  }
  const all = [...wellKnown, "localhost", "127.0.0.1", "::1"].map(certificateName).concat(names);
  const wanted = [...new Set(all)].join(",");
  if (!existsSync(file("server.names")) || read("server.names") !== wanted) {
    certificate(folder, "server", "/CN=kube-apiserver", "ca", [
      `subjectAltName=${wanted}`,
      "extendedKeyUsage=serverAuth",
      keyUsage("digitalSignature"),
    ]);
    writeFileSync(file("server.names"), wanted);
  }
  const encoded = (name: string) => Buffer.from(read(name)).toString("base64");
  const admin = { "client-certificate-data": encoded("admin.crt"), "client-key-data": encoded("admin.key") };
  const token = read("token");
  for (const [name, user] of Object.entries({ kubeconfig: admin, "kubeconfig.token": { token } }))
    writeFileSync(file(name), kubeconfig(url, encoded("ca.crt"), user), { mode: 0o600 });
  return { ca: read("ca.crt"), cert: read("server.crt"), key: read("server.key"), tokens: [token] };
}

function keyUsage(usage: string): string {
  return `keyUsage=critical,${usage}`;
}

/** @param issuer null: itself */
function certificate(
  folder: string,
  name: string,
  subject: string,
  issuer: string | null,
  extensions: readonly string[],
): void {
  const signer = issuer === null ? [] : ["-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", `${name}.key`];
  const what = [...signer, ...key, "-subj", subject, "-days", "3650", "-sha256", "-out", `${name}.crt`];
  const words = ["req", "-x509", "-new", "-config", "openssl.cnf", ...what];
  execFileSync("openssl", [...words, ...extensions.flatMap((extension) => ["-addext", extension])], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });
}

function kubeconfig(server: string, ca: string, user: Readonly<Record<string, string>>): string {
  // JSON is YAML.
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority-data": ca } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "u" } }],
    "current-context": "test",
    users: [{ name: "u", user }],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
