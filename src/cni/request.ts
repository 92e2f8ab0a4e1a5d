/**
 * Reads a CNI call: the environment and the network configuration as the plugin passed them on, validated into one value
 * per command. https://www.cni.dev/docs/spec/
 */
import { z } from "zod";
import type { CniRequest } from "../api/dto.ts";
import { type Address, parseAddress } from "../model/ip.ts";
import { badRequest, cniCodes } from "./errors.ts";

export const cniVersions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type CniVersion = (typeof cniVersions)[number];
/** What errors of unreadable configurations are written in. */
export const newestVersion: CniVersion = "1.1.0";

const dns = z.looseObject({
  nameservers: z.array(z.string()).optional(),
  domain: z.string().optional(),
  search: z.array(z.string()).optional(),
  options: z.array(z.string()).optional(),
});

const previousResult = z.looseObject({ ips: z.array(z.looseObject({ address: z.string() })).optional() });

const networkConfig = z.looseObject({
  cniVersion: z.string(),
  name: z.string().min(1).default("tandem"),
  dns: dns.optional(),
  args: z.looseObject({ cni: z.looseObject({ ips: z.array(z.string()).optional() }).optional() }).optional(),
  runtimeConfig: z.looseObject({ ips: z.array(z.string()).optional() }).optional(),
  prevResult: previousResult.optional(),
  // null: runtimes in Go write an empty list so.
  "cni.dev/valid-attachments": z
    .array(z.looseObject({ containerID: z.string(), ifname: z.string() }))
    .nullable()
    .optional(),
});

export type Dns = z.infer<typeof dns>;

export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

export interface AddCall extends Attachment {
  readonly command: "ADD";
  readonly version: CniVersion;
  readonly network: string;
  readonly netns: string;
  /** "namespace/name". */
  readonly pod: string;
  readonly uid: string | null;
  /** Addresses that the pod has to get, at most one per family. */
  readonly requested: readonly Address[];
  readonly dns: Dns | null;
}

export interface DelCall extends Attachment {
  readonly command: "DEL";
  readonly version: CniVersion;
}

export interface CheckCall extends Attachment {
  readonly command: "CHECK";
  readonly version: CniVersion;
  readonly netns: string;
  /** Addresses of the previous result, as text with prefix length. */
  readonly previousAddresses: readonly string[];
}

export interface GcCall {
  readonly command: "GC";
  readonly version: CniVersion;
  readonly network: string;
  readonly valid: readonly Attachment[];
}

export interface StatusCall {
  readonly command: "STATUS";
  readonly version: CniVersion;
}

export type CniCall = AddCall | DelCall | CheckCall | GcCall | StatusCall;

/** Throws CniError with the code that the specification asks for. */
export function parseRequest(request: CniRequest): CniCall {
  if (request.command === "DEL") return parseDel(request);
  const config = parseConfig(request.config);
  const version = parseVersion(config.cniVersion);
  switch (request.command) {
    case "ADD":
      return parseAdd(request, config, version);
    case "CHECK":
      requireSince(version, "0.4.0", "CHECK");
      if (config.prevResult === undefined) {
        throw badRequest(cniCodes.invalidConfig, "CHECK", "the network configuration has no prevResult");
      }
      return {
        command: "CHECK",
        version,
        ...parseAttachment(request),
        netns: parseNetns(request.netns),
        previousAddresses: (config.prevResult.ips ?? []).map((ip) => ip.address),
      };
    case "GC": {
      requireSince(version, "1.1.0", "GC");
      const valid = config["cni.dev/valid-attachments"];
      if (valid === undefined) {
        throw badRequest(cniCodes.invalidConfig, "GC", "the network configuration has no cni.dev/valid-attachments");
      }
      return {
        command: "GC",
        version,
        network: config.name,
        valid: (valid ?? []).map((one) => ({ containerId: one.containerID, ifname: one.ifname })),
      };
    }
    case "STATUS":
      requireSince(version, "1.1.0", "STATUS");
      return { command: "STATUS", version };
    default:
      throw badRequest(cniCodes.invalidEnvironment, "CNI_COMMAND", `${JSON.stringify(request.command)} is not known`);
  }
}

/** The version to answer in, also where the rest of the request is refused. */
export function answerVersion(config: string): string {
  try {
    const parsed: unknown = JSON.parse(config);
    const version = z.looseObject({ cniVersion: z.string() }).safeParse(parsed);
    return version.success ? version.data.cniVersion : newestVersion;
  } catch {
    return newestVersion;
  }
}

/** A deletion is understood whatever the configuration became meanwhile: the runtime must get rid of its pod. */
function parseDel(request: CniRequest): DelCall {
  const version = cniVersions.find((known) => known === answerVersion(request.config)) ?? newestVersion;
  return { command: "DEL", version, ...parseAttachment(request) };
}

