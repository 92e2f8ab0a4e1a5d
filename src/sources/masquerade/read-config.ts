/**
 * The configuration of ip-masq-agent, as Cilium reads it too: YAML or JSON with `nonMasqueradeCIDRs`, `masqLinkLocal`,
 * `masqLinkLocalIPv6` and `resyncInterval`. Pure.
 *
 * A file that is absent or empty stands for the networks that are reserved for private or special use; one that says anything stands for
 * what it lists and no more. Link-local networks are in both unless they are to be masqueraded.
 */
import { parse } from "yaml";
import { messageOf } from "../../lib/errors.ts";
import { parsePrefix, type Prefix } from "../../model/ip.ts";
import type { Problem } from "../../model/status.ts";

/** RFC 1918, 6598, 6890, 5737, 7526, 2544 and 1112: what `--nomasq-all-reserved-ranges` of ip-masq-agent has. */
const reserved: readonly string[] = [
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "240.0.0.0/4",
];

/** Of which fields the value is not told to be wrong: Tandem reads a changed file at once. */
const unused: ReadonlySet<string> = new Set(["resyncInterval", "cidrLimit"]);

export interface MasqueradeReading {
  /** Networks that see pods' own addresses; null: the file cannot be used. */
  readonly prefixes: readonly Prefix[] | null;
  readonly problems: readonly Problem[];
}

/** @param text of the file; null: there is none */
export function readMasqueradeConfig(path: string, text: string | null): MasqueradeReading {
  const fields = text === null ? null : parsed(text);
  if (typeof fields === "string") return { prefixes: null, problems: [wrong(path, "", fields)] };
  const problems: Problem[] = [];
  const { nonMasqueradeCIDRs: cidrs, masqLinkLocal, masqLinkLocalIPv6, ...rest } = fields ?? {};
  const listed = fields === null ? reserved : (cidrs ?? []);
  const prefixes = Array.isArray(listed)
    ? listed.flatMap((cidr: unknown, at) => {
        const prefix = typeof cidr === "string" && cidr.includes("/") ? parsePrefix(cidr) : null;
        if (prefix === null)
          problems.push(wrong(path, `nonMasqueradeCIDRs[${at}]`, `${JSON.stringify(cidr)} is not a CIDR`));
        return prefix ?? [];
      })
    : [];
  if (!Array.isArray(listed)) problems.push(wrong(path, "nonMasqueradeCIDRs", "it is not a list of CIDRs"));
  for (const [name, value] of Object.entries({ masqLinkLocal, masqLinkLocalIPv6 }))
    if (value !== undefined && value !== null && typeof value !== "boolean")
      problems.push(wrong(path, name, `${JSON.stringify(value)} is neither true nor false`));
  if (problems.length > 0) return { prefixes: null, problems };
  const linkLocal = [
    ...(masqLinkLocal === true ? [] : ["169.254.0.0/16"]),
    ...(masqLinkLocalIPv6 === true ? [] : ["fe80::/10"]),
  ];
  return {
    prefixes: [...prefixes, ...linkLocal.flatMap((cidr) => parsePrefix(cidr) ?? [])],
    problems: Object.keys(rest)
      .filter((name) => !unused.has(name))
      .map((name) => unknownField(path, name)),
  };
}

/** Its fields; null: it is empty; a text: why it cannot be read. */
function parsed(text: string): Readonly<Record<string, unknown>> | null | string {
  try {
    const value: unknown = parse(text);
    if (value === null || value === undefined) return null;
    if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
    return "it holds no settings by name";
  } catch (error) {
    return messageOf(error);
  }
}

function wrong(path: string, field: string, message: string): Problem {
  return {
    code: "MASQUERADE_CONFIG",
    severity: "error",
    object: path,
    field,
    message: `${message}; what the file said before stays in force`,
    remedy: "write nonMasqueradeCIDRs, masqLinkLocal and masqLinkLocalIPv6 as ip-masq-agent has them",
  };
}

function unknownField(path: string, field: string): Problem {
  return {
    code: "MASQUERADE_CONFIG_FIELD",
    severity: "warning",
    object: path,
    field,
    message: "there is no such field, or it has no meaning here",
    remedy: "nonMasqueradeCIDRs, masqLinkLocal and masqLinkLocalIPv6 are read",
  };
}
