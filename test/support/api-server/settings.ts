/**
 * What a script that starts an API server is told: DATADIR and PORT, and the rest by variables of the environment. Those that only
 * concern etcd, the real binaries or an authorizer are taken and mean nothing here.
 */
import { isIP } from "node:net";
import { resolve } from "node:path";

export interface ServerSettings {
  /** Absolute. */
  readonly folder: string;
  readonly port: number;
  /** Address to listen on. */
  readonly bind: string;
  /** More names of the certificate, as OpenSSL has them: "IP:10.1.2.3". */
  readonly names: readonly string[];
  /** Where pods find the API server; null: the service default/kubernetes has no endpoints. */
  readonly advertise: string | null;
  /** One prefix of services per address family, the first family first. */
  readonly serviceCidrs: readonly string[];
  readonly controllers: ControllerChoice;
}

/** Which controllers run, by the names that kube-controller-manager has for them. */
export type ControllerChoice = (name: string) => boolean;

export const usage = `usage: run DATADIR PORT
An API server with controllers, in memory with a journal in DATADIR; writes DATADIR/kubeconfig, kubeconfig.token, ca.crt and, when it
answers, DATADIR/ready. Ends at SIGTERM. The same DATADIR again has the same objects and credentials.
Environment: BIND=127.0.0.1  SANS=  ADVERTISE=  SERVICE_CIDR=10.96.0.0/16  KCM=1  KCM_CONTROLLERS=*,-nodelifecycle,-podgc`;

/** @throws RangeError with what is wrong */
export function readSettings(
  words: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ServerSettings {
  const [folder = "", portText = "", ...more] = words;
  const port = Number(portText);
  if (folder === "" || more.length > 0 || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw new RangeError(usage);
  const value = (name: string, without: string) => env[name] || without;
  const serviceCidrs = value("SERVICE_CIDR", "10.96.0.0/16").split(",");
  for (const cidr of serviceCidrs) {
    const [address = "", length = ""] = cidr.split("/");
    if (isIP(address) === 0 || !/^\d+$/.test(length)) throw new RangeError(`SERVICE_CIDR: ${cidr} is no prefix`);
  }
  if (value("ALLOCATE_NODE_CIDRS", "false") !== "false")
    throw new RangeError("ALLOCATE_NODE_CIDRS: this server gives nodes no CIDRs, whoever registers them does");
  return {
    folder: resolve(folder),
    port,
    bind: value("BIND", "127.0.0.1"),
    names: value("SANS", "").split(",").filter(Boolean),
    advertise: env.ADVERTISE || null,
    serviceCidrs,
    controllers:
      value("KCM", "1") === "0" ? () => false : controllerChoice(value("KCM_CONTROLLERS", "*,-nodelifecycle,-podgc")),
  };
}

/** As --controllers of kube-controller-manager: "*", "-name" and "name", what is named counts more than the star. */
export function controllerChoice(text: string): ControllerChoice {
  const words = new Set(text.split(",").map((word) => word.trim()));
  return (name) => words.has(name) || (words.has("*") && !words.has(`-${name}`));
}
