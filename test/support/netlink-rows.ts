/** Rows and changes of netlink as tests write them. */
import type { NetlinkChange, NextHopRow, RouteRow } from "../../src/native/netlink-contract.ts";
import { native } from "./native.ts";
import type { Netns } from "./netns.ts";

export const v4 = (text: string) => Buffer.from(text.split(".").map(Number));
/** Groups of a whole IPv6 address; "::" once. */
export function v6(text: string): Buffer {
  const [head = "", tail = ""] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [first, last] = [groups(head), groups(tail)];
  const bytes = Buffer.alloc(16);
  [...first, ...Array(8 - first.length - last.length).fill(0), ...last].forEach((group, at) => {
    bytes.writeUInt16BE(group, 2 * at);
  });
  return bytes;
}

export const hop = (index: number, gateway: Buffer | null = null, weight = 1): NextHopRow => ({
  gateway,
  index,
  weight,
});

export function route(family: 4 | 6, prefix: string, part: Partial<RouteRow>): RouteRow {
  const [address = "", length] = prefix.split("/");
  return {
    family,
    destination: family === 4 ? v4(address) : v6(address),
    prefixLength: Number(length),
    table: 254,
    protocol: 158,
    scope: 0,
    type: 1,
    metric: family === 4 ? 0 : 1024,
    source: null,
    nextHops: [],
    mtu: null,
    ...part,
  };
}

export const change = (op: "add" | "replace" | "delete", row: RouteRow, onlink = false): NetlinkChange => ({
  kind: "route",
  op,
  route: row,
  onlink,
});

export const ours = (ns: Netns) => native.routes(ns.path, { family: null, table: null, protocol: 158 });
export const key = (row: RouteRow) =>
  `${row.family} ${row.destination.toString("hex")}/${row.prefixLength} ${row.table} ${row.metric}`;
export const sorted = (rows: readonly RouteRow[]) => [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1));
