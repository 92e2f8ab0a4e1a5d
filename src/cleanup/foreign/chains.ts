/**
 * Which chains of iptables are kube-proxy's and which kube-router's, and what takes them out. Pure: from the text of iptables-save to the text
 * for `iptables-restore --noflush`, which changes each table at once. The kubelet's own (KUBE-FIREWALL, KUBE-IPTABLES-HINT,
 * KUBE-KUBELET-CANARY) are nobody's to remove.
 */
export type Owner = "kube-proxy" | "kube-router";

/** pkg/proxy/iptables and pkg/proxy/ipvs of Kubernetes. */
const kubeProxy =
  /^KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|NODE-PORT|POSTROUTING|MARK-MASQ|MARK-DROP|FORWARD|PROXY-FIREWALL|PROXY-CANARY|LOAD-BALANCER|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER|(SVC|SVL|SEP|FW|EXT|XLB)-[A-Z0-9]+)$/;
/** pkg/controllers/netpol and pkg/controllers/proxy of kube-router. */
const kubeRouter = /^KUBE-(ROUTER-(INPUT|FORWARD|OUTPUT|SERVICES|HAIRPIN)|(POD-FW|NWPLCY)-[A-Z0-9]+)$/;

export function ownerOf(chain: string): Owner | null {
  if (kubeProxy.test(chain)) return "kube-proxy";
  return kubeRouter.test(chain) ? "kube-router" : null;
}

export interface OwnedTable {
  /** "nat". */
  readonly table: string;
  readonly chains: readonly string[];
  /** Rules of other chains that lead into those: as iptables-save prints them, "-A PREROUTING … -j KUBE-SERVICES". */
  readonly jumps: readonly string[];
}

/** What of a dump is that owner's. Tables without any are left out. */
export function ownedTables(dump: string, owner: Owner): readonly OwnedTable[] {
  const tables: { table: string; chains: string[]; jumps: string[] }[] = [];
  for (const line of dump.split("\n")) {
    const [, table] = /^\*(\S+)/.exec(line) ?? [];
    if (table !== undefined) tables.push({ table, chains: [], jumps: [] });
    const current = tables.at(-1);
    if (current === undefined) continue;
    const [, chain = ""] = /^:(\S+)/.exec(line) ?? [];
    if (ownerOf(chain) === owner) current.chains.push(chain);
    const [, from = "", , to = ""] = /^-A (\S+) (.* )?-[jg] (\S+)/.exec(line) ?? [];
    if (ownerOf(from) !== owner && ownerOf(to) === owner) current.jumps.push(line);
  }
  return tables.filter(({ chains, jumps }) => chains.length + jumps.length > 0);
}

/**
 * The kernel tracks connections of a family only while some rule asks for it, and translates those that live only while it tracks them: without the owner's
 * rules those that they began would stall. No packet meets this rule; it goes with a reboot, as all of them do.
 */
const trackingChain = [
  ":TANDEM-CONNTRACK - [0:0]",
  '-A TANDEM-CONNTRACK -m conntrack --ctstate NEW -m comment --comment "connections of rules that are gone go on" -j RETURN',
];

/** For `nft -f -`: the table goes; the same for the connections that it began. Such tables hold the family's hooks for translation, too. */
export function nftRemoval(table: string): string {
  const [family = "", name] = table.split(" ");
  const tracking = `${family} tandem-conntrack`;
  const keep = [
    `add table ${tracking}`,
    `add chain ${tracking} nat { type nat hook postrouting priority 100; }`,
    `flush chain ${tracking} nat`,
    `add rule ${tracking} nat ct state new return comment "connections of rules that are gone go on"`,
  ];
  return [...(name === "kube-proxy" ? keep : []), `delete table ${table}`, ""].join("\n");
}

/** Input of `iptables-restore --noflush`: naming a chain empties it, so that the rules between them are gone before they are. */
export function removal(tables: readonly OwnedTable[]): string {
  return tables
    .flatMap(({ table, chains, jumps }) => [
      `*${table}`,
      ...chains.map((chain) => `:${chain} - [0:0]`),
      ...jumps.map((rule) => rule.replace("-A ", "-D ")),
      ...chains.map((chain) => `-X ${chain}`),
      ...(table === "nat" ? trackingChain : []),
      "COMMIT",
      "",
    ])
    .join("\n");
}
