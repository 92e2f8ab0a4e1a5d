/**
 * kube-router's overlay (`pkg/tunnels`): a device for each next hop, and in table 77 the way to that node's own address for what pods send. IPv4 in
 * IPv4 and IPv6 in IPv6, bare (`ipip`) or as GUE in UDP (`fou`).
 */
import { tunnelName } from "../../lib/kube-router.ts";

export type Encapsulation = "ipip" | "fou";

/** `kube-router` in rt_tables. */
const table = "77";
/** --overlay-encap-port */
const port = "5555";

export interface TunnelsOptions {
  /** Runs ip(8) with these words where the node is, gives what it prints, and throws when it refuses. */
  readonly ip: (words: readonly string[]) => Promise<string>;
  /** The node's own. */
  readonly addresses: readonly string[];
  readonly encapsulation: Encapsulation;
}

export class Tunnels {
  readonly #options: TunnelsOptions;

  constructor(options: TunnelsOptions) {
    this.#options = options;
  }

  /** Where the tunnel to it begins. */
  source(nextHop: string): string {
    const own = this.#options.addresses.find((address) => address.includes(":") === nextHop.includes(":"));
    if (own === undefined) throw new Error(`no address of the family of ${nextHop}`);
    return own;
  }

  /** Makes the device unless it is there, of another encapsulation anew. Gives its name. */
  async ensure(nextHop: string): Promise<string> {
    const { ip, encapsulation } = this.#options;
    const name = tunnelName(nextHop);
    const details = await ip(["-details", "link", "show", name]).catch(() => null);
    if (details === null || details.includes("encap gue") !== (encapsulation === "fou")) {
      if (details !== null) await ip(["link", "del", name]);
      await this.#make(name, nextHop);
      await ip(["link", "set", name, "up"]);
    }
    const family = familyOf(nextHop);
    const helpers = await ip([family, "route", "list", "table", table]).catch(() => "");
    if (!helpers.includes(`dev ${name}`)) await ip([family, "route", "add", nextHop, "dev", name, "table", table]);
    return name;
  }

  /** No device is no error. */
  async remove(nextHop: string): Promise<void> {
    await this.#options.ip(["link", "del", tunnelName(nextHop)]).catch(() => "");
  }

  /** What pods send to nodes behind tunnels takes them, too; with `false`, not any more. */
  async lookUp(podCidrs: readonly string[], wanted: boolean): Promise<void> {
    const { ip } = this.#options;
    for (const cidr of podCidrs) {
      const rule = ["from", cidr, "lookup", table];
      const there = (await ip([familyOf(cidr), "rule", "list"])).includes(`from ${cidr} lookup ${table}`);
      if (there !== wanted) await ip([familyOf(cidr), "rule", wanted ? "add" : "del", ...rule]);
    }
  }

  async #make(name: string, nextHop: string): Promise<void> {
    const { ip, encapsulation } = this.#options;
    const family = familyOf(nextHop);
    const v6 = family === "-6";
    const mode = v6 ? "ip6ip6" : "ipip";
    const ends = ["remote", nextHop, "local", this.source(nextHop)];
    if (encapsulation === "ipip") {
      await ip([family, "tunnel", "add", name, "mode", mode, ...ends]);
      return;
    }
    const ports = (await ip([family, "fou", "show"]).catch(() => "")).split("\n");
    if (!ports.some((line) => line.includes(`port ${port} `) && line.trimEnd().endsWith("-6") === v6))
      await ip([family, "fou", "add", "port", port, "gue"]);
    const gue = ["encap", "gue", "encap-sport", "auto", "encap-dport", port];
    await ip([
      family,
      "link",
      "add",
      "name",
      name,
      "type",
      v6 ? "ip6tnl" : "ipip",
      ...ends,
      "ttl",
      "225",
      ...gue,
      "mode",
      mode,
    ]);
  }
}

function familyOf(text: string): "-4" | "-6" {
  return text.includes(":") ? "-6" : "-4";
}
