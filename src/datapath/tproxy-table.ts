/**
 * The table of nft by which marked packets find the L7 proxy's sockets, where the programs cannot give them to one (bpf/lib/proxy.h). TPROXY looks for
 * a connection of the packet's tuple first, then for the listener on loopback whose port the mark stands for. What finds a socket gets the mark that
 * leads to it (proxy-routes.ts); what finds none is dropped. The table is known by its name, and stays while the agent is away, as the programs do.
 */
import type { AgentConfig } from "../config/index.ts";
import { ProxyPort } from "../native/layouts.gen.ts";
import type { RunTool } from "../native/run-tool.ts";
import { Counters } from "./map-table.ts";

/** Family and name. */
export const tproxyTable = "inet tandem-tproxy";

/** MARK_MASK, MARK_TO_LISTENER, MARK_TO_PROXY, MARK_LISTENER_MASK and MARK_LISTENER_SHIFT of bpf/include/tandem/config.h. */
const [mask, toListener, toProxy, listenerMask, listenerShift] = [0x0f00, 0x0900, 0x0a00, 0x00ff_0000, 16] as const;
/** Behind the kernel's conntrack and before its translations, and before those who mark at mangle (-150). */
const priority = -160;

/** For `nft -f -`: the table as it has to be, in one step, whatever is there. */
export function tproxyRuleset({ ipv4, ipv6 }: Pick<AgentConfig, "ipv4" | "ipv6">): string {
  const ports = Array.from({ length: ProxyPort.last - ProxyPort.nobody + 1 }, (_, at) => {
    return `${hex(at << listenerShift)} : ${ProxyPort.nobody + at}`;
  });
  const others = hex(0xffff_ffff - mask - listenerMask);
  const find = (family: "ip" | "ip6", loopback: string) =>
    [
      `meta nfproto ${family === "ip" ? "ipv4" : "ipv6"} meta l4proto { tcp, udp }`,
      `tproxy ${family} to ${loopback}:meta mark & ${hex(listenerMask)} map @listeners`,
      `meta mark set meta mark & ${others} | ${hex(toProxy)} meta pkttype set host accept`,
    ].join(" ");
  const rules = [
    `meta mark & ${hex(mask)} != ${hex(toListener)} accept`,
    ...(ipv4 ? [find("ip", "127.0.0.1")] : []),
    ...(ipv6 ? [find("ip6", "[::1]")] : []),
    "counter drop",
  ];
  return [
    `add table ${tproxyTable}`,
    `delete table ${tproxyTable}`,
    `table ${tproxyTable} {`,
    "map listeners {",
    "type mark : inet_service",
    `elements = { ${ports.join(", ")} }`,
    "}",
    "chain prerouting {",
    `type filter hook prerouting priority ${priority}; policy accept;`,
    ...rules,
    "}",
    "}",
    "",
  ].join("\n");
}

export class TproxyTable {
  readonly counters = new Counters();
  readonly #run: RunTool;
  readonly #ruleset: string;
  /** As nft showed it when it had been placed. */
  #shown = "";

  constructor(run: RunTool, config: Pick<AgentConfig, "ipv4" | "ipv6">) {
    this.#run = run;
    this.#ruleset = tproxyRuleset(config);
  }

  /** @throws Error nft is not here, or the kernel does not take it */
  async place(): Promise<void> {
    try {
      if ((await this.#run("nft", ["-f", "-"], this.#ruleset)) === null) throw new Error("there is no program nft");
      this.#shown = await this.#show();
      this.counters.writes++;
    } catch (error) {
      this.counters.failed(error);
      throw error;
    }
  }

  /** Puts it back where somebody changed it or took it away. @returns true: so it was @throws Error as `place` */
  async verify(): Promise<boolean> {
    const shown = await this.#show().catch(() => "");
    if (shown !== "" && shown === this.#shown) return false;
    await this.place();
    this.counters.repaired++;
    return true;
  }

  async #show(): Promise<string> {
    return contentOf((await this.#run("nft", ["list", "table", ...tproxyTable.split(" ")])) ?? "");
  }
}

/** @returns false: there was none */
export async function removeTproxyTable(run: RunTool): Promise<boolean> {
  if (!(await hasTproxyTable(run))) return false;
  await run("nft", ["delete", "table", ...tproxyTable.split(" ")]);
  return true;
}

/** Nobody can have it where nft or the kernel's tables are not there. */
export async function hasTproxyTable(run: RunTool): Promise<boolean> {
  const tables = await run("nft", ["list", "tables"]).catch(() => null);
  return (tables ?? "").split("\n").some((line) => line.trim() === `table ${tproxyTable}`);
}

/** What nft shows without what changes by itself: counts, and the order of a map's entries. */
export function contentOf(listing: string): string {
  const words = listing.replaceAll(/counter packets \d+ bytes \d+/g, "counter").split(/[\s,]+/);
  return words.sort().join(" ");
}

function hex(number: number): string {
  return `0x${number.toString(16).padStart(8, "0")}`;
}
