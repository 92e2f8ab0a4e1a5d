/** Checks changes of netlink and packs them for the addon (`addon/src/netlink/packed.cc`: the same fields in the same order). */
import type { AddressRow, NeighbourRow, NetlinkChange, RouteRow, RuleRow } from "./netlink-contract.ts";
import { badArgument } from "./errors.ts";
import { WireWriter } from "./wire.ts";

const kinds = { link: 1, address: 2, route: 3, rule: 4, neighbour: 5 } as const;
const linkRemoval = 6;
const ops = { add: 0, replace: 1, delete: 2 } as const;
const u8 = 255;
const u16 = 65_535;
const u32 = 4_294_967_295;

/** @throws NativeError EINVAL that names the change by its position, and the field: nothing was applied then */
export function packChanges(changes: readonly NetlinkChange[]): Buffer {
  if (!Array.isArray(changes)) badArgument("changes must be an array");
  const out = new WireWriter(changes.length * 80);
  out.u32(changes.length);
  for (const [at, change] of changes.entries()) packChange(out, change, new Field(`changes[${at}]`));
  return out.finish();
}

function packChange(out: WireWriter, change: NetlinkChange, at: Field): void {
  switch (change?.kind) {
    case "route":
      packOp(out, change.kind, change.op, at);
      out.u8(at.flag(change.onlink, "onlink"));
      packRoute(out, change.route, at.of("route"));
      break;
    case "address":
      packOp(out, change.kind, change.op, at);
      out.u8(at.flag(change.nodad, "nodad"));
      packAddress(out, change.address, at.of("address"));
      break;
    case "rule":
      packOp(out, change.kind, change.op, at);
      packRule(out, change.rule, at.of("rule"));
      break;
    case "neighbour":
      packOp(out, change.kind, change.op, at);
      packNeighbour(out, change.neighbour, at.of("neighbour"));
      break;
    case "link":
      packLink(out, change, at);
      break;
    default:
      at.refuse("kind", "must be route, address, rule, neighbour or link");
  }
}

function packOp(out: WireWriter, kind: keyof typeof kinds, op: keyof typeof ops, at: Field): void {
  const number = ops[op];
  if (number === undefined || (kind === "rule" && op === "replace")) {
    at.refuse("op", kind === "rule" ? "must be add or delete" : "must be add, replace or delete");
  }
  out.u8(kinds[kind]);
  out.u8(number);
}

function packRoute(out: WireWriter, row: RouteRow, at: Field): void {
  at.object(row);
  const family = at.family(row.family);
  out.u8(family);
  out.u8(at.number(row.prefixLength, "prefixLength", family === 4 ? 32 : 128));
  out.u8(at.number(row.protocol, "protocol", u8));
  out.u8(at.number(row.scope, "scope", u8));
  out.u8(at.number(row.type, "type", u8));
  out.u32(at.number(row.table, "table", u32));
  out.u32(at.number(row.metric, "metric", u32));
  out.u32(row.mtu === null ? 0 : at.number(row.mtu, "mtu", u32));
  out.bytes(at.address(row.destination, "destination", family));
  out.bytes(row.source === null ? none : at.address(row.source, "source", family));
  if (!Array.isArray(row.nextHops)) at.refuse("nextHops", "must be an array");
  out.u16(at.number(row.nextHops.length, "nextHops.length", u16));
  for (const hop of row.nextHops) {
    const { gateway } = hop;
    // IPv4 routes may go by an IPv6 gateway (RFC 5549)
    if (gateway !== null && !isBytes(gateway, 4) && !isBytes(gateway, 16)) {
      at.refuse("nextHops[].gateway", "must be 4 or 16 bytes, or null");
    }
    out.bytes(gateway ?? none);
    out.u32(at.number(hop.index, "nextHops[].index", u32));
    out.u32(at.number(hop.weight, "nextHops[].weight", 256));
  }
}

function packAddress(out: WireWriter, row: AddressRow, at: Field): void {
  at.object(row);
  out.u32(at.number(row.index, "index", u32));
  out.u32(at.number(row.flags, "flags", u32));
  const family = at.family(row.family);
  out.u8(family);
  out.u8(at.number(row.prefixLength, "prefixLength", family === 4 ? 32 : 128));
  out.u8(at.number(row.scope, "scope", u8));
  out.bytes(at.address(row.address, "address", family));
}

