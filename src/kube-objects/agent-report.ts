/**
 * What an agent says of itself in its Lease: that it is there, whether it is ready, and which policies its kernel holds. One annotation of JSON
 * that stays small however many policies there are: of a set of policies it has a digest (`policy-digest.ts`), and whoever follows the
 * same policies recognises the set by it.
 *
 * `v` counts what readers before could not read any more; fields may be added without it.
 */
import { isDigest } from "./policy-digest.ts";

/** Of a Lease: it is of an agent. */
export const agentLabels = { "app.kubernetes.io/name": "tandem-agent" } as const;
/** Of a Lease: the report. */
export const reportAnnotation = "tandem.io/agent";

const version = 1;
/** Keys that are named; of more there is only the number and the digest. */
export const mostNamed = 20;

export const policyKinds = ["NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"] as const;
export type PolicyKind = (typeof policyKinds)[number];

/** Policies of a kind as the kernel of a node has them. */
export interface KindReport {
  readonly count: number;
  /** Of all of them, at their generations. */
  readonly digest: string;
  /** Those of them that could not be taken as they are: the last versions that could are in force. */
  readonly failing: {
    readonly count: number;
    readonly digest: string;
    /** "namespace/name", or "name", sorted; at most `mostNamed`. */
    readonly keys: readonly string[];
  };
}

export interface AgentReport {
  /** Name of the Node. */
  readonly node: string;
  /** The machine by its own name, and which of its boots. */
  readonly host: string;
  readonly boot: string;
  /** Of the agent. */
  readonly version: string;
  /** Everything was seen, computed and is in the kernel, and the node has its place in the network or waits for it no longer: pods may come. */
  readonly ready: boolean;
  /** What the node lacks of its network: BGP's session, routes to the others' pods. Not ready: it waits for that; ready: it goes on without. "": nothing. */
  readonly network: string;
  /** In the kernel; null: not known yet, or policies are not enforced on this node. */
  readonly policies: Readonly<Record<PolicyKind, KindReport>> | null;
}

/** Where agents have their Leases. @param own namespace of the process; "default" where a kubeconfig says none: no place for what is not a user's */
export function agentNamespace(own: string): string {
  return own === "" || own === "default" ? "kube-system" : own;
}

export function encodeReport(report: AgentReport): string {
  return JSON.stringify({ v: version, ...report });
}

/** @returns null for what `encodeReport` of this version, or of one that only adds fields, did not write */
export function decodeReport(text: string | undefined): AgentReport | null {
  let value: unknown;
  try {
    value = JSON.parse(text ?? "");
  } catch {
    return null;
  }
  const { v, node, host, boot, version: agent, ready, network, policies } = fieldsOf(value);
  if (v !== version || typeof node !== "string" || node === "" || typeof ready !== "boolean") return null;
  return {
    node,
    host: textOf(host),
    boot: textOf(boot),
    version: textOf(agent),
    ready,
    network: textOf(network),
    policies: policiesOf(policies),
  };
}

function policiesOf(value: unknown): AgentReport["policies"] {
  const fields = fieldsOf(value);
  const [network, cilium, clusterwide] = policyKinds.map((kind) => kindOf(fields[kind]));
  if (!network || !cilium || !clusterwide) return null;
  return { NetworkPolicy: network, CiliumNetworkPolicy: cilium, CiliumClusterwideNetworkPolicy: clusterwide };
}

function kindOf(value: unknown): KindReport | null {
  const { count, digest, failing } = fieldsOf(value);
  const { count: failed, digest: failingDigest, keys } = fieldsOf(failing);
  if (!isCount(count) || !isCount(failed) || !isDigest(digest) || !isDigest(failingDigest)) return null;
  const named = Array.isArray(keys) ? (keys as readonly unknown[]).filter((key) => typeof key === "string") : [];
  return { count, digest, failing: { count: failed, digest: failingDigest, keys: named } };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