function parseAdd(request: CniRequest, config: z.infer<typeof networkConfig>, version: CniVersion): AddCall {
  if (config.prevResult !== undefined) {
    throw badRequest(
      cniCodes.invalidConfig,
      "ADD",
      "prevResult is set, but tandem-cni makes the pod's interface",
      "put tandem-cni first in the list of plugins",
    );
  }
  const args = parseArgs(request.args);
  const namespace = podArg(args, "K8S_POD_NAMESPACE", 63);
  const name = podArg(args, "K8S_POD_NAME", 253);
  const wanted = [
    ...(args.get("IP")?.split(",") ?? []),
    ...(config.runtimeConfig?.ips ?? []),
    ...(config.args?.cni?.ips ?? []),
  ];
  return {
    command: "ADD",
    version,
    network: config.name,
    ...parseAttachment(request),
    netns: parseNetns(request.netns),
    pod: `${namespace}/${name}`,
    uid: args.get("K8S_POD_UID") ?? null,
    requested: parseRequested(wanted),
    dns: config.dns ?? null,
  };
}

function parseConfig(text: string): z.infer<typeof networkConfig> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badRequest(cniCodes.decodeFailure, "network configuration", `it is not JSON: ${String(cause)}`);
  }
  const parsed = networkConfig.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(whole)"}: ${issue.message}`);
  throw badRequest(cniCodes.invalidConfig, "network configuration", problems.join("; "));
}

function parseVersion(text: string): CniVersion {
  const version = cniVersions.find((known) => known === text);
  if (version !== undefined) return version;
  throw badRequest(
    cniCodes.incompatibleVersion,
    "cniVersion",
    `${JSON.stringify(text)} is not supported`,
    `use one of ${cniVersions.join(", ")}`,
  );
}

function requireSince(version: CniVersion, since: CniVersion, command: string): void {
  if (cniVersions.indexOf(version) >= cniVersions.indexOf(since)) return;
  throw badRequest(
    cniCodes.incompatibleVersion,
    command,
    `needs cniVersion ${since} or newer, not ${version}`,
    `set "cniVersion": "${newestVersion}"`,
  );
}

function parseAttachment(request: CniRequest): Attachment {
  // The id becomes a file name; the specification allows exactly these characters.
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(request.containerId) || request.containerId.length > 200) {
    throw badRequest(
      cniCodes.invalidEnvironment,
      "CNI_CONTAINERID",
      `${JSON.stringify(request.containerId)} is not an id of 1-200 letters, digits, "_", "." and "-"`,
    );
  }
  // What the kernel takes as a device name (dev_valid_name), less the loopback device.
  const { ifname } = request;
  if (!/^[!-.0-9;-~]{1,15}$/.test(ifname) || ifname === "." || ifname === ".." || ifname === "lo") {
    throw badRequest(cniCodes.invalidEnvironment, "CNI_IFNAME", `${JSON.stringify(ifname)} cannot name a device`);
  }
  return { containerId: request.containerId, ifname };
}

function parseNetns(netns: string): string {
  if (netns.startsWith("/") && !netns.includes("\0")) return netns;
  throw badRequest(cniCodes.invalidEnvironment, "CNI_NETNS", `${JSON.stringify(netns)} is not an absolute path`);
}

/** "K=V;K=V"; a value may hold "=". */
function parseArgs(text: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const part of text.split(";")) {
    if (part === "") continue;
    const at = part.indexOf("=");
    if (at < 1) {
      throw badRequest(cniCodes.invalidEnvironment, "CNI_ARGS", `${JSON.stringify(part)} is not KEY=VALUE`);
    }
    args.set(part.slice(0, at), part.slice(at + 1));
  }
  return args;
}

function podArg(args: ReadonlyMap<string, string>, name: string, longest: number): string {
  const value = args.get(name);
  if (value === undefined || value === "") {
    throw badRequest(cniCodes.invalidEnvironment, "CNI_ARGS", `${name} is not set: which pod is this?`);
  }
  if (/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(value) && value.length <= longest) return value;
  throw badRequest(cniCodes.invalidEnvironment, "CNI_ARGS", `${name}: ${JSON.stringify(value)} is not a name`);
}

function parseRequested(texts: readonly string[]): readonly Address[] {
  const byFamily = new Map<4 | 6, Address>();
  for (const text of texts) {
    // Runtimes pass addresses with and without a prefix length.
    const address = parseAddress(text.trim().replace(/\/\d+$/, ""));
    if (address === null) {
      throw badRequest(cniCodes.invalidConfig, "requested address", `${JSON.stringify(text)} is not an address`);
    }
    const other = byFamily.get(address.family);
    if (other !== undefined && other.text !== address.text) {
      throw badRequest(
        cniCodes.invalidConfig,
        "requested address",
        `${other.text} and ${address.text}: a pod has one address per family`,
      );
    }
    byFamily.set(address.family, address);
  }
  return [...byFamily.values()];
}
