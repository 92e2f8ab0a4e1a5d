/**
 * The credentials in force: what the plan names, read again while it is used. Tokens of pods are replaced every hour or so, certificates
 * of nodes every few weeks, a kubeconfig when its user logs in; none of them announces it. So everything is looked at again
 * every few seconds when a request is made, and at once after the API server refused one.
 *
 * While files are being replaced (a key that does not fit its certificate yet, a name that is missing for a moment) the last
 * good ones stay in force, and `problem` says why.
 */
import { createHash } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { AccessPlan, TextSource } from "./access-plan.ts";
import { KubeConfigError } from "./errors.ts";
import type { CredentialPlugin, ExecCredential } from "./exec-plugin.ts";

/** ms that what was read is taken for good. */
const freshMs = 10_000;
/** ms before its end that a plugin's credential is renewed. */
const renewBeforeMs = 30_000;

export interface TlsMaterial {
  /** PEM; null: the authorities that the system trusts. */
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
  readonly serverName: string | null;
  readonly insecure: boolean;
}

export interface Access {
  readonly server: string;
  readonly namespace: string;
  /** The header; null: none. */
  readonly authorization: string | null;
  readonly tls: TlsMaterial;
  /** Connections of one id may be shared: same server, same certificates. */
  readonly connectionId: string;
}

export interface AccessOptions {
  /** Reads the plan again: a kubeconfig may have changed. */
  readonly plan: () => Promise<AccessPlan>;
  readonly readFile: (path: string) => Promise<string>;
  readonly plugin: CredentialPlugin;
  readonly clock: Clock;
}

export class AccessReader {
  readonly #options: AccessOptions;
  #access: Access | null = null;
  #exec: { readonly id: string; readonly credential: ExecCredential } | null = null;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<Access> | null = null;
  #problem: string | null = null;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Why the last reading failed although older credentials are in force; null: it did not. */
  get problem(): string | null {
    return this.#problem;
  }

  /** @throws KubeConfigError KUBE_CONFIG or KUBE_CREDENTIALS when there never was anything to go by */
  async current(): Promise<Access> {
    const age = this.#options.clock.monotonicMs() - this.#readAt;
    if (this.#access !== null && age < freshMs && !this.#expired()) return this.#access;
    // Ten requests at once need one reading.
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** The API server did not take these: the next `current` looks at everything again, and asks the plugin. */
  refused(access: Access): void {
    if (access !== this.#access) return;
    this.#readAt = Number.NEGATIVE_INFINITY;
    this.#exec = null;
  }

  #expired(): boolean {
    const expires = this.#exec?.credential.expires ?? null;
    return expires !== null && expires - renewBeforeMs <= this.#options.clock.now();
  }

  async #read(): Promise<Access> {
    try {
      const next = await this.#readAll();
      // The same object as before if nothing changed: `refused` goes by it.
      if (this.#access === null || JSON.stringify(next) !== JSON.stringify(this.#access)) this.#access = next;
      this.#problem = null;
    } catch (error) {
      if (this.#access === null) throw error;
      this.#problem = messageOf(error);
    }
    this.#readAt = this.#options.clock.monotonicMs();
    return this.#access;
  }

  async #readAll(): Promise<Access> {
    const plan = await this.#options.plan();
    const [namespace, ca, certificate, key, token] = await Promise.all([
      this.#text(plan.namespace),
      this.#text(plan.ca),
      this.#text(plan.certificate),
      this.#text(plan.key),
      this.#text(plan.token),
    ]);
    const exec = plan.exec === null ? null : await this.#execCredential(plan, ca);
    const bearer = exec?.token ?? token?.trim() ?? null;
    const tls: TlsMaterial = {
      ca,
      certificate: exec?.certificate ?? certificate,
      key: exec?.key ?? key,
      serverName: plan.serverName,
      insecure: plan.insecure,
    };
    const connectionId = createHash("sha256")
      .update(JSON.stringify([plan.server, tls]))
      .digest("hex");
    if (connectionId !== this.#access?.connectionId) checkTls(plan, tls);
    return {
      server: plan.server,
      namespace: namespace?.trim() || "default",
      authorization: bearer === null || bearer === "" ? null : `Bearer ${bearer}`,
      tls,
      connectionId,
    };
  }

  async #execCredential(plan: AccessPlan, ca: string | null): Promise<ExecCredential> {
    if (plan.exec === null) throw new TypeError("no plugin is planned");
    const id = JSON.stringify(plan.exec);
    if (this.#exec?.id !== id || this.#expired()) {
      this.#exec = { id, credential: await this.#options.plugin(plan.exec, plan, ca) };
    }
    return this.#exec.credential;
  }

  async #text(source: TextSource | null): Promise<string | null> {
    if (source === null) return null;
    if ("text" in source) return source.text;
    try {
      return await this.#options.readFile(source.path);
    } catch (cause) {
      throw new KubeConfigError({
        code: "KUBE_CREDENTIALS",
        object: source.path,
        message: `it cannot be read: ${messageOf(cause)}`,
        remedy: "see that the file is mounted and that this process may read it",
        cause,
      });
    }
  }
}

/** A key without its certificate would otherwise show as a failure of each connection. */
function checkTls({ origin }: AccessPlan, { ca, certificate, key }: TlsMaterial): void {
  try {
    createSecureContext({ ca: ca ?? undefined, cert: certificate ?? undefined, key: key ?? undefined });
  } catch (cause) {
    throw new KubeConfigError({
      code: "KUBE_CREDENTIALS",
      object: origin,
      message: `certificate, key and certificate authority do not fit together: ${messageOf(cause)}`,
      remedy: "compare them with openssl x509 and openssl pkey",
      cause,
    });
  }
}
