/** Servers of a node's resolv.conf(5). */
import { type Address, parseAddress } from "../model/ip.ts";

/** As many as the C library asks. */
const mostServers = 3;

/** In order; without those that are named by a device too (fe80::1%eth0). Empty: there are none. */
export function serversOf(text: string): readonly Address[] {
  return text
    .split("\n")
    .flatMap((line) => {
      const [keyword, address] = line.trim().split(/\s+/);
      return keyword === "nameserver" && address !== undefined ? (parseAddress(address) ?? []) : [];
    })
    .slice(0, mostServers);
}