function packRule(out: WireWriter, row: RuleRow, at: Field): void {
  at.object(row);
  const family = at.family(row.family);
  out.u8(family);
  out.u8(at.number(row.sourceLength, "sourceLength", family === 4 ? 32 : 128));
  out.u8(at.number(row.action, "action", u8));
  out.u32(at.number(row.priority, "priority", u32));
  out.u32(at.number(row.table, "table", u32));
  out.u32(at.number(row.mark, "mark", u32));
  out.u32(at.number(row.mask, "mask", u32));
  if (row.sourceLength > 0 && row.source === null) at.refuse("source", "must be given with sourceLength");
  out.bytes(row.source === null ? none : at.address(row.source, "source", family));
  out.text(at.text(row.iif, "iif"));
}

function packNeighbour(out: WireWriter, row: NeighbourRow, at: Field): void {
  at.object(row);
  out.u32(at.number(row.index, "index", u32));
  out.u32(at.number(row.state, "state", u16));
  const family = at.family(row.family);
  out.u8(family);
  out.bytes(at.address(row.address, "address", family));
  if (!(row.lladdr instanceof Uint8Array) || row.lladdr.length > 32) at.refuse("lladdr", "must be at most 32 bytes");
  out.bytes(row.lladdr);
}

function packLink(out: WireWriter, change: Extract<NetlinkChange, { kind: "link" }>, at: Field): void {
  const index = at.number(change.index, "index", u32);
  // with index 0 the kernel would look for a name, and make a link if there is none
  if (index === 0) at.refuse("index", "must not be 0");
  if (change.op === "delete") {
    out.u8(linkRemoval);
    out.u32(index);
    return;
  }
  if (change.op !== "set") at.refuse("op", "must be set or delete");
  const { up, mtu, master, name, alias, acceptLocal = null } = change;
  out.u8(kinds.link);
  out.u32(index);
  const given = [up, mtu, master, name, alias, acceptLocal].map((value, bit) => (value === null ? 0 : 1 << bit));
  out.u8(given.reduce((all, bit) => all | bit, 0));
  if (up !== null) out.u8(at.flag(up, "up"));
  if (mtu !== null) out.u32(at.number(mtu, "mtu", u32));
  if (master !== null) out.u32(at.number(master, "master", u32));
  if (name !== null) out.text(at.text(name, "name"));
  if (alias !== null) out.text(at.text(alias, "alias"));
  if (acceptLocal !== null) out.u8(at.flag(acceptLocal, "acceptLocal"));
}

const none = new Uint8Array(0);

function isBytes(value: unknown, size: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === size;
}

/** Checks of one object's fields; the path is put together only for an error. */
class Field {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  of(name: string): Field {
    return new Field(`${this.#path}.${name}`);
  }

  refuse(name: string, why: string): never {
    badArgument(`${this.#path}.${name} ${why}`);
  }

  object(value: unknown): void {
    if (typeof value !== "object" || value === null) badArgument(`${this.#path} must be an object`);
  }

  number(value: number, name: string, most: number): number {
    if (!(Number.isInteger(value) && value >= 0 && value <= most)) {
      this.refuse(name, `must be a whole number from 0 to ${most}, not ${value}`);
    }
    return value;
  }

  flag(value: boolean, name: string): number {
    if (typeof value !== "boolean") this.refuse(name, "must be true or false");
    return value ? 1 : 0;
  }

  text(value: string, name: string): string {
    if (typeof value !== "string" || Buffer.byteLength(value) > 255)
      this.refuse(name, "must be text of at most 255 bytes");
    return value;
  }

  family(value: number): 4 | 6 {
    if (value !== 4 && value !== 6) this.refuse("family", "must be 4 or 6");
    return value;
  }

  address(value: Uint8Array, name: string, family: 4 | 6): Uint8Array {
    const size = family === 4 ? 4 : 16;
    if (!isBytes(value, size)) this.refuse(name, `must be ${size} bytes`);
    return value;
  }
}
