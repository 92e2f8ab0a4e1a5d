/**
 * What kube-proxy, or kube-router's firewall and service proxy, have left on this node: both let their rules stand when they end or are told to stop.
 * Found by names and places that are theirs alone. What a tool is needed for that is not here is not looked for, and told.
 */
import { readFile } from "node:fs/promises";
import { messageOf } from "../../lib/errors.ts";
import { addressFromBytes } from "../../model/ip.ts";
import type { NativeBinding } from "../../native/contract.ts";
import type { RunTool } from "../../native/run-tool.ts";
import { type OwnedTable, type Owner, ownedTables } from "./chains.ts";
import { type IpvsService, ipvsServices } from "./ipvs.ts";

export interface ForeignRules {
  readonly owner: Owner;
  /** By the program that takes them out: "iptables-nft-restore". */
  readonly chains: readonly { readonly restore: string; readonly tables: readonly OwnedTable[] }[];
  /** "ip kube-proxy". */
  readonly nftTables: readonly string[];
  readonly services: readonly IpvsService[];
  readonly devices: readonly { readonly index: number; readonly name: string }[];
  readonly sets: readonly string[];
  /** Programs that are not here, or what they said when they failed: what they would show is not known. */
  readonly missing: readonly string[];
}

/** The devices that hold addresses of services for IPVS. */
const deviceOf: Readonly<Record<Owner, string>> = { "kube-proxy": "kube-ipvs0", "kube-router": "kube-dummy-if" };
const nftTable: Readonly<Record<Owner, RegExp>> = {
  "kube-proxy": /^table (ip6? kube-proxy)$/,
  "kube-router": /^table (\w+ kube-router-filter-ipv[46])$/,
};
const setOf: Readonly<Record<Owner, RegExp>> = {
  "kube-proxy":
    /^KUBE-(6-)?(CLUSTER-IP|LOOP-BACK|EXTERNAL-IP(-LOCAL)?|LOAD-BALANCER(-FW|-LOCAL|-SOURCE-CIDR|-SOURCE-IP)?|(HEALTH-CHECK-)?NODE-PORT(-LOCAL)?(-TCP|-UDP|-SCTP-HASH)?|IPVS-IPS)$/,
  "kube-router": /^(inet6:)?(kube-router-(local-ips|svip|svip-prt|local-pods)|KUBE-(SRC|DST)-[A-Z0-9]+)$/,
};
const families = ["iptables", "ip6tables"] as const;
const flavours = ["nft", "legacy"] as const;

export interface FindOptions {
  readonly native: Pick<NativeBinding, "links" | "addresses">;
  readonly run: RunTool;
  readonly owner: Owner;
}

export async function findForeign({ native, run, owner }: FindOptions): Promise<ForeignRules> {
  const missing: string[] = [];
  const tool = async (program: string, words: readonly string[]) => {
    try {
      const text = await run(program, words);
      if (text === null) missing.push(program);
      return text;
    } catch (error) {
      missing.push(messageOf(error));
      return null;
    }
  };
  const chains: ForeignRules["chains"][number][] = [];
  for (const family of families) {
    for (const flavour of flavours) {
      const tables = ownedTables((await tool(`${family}-${flavour}-save`, [])) ?? "", owner);
      if (tables.length > 0) chains.push({ restore: `${family}-${flavour}-restore`, tables });
    }
  }
  const matches = (text: string | null, pattern: RegExp, group: number) =>
    (text ?? "").split("\n").flatMap((line) => pattern.exec(line.trim())?.[group] ?? []);
  const links = await native.links(null);
  return {
    owner,
    chains,
    nftTables: matches(await tool("nft", ["list", "tables"]), nftTable[owner], 1),
    services: await findServices(native, owner),
    devices: links.filter(({ name }) => name === deviceOf[owner]).map(({ index, name }) => ({ index, name })),
    sets: matches(await tool("ipset", ["list", "-n"]), setOf[owner], 0),
    missing,
  };
}

/**
 * Services of IPVS at addresses of the owner's device; if nobody else has such a device, also those at the node's own (NodePorts) and kube-router's by
 * firewall mark (direct return). Others may use IPVS, too.
 */
async function findServices(native: FindOptions["native"], owner: Owner): Promise<readonly IpvsService[]> {
  const services = ipvsServices(await readFile("/proc/self/net/ip_vs", "utf8").catch(() => ""));
  if (services.length === 0) return [];
  const indexes = new Map((await native.links(null)).map(({ name, index }) => [name, index]));
  const own = indexes.get(deviceOf[owner]);
  if (own === undefined) return [];
  const isAlone = Object.values(deviceOf).every((name) => name === deviceOf[owner] || !indexes.has(name));
  const addresses = (await native.addresses(null)).filter(({ index }) => isAlone || index === own);
  const held = new Set(addresses.map(({ address }) => addressFromBytes(address).text));
  return services.filter(({ protocol, address }) =>
    protocol === "FWM"
      ? isAlone && owner === "kube-router"
      : held.has(address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "")),
  );
}

/** In one line: "214 chains of iptables-nft, 12 services of IPVS, device kube-dummy-if"; "": nothing. */
export function describe({ chains, nftTables, services, devices, sets }: ForeignRules): string {
  const count = (number: number, what: string) => (number === 0 ? [] : [`${number} ${what}`]);
  return [
    ...chains.flatMap(({ restore, tables }) =>
      count(
        tables.reduce((sum, table) => sum + table.chains.length, 0),
        `chains of ${restore.replace("-restore", "")}`,
      ),
    ),
    ...nftTables.map((table) => `nftables table ${table}`),
    ...count(services.length, "services of IPVS"),
    ...devices.map(({ name }) => `device ${name}`),
    ...count(sets.length, "ipsets"),
  ].join(", ");
}
