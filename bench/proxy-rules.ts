/**
 * What kube-proxy does, as a baseline: nodes joined by kernel routing whose rules send services to their backends, laid out as kube-proxy's
 * modes `iptables` and `nftables` lay them out (pkg/proxy of Kubernetes 1.31: a chain for each service and each endpoint, masquerading
 * by mark), with one endpoint a service.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPlainCluster } from "./plain.ts";
import { inNetns, sh } from "./support.ts";

export type RuleMode = "iptables" | "nftables";

export interface RuleProxy {
  readonly mode: RuleMode;
  /** Network namespaces, of two pods on a node. */
  readonly client: string;
  readonly server: string;
  /** Address of the server. */
  readonly backend: string;
  /** Replaces all rules, with those of services 1 to `count`. */
  load(count: number, port: number): Promise<void>;
  remove(): Promise<void>;
}

export const serviceAddress = (n: number): string => `10.224.${n >> 8}.${n & 255}`;

const programs: Readonly<Record<RuleMode, string>> = { iptables: "iptables-nft-restore", nftables: "nft" };

/** null: the program that loads such rules is not on this machine. */
export async function createRuleProxy(mode: RuleMode): Promise<RuleProxy | null> {
  const program = programs[mode];
  const isThere = await sh(["sh", "-c", `command -v ${program}`]).catch(() => null);
  if (isThere === null) {
    console.log(`no ${program} here: kube-proxy's mode ${mode} is left out (Debian: iptables, nftables)`);
    return null;
  }
  const cluster = await createPlainCluster(mode);
  const [client, server] = cluster.pods;
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  const remove = async () => {
    rmSync(folder, { recursive: true, force: true });
    await cluster.remove();
  };
  if (client === undefined || server === undefined) {
    await remove();
    throw new Error("the plain cluster has no two pods on a node");
  }
  const load = async (count: number, port: number) => {
    const file = join(folder, "rules");
    const text = mode === "iptables" ? iptablesRules : nftablesRules;
    writeFileSync(file, text(count, port, server.ipv4));
    const command = mode === "iptables" ? [program, file] : [program, "-f", file];
    await sh(inNetns(cluster.node, command), 600_000);
  };
  return { mode, client: client.netns, server: server.netns, backend: server.ipv4, load, remove };
}

const each = (count: number, line: (n: number) => string): string =>
  Array.from({ length: count }, (_, at) => line(at + 1)).join("");

function iptablesRules(count: number, port: number, backend: string): string {
  const service = (n: number) => `KUBE-SVC-${n}`;
  const endpoint = (n: number) => `KUBE-SEP-${n}`;
  return `*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:KUBE-SERVICES -
:KUBE-POSTROUTING -
:KUBE-MARK-MASQ -
${each(count, (n) => `:${service(n)} -\n:${endpoint(n)} -\n`)}-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
${each(
  count,
  (n) => `-A KUBE-SERVICES -d ${serviceAddress(n)}/32 -p tcp -m tcp --dport ${port} -j ${service(n)}
-A ${service(n)} ! -s 10.77.0.0/16 -d ${serviceAddress(n)}/32 -p tcp -m tcp --dport ${port} -j KUBE-MARK-MASQ
-A ${service(n)} -j ${endpoint(n)}
-A ${endpoint(n)} -s ${backend}/32 -j KUBE-MARK-MASQ
-A ${endpoint(n)} -p tcp -m tcp -j DNAT --to-destination ${backend}:${port}
`,
)}COMMIT
`;
}

function nftablesRules(count: number, port: number, backend: string): string {
  return `table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {
${each(
  count,
  (n) => `  chain endpoint-${n} {
    ip saddr ${backend} meta mark set meta mark or 0x4000
    meta l4proto tcp dnat to ${backend}:${port}
  }
  chain service-${n} {
    ip daddr ${serviceAddress(n)} tcp dport ${port} ip saddr != 10.77.0.0/16 meta mark set meta mark or 0x4000
    numgen random mod 1 vmap { 0 : goto endpoint-${n} }
  }
`,
)}  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {
${each(count, (n) => `      ${serviceAddress(n)} . tcp . ${port} : goto service-${n}${n < count ? "," : ""}\n`)}    }
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat
    jump services
  }
  chain nat-output {
    type nat hook output priority -100
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat
    meta mark and 0x4000 != 0 masquerade fully-random
  }
}
`;
}
